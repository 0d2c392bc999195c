"""A tower is built on any backbone that is named, and the name of none is refused with those there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from embedder.models import applications
from embedder.models.backbones import usual_input
from embedder.models.bundle import TowerConfig
from embedder.models.tower import build_tower
from lookalike.errors import InvalidArgument, NotFound

SMALL = TowerConfig(backbone="keras.applications.MobileNetV3Small", head="pooled", input_size=64, channels=3, embedding_dim=20)


def config(**changed: object) -> TowerConfig:
    return replace(SMALL, **changed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tower() -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_tower(SMALL)


def test_an_application_gives_unit_vectors(tower: keras.Model) -> None:
    pixels = np.random.default_rng(1).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    vectors = np.asarray(tower(pixels, training=False))
    assert vectors.shape == (3, 20)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_maps_are_the_deepest_at_strides_8_16_and_32() -> None:
    pixels = keras.Input((64, 64, 3))
    maps = applications.feature_maps(SMALL.backbone, pixels)
    assert [feature_map.shape[1] for feature_map in maps] == [8, 4, 2]
    whole = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_tensor=pixels)
    assert maps[-1].shape == whole.output.shape


def test_a_backbone_that_was_trained_blue_first_still_gets_red_first() -> None:
    pixels = keras.Input((32, 32, 3))
    keras.utils.set_random_seed(1)
    ours = keras.Model(pixels, applications.feature_maps("keras.applications.VGG16", pixels)[-1])
    whole = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    whole.set_weights(ours.get_weights())
    picture = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    assert np.allclose(ours(picture), whole(picture[..., ::-1]), atol=1e-5)
    side, spec = usual_input("keras.applications.VGG16")
    raw = np.random.default_rng(1).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    shown = (raw / 255 - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    assert side == 224
    assert np.allclose(shown[..., ::-1], keras.applications.vgg16.preprocess_input(raw.copy()), atol=1e-3)


def test_its_own_weights_file_fills_it(tower: keras.Model, tmp_path: Path) -> None:
    keras.utils.set_random_seed(9)
    whole = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 64, 3))
    whole.save_weights(tmp_path / "own.weights.h5")
    filled = build_tower(SMALL, pretrained=str(tmp_path / "own.weights.h5"))
    assert np.array_equal(filled.get_layer("conv").get_weights()[0], whole.get_layer("conv").get_weights()[0])
    assert not np.array_equal(filled.get_layer("conv").get_weights()[0], tower.get_layer("conv").get_weights()[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": "resnet"}, r"'resnet' is not one of conv, efficientnet_lite0, keras\.applications\.<Name>"),
        ({"backbone": "keras.applications.ResNet5"}, "ResNet5' is not known; after keras.applications. may stand .*ResNet50,"),
        ({"backbone": "keras.applications.resnet"}, "is not known"),
        ({"backbone": "keras.applications.__doc__"}, "is not known"),
        ({"channels": 1}, "sees colour: 3 channels, not 1"),
        ({"backbone": "efficientnet_lite0", "channels": 1}, "sees colour"),
        ({"input_size": 16}, "16 pixels are too few .* at least 32"),
        ({"head": "joint"}, "'joint' is not one of joined, pooled"),
    ],
)
def test_what_there_is_not_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        build_tower(config(**changed))


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.h5"):
        build_tower(SMALL, pretrained=str(tmp_path / "none.h5"))
    (tmp_path / "torn.weights.h5").write_bytes(b"no weights")
    with pytest.raises(InvalidArgument, match=r"torn\.weights\.h5 cannot be used for keras.applications.MobileNetV3Small"):
        build_tower(SMALL, pretrained=str(tmp_path / "torn.weights.h5"))
    with pytest.raises(InvalidArgument, match="trained from nothing"):
        build_tower(TowerConfig(), pretrained="imagenet")
    with pytest.raises(InvalidArgument, match="never pretrained"):
        usual_input("conv")


def test_every_application_has_a_usual_input() -> None:
    assert len(applications.names()) > 30
    for name in applications.names():
        side, spec = usual_input(name)
        assert side in (224, 299)
        assert spec.fit == "squash"
