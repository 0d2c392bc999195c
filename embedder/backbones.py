"""Backbones: networks that turn normalised pixels into feature maps at several scales, for a head to join.

Owns what stands between pixels and feature maps. `embedder.tower` puts a head on one. `keras.layers` only, so that every Keras
backend (TensorFlow, JAX, PyTorch) can build and train them.

A backbone is a function of the input tensor and the tower's config; it returns its feature maps, the shallowest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import layers

from embedder.bundle import TowerConfig
from lookalike.errors import InvalidArgument

FeatureMaps = Sequence[keras.KerasTensor]
Backbone = Callable[[keras.KerasTensor, TowerConfig], FeatureMaps]

_STEM_FILTERS = 32
_NORM_MOMENTUM = 0.9
"""Of batch statistics: Keras' 0.99 takes a whole epoch of 60,000 pictures to forget the first steps."""


def conv(pixels: keras.KerasTensor, config: TowerConfig) -> FeatureMaps:
    """For small pictures: a 2x2 stem, then per stage two 3x3 convolutions, the first followed by pooling.

    The plan is that of airbench94 (Jordan 2024, arXiv 2404.00498), the cheapest known to 94 % on CIFAR-10, with a skip around
    each stage's second convolution.
    """
    x = _convolve(pixels, _STEM_FILTERS, "stem", kernel=2, padding="valid")
    maps = []
    for number, filters in enumerate(config.widths):
        x = _convolve(x, filters, f"stage{number}_a", pool=True)
        x = layers.Add(name=f"stage{number}_sum")([x, _convolve(x, filters, f"stage{number}_b")])
        maps.append(x)
    return maps


def _convolve(
    x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 3, padding: str = "same", pool: bool = False
) -> keras.KerasTensor:
    """Convolution, pooling where asked for, batch norm, ReLU. No bias: the batch norm has one."""
    x = layers.Conv2D(filters, kernel, padding=padding, use_bias=False, name=f"{name}_conv")(x)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = layers.BatchNormalization(momentum=_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


_BACKBONES: dict[str, Backbone] = {"conv": conv}


def find_backbone(name: str) -> Backbone:
    """The backbone called `name`. Raises `InvalidArgument` naming those there are."""
    if name not in _BACKBONES:
        raise InvalidArgument("backbone", f"{name!r} is not one of {', '.join(sorted(_BACKBONES))}")
    return _BACKBONES[name]
