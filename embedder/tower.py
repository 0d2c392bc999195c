"""The multi-scale Siamese tower: the network that turns normalised pixels into a unit vector.

Owns the architecture and nothing else. `embedder.model` builds it to serve a bundle, `embedder.training` to train one.
Written with `keras.layers` only, so every Keras backend (TensorFlow, JAX, PyTorch) can build and train it.

"Multi-scale" as in SimNet (Appalaraju & Chaoji, 2017, arXiv 1709.08761): the embedding joins what an early, a middle and
the last stage saw, because likeness is a matter of texture and outline as much as of what the thing is.
"""

from __future__ import annotations

import keras
from keras import layers

from embedder.bundle import TowerConfig

SHALLOW_CELLS = 4
"""The shallow stage is averaged into a 4x4 grid, so that outline survives (7-pixel cells on 28x28 pictures)."""


def build_tower(config: TowerConfig) -> keras.Model:
    """Build the tower with fresh weights.

    Input: float32 `[n, input_size, input_size, channels]`, normalised as the bundle's input spec says.
    Output: float32 `[n, embedding_dim]`, each row of Euclidean length 1.
    """
    shallow, middle, deep = config.widths
    pixels = keras.Input((config.input_size, config.input_size, config.channels), name="pixels")

    fine = _convolve(pixels, shallow, "shallow")
    medium = _residual(_convolve(layers.MaxPooling2D(2)(fine), middle, "middle"), middle, "middle")
    coarse = _residual(_convolve(layers.MaxPooling2D(2)(medium), deep, "deep"), deep, "deep")

    scales = layers.Concatenate(name="scales")(
        [
            layers.Flatten()(layers.AveragePooling2D(config.input_size // SHALLOW_CELLS)(fine)),
            layers.GlobalAveragePooling2D()(medium),
            layers.GlobalMaxPooling2D()(medium),
            layers.GlobalAveragePooling2D()(coarse),
            layers.GlobalMaxPooling2D()(coarse),
        ]
    )
    embedding = layers.BatchNormalization(name="scales_norm")(scales)
    embedding = layers.Dense(config.embedding_dim, use_bias=False, name="embedding")(embedding)
    embedding = layers.BatchNormalization(name="embedding_norm")(embedding)
    embedding = layers.UnitNormalization(name="unit")(embedding)
    return keras.Model(pixels, embedding, name="tower")


def _convolve(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """3x3 convolution, batch norm, ReLU. No bias: the batch norm has one."""
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _residual(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return layers.Add(name=f"{name}_sum")([x, _convolve(_convolve(x, filters, f"{name}_a"), filters, f"{name}_b")])
