"""Networks of `keras.applications` as backbones: named `keras.applications.EfficientNetV2B0` and so on.

Owns which of them there are, what input each was trained with, and where its feature maps are picked. Their weights are Keras'
own, downloaded when a tower is trained and never when one is served: a bundle holds them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from embedder.models.bundle import InputSpec
from lookalike.errors import InvalidArgument, NotFound, Unavailable

PREFIX = "keras.applications."
STRIDES = (8, 16, 32)
"""Where maps are picked, in input pixels: the deepest layer at each."""
_RAW = InputSpec((0.0,) * 3, (1 / 255,) * 3, mirror=False, fit="squash")
"""0 to 255: the network normalises by itself."""
_CENTRED = InputSpec((0.5,) * 3, (0.5,) * 3, mirror=False, fit="squash")
"""-1 to 1: `mode="tf"` of `keras.applications.imagenet_utils`."""
_STANDARDISED = InputSpec((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), mirror=False, fit="squash")
"""ImageNet's mean and deviation: `mode="torch"`."""
_CAFFE = InputSpec((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3, mirror=False, fit="squash")
"""ImageNet's mean taken off: `mode="caffe"`, which also wants blue first."""
_FAMILIES: Mapping[str, InputSpec] = {
    "convnext": _RAW, "efficientnet": _RAW, "efficientnet_v2": _RAW, "mobilenet_v3": _RAW,
    "inception_resnet_v2": _CENTRED, "inception_v3": _CENTRED, "mobilenet": _CENTRED, "mobilenet_v2": _CENTRED,
    "resnet_v2": _CENTRED, "xception": _CENTRED,
    "densenet": _STANDARDISED,
    "resnet": _CAFFE, "vgg16": _CAFFE, "vgg19": _CAFFE,
}  # fmt: skip
"""Module inside `keras.applications` -> what its networks were trained to see."""
_INPUT_SIZE = 224
_INPUT_SIZES = {"inception_resnet_v2": 299, "inception_v3": 299, "xception": 299}


def names() -> list[str]:
    """Of all networks that can be a backbone, with the prefix."""
    return [
        PREFIX + name for name in sorted(dir(keras.applications)) if _family(getattr(keras.applications, name)) in _FAMILIES
    ]


def usual_input(name: str) -> tuple[int, InputSpec]:
    """Side in pixels that suits the network, and the input spec it was trained with. Raises `InvalidArgument` for an unknown
    name."""
    family = _family(_factory(name))
    return _INPUT_SIZES.get(family, _INPUT_SIZE), _FAMILIES[family]


def feature_maps(name: str, pixels: keras.KerasTensor, pretrained: str = "") -> Sequence[keras.KerasTensor]:
    """float32 `[n, s, s, 3]` -> the deepest map at each of `STRIDES`, the shallowest first.

    `pretrained` is "" (random weights), "imagenet" (Keras' own, which it downloads) or a Keras weights file of the network
    without its classifier. Raises `InvalidArgument` for an unknown name, an input too small, or weights that do not fit,
    `NotFound` for a file that is missing, `Unavailable` where the download fails.
    """
    factory = _factory(name)
    if pixels.shape[1] < STRIDES[-1]:
        raise InvalidArgument("input_size", f"{pixels.shape[1]} pixels are too few for {name}; it needs at least {STRIDES[-1]}")
    if pretrained not in ("", "imagenet") and not Path(pretrained).is_file():
        raise NotFound("weights file", pretrained, field="pretrained", hint='a file, or "imagenet" to download Keras\' own')
    shown = pixels[..., ::-1] if _FAMILIES[_family(factory)] is _CAFFE else pixels
    try:
        network = factory(include_top=False, weights=pretrained or None, input_tensor=shown)
    except Exception as error:  # of many kinds: HDF5's, Keras' own, and a bare one where a download fails
        if pretrained == "imagenet":
            raise Unavailable("keras.applications", f"the weights of {name} could not be had: {error}") from error
        raise InvalidArgument("pretrained", f"{pretrained or 'no weights'} cannot be used for {name}: {error}") from error
    return [_deepest(network, pixels.shape[1] / stride) for stride in STRIDES]


def _deepest(network: keras.Model, side: float) -> keras.KerasTensor:
    """The last of the network's maps whose side is nearest to `side`: those without padding come out a little smaller."""
    maps = [layer.output for layer in network.layers if isinstance(layer.output, keras.KerasTensor) and layer.output.ndim == 4]
    nearest = min(abs(feature_map.shape[1] - side) for feature_map in maps)
    return [feature_map for feature_map in maps if abs(feature_map.shape[1] - side) == nearest][-1]


def _factory(name: str) -> Any:
    found = getattr(keras.applications, name.removeprefix(PREFIX), None)
    if _family(found) not in _FAMILIES:
        known = ", ".join(known.removeprefix(PREFIX) for known in names())
        raise InvalidArgument("backbone", f"{name!r} is not known; after {PREFIX} may stand {known}")
    return found


def _family(factory: Any) -> str:
    return str(factory.__module__).rsplit(".", 1)[-1] if inspect.isfunction(factory) else ""
