"""The multi-scale Siamese tower: the network that turns normalised pixels into a unit vector.

Owns the heads, which join a backbone's feature maps into an embedding. `embedder.models.model` builds towers to serve a bundle,
`embedder.training` to train one. `keras.layers` only, so that every Keras backend (TensorFlow, JAX, PyTorch) can.

"Multi-scale" as in SimNet (Appalaraju & Chaoji, 2017, arXiv 1709.08761): the embedding joins what an early, a middle and
the last stage saw, because likeness is a matter of texture and outline as much as of what the thing is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import layers

from embedder.models.backbones import FeatureMaps, find_backbone
from embedder.models.bundle import TowerConfig
from lookalike.errors import InvalidArgument

SHALLOW_CELLS = 4
"""The shallowest map is averaged into a 4x4 grid, so that outline survives (7-pixel cells on 28x28 pictures)."""

Head = Callable[[FeatureMaps, TowerConfig], keras.KerasTensor]


def build_tower(config: TowerConfig, *, pretrained: str = "", precision: str = "float32") -> keras.Model:
    """Build the tower with fresh weights, or with a backbone `pretrained`: "imagenet", or a file with weights that the backbone
    can read (see `embedder.models.backbones`). `precision` is Keras' policy, what the backbone computes in; variables are
    float32 with each.

    Input: float32 `[n, input_size, input_size, channels]`, normalised as the bundle's input spec says.
    Output: float32 `[n, embedding_dim]`, each row of Euclidean length 1.
    Raises `InvalidArgument` for a backbone or head that there is not, and for weights that do not fit.
    """
    if config.head not in _HEADS:
        raise InvalidArgument("head", f"{config.head!r} is not one of {', '.join(sorted(_HEADS))}")
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        pixels = keras.Input((config.input_size, config.input_size, config.channels), name="pixels")
        maps = find_backbone(config.backbone)(pixels, config, pretrained)
        return keras.Model(pixels, _HEADS[config.head](maps, config), name="tower")
    finally:
        keras.config.set_dtype_policy(default)


def joined(maps: FeatureMaps, config: TowerConfig) -> keras.KerasTensor:
    """Every map averaged and maximised (the shallowest: averaged in cells), standardised, projected.

    The projection loses what the labels did not ask for, and with it what distinguishes things that it never saw. So the
    head may keep some of the standardised scales beside it, in `kept_dim` directions found after training
    (`embedder.training.kept`).
    """
    shallow, *deeper = (layers.Activation("linear", dtype="float32", name=f"map{i}")(x) for i, x in enumerate(maps))
    pooled = [layers.Flatten()(layers.AveragePooling2D(max(1, shallow.shape[1] // SHALLOW_CELLS))(shallow))]
    for feature_map in deeper:
        pooled += [layers.GlobalAveragePooling2D()(feature_map), layers.GlobalMaxPooling2D()(feature_map)]
    joint = layers.Concatenate(name="scales", dtype="float32")(pooled)
    scales = layers.BatchNormalization(name="scales_norm", dtype="float32")(joint)
    learnt = layers.Dense(config.embedding_dim - config.kept_dim, use_bias=False, name="embedding", dtype="float32")(scales)
    learnt = layers.BatchNormalization(name="embedding_norm", dtype="float32")(learnt)
    learnt = layers.UnitNormalization(name="unit", dtype="float32")(learnt)
    if not config.kept_dim:
        return learnt
    # Not through `scales_norm`: its learnt gains say what the labels cared for.
    plain = layers.BatchNormalization(center=False, scale=False, trainable=False, name="kept_norm", dtype="float32")(joint)
    kept = layers.Dense(config.kept_dim, use_bias=False, trainable=False, name="kept", dtype="float32")(plain)
    kept = layers.UnitNormalization(name="kept_unit", dtype="float32")(kept)
    learnt = layers.Rescaling(math.sqrt(1 - config.kept_share), name="learnt_share", dtype="float32")(learnt)
    kept = layers.Rescaling(math.sqrt(config.kept_share), name="kept_share", dtype="float32")(kept)
    return layers.Concatenate(name="both", dtype="float32")([learnt, kept])


def pooled(maps: FeatureMaps, config: TowerConfig) -> keras.KerasTensor:
    """Every map averaged and brought to length 1, so that each scale counts alike, then one linear layer.

    For a frozen backbone: the layer `scales` is all that a head has to learn from, and can be computed once
    (`embedder.training.near_duplicates`).
    """
    pooled_maps = []
    for number, feature_map in enumerate(maps):
        average = layers.GlobalAveragePooling2D(name=f"pool{number}", dtype="float32")(feature_map)
        pooled_maps.append(layers.UnitNormalization(name=f"pool{number}_unit", dtype="float32")(average))
    scales = layers.Concatenate(name="scales", dtype="float32")(pooled_maps)
    embedding = layers.Dense(config.embedding_dim, name="embedding", dtype="float32")(scales)
    return layers.UnitNormalization(name="unit", dtype="float32")(embedding)


_HEADS: dict[str, Head] = {"joined": joined, "pooled": pooled}
