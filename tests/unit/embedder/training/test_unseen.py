"""What is kept beside the learnt embedding, and the report on classes never seen, which must be of today's recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.datasets.data import LabelledImages, fashion_mnist_images
from embedder.models.bundle import TowerConfig
from embedder.models.tower import build_tower
from embedder.training.embedding import embed_pixels
from embedder.training.kept import keep_scales
from embedder.training.recipes import FASHION
from embedder.training.unseen import FOLDS, REPORT, of_classes, run_fold

TINY = replace(
    FASHION,
    tower=TowerConfig(widths=(4, 8, 8), embedding_dim=16),
    training=replace(FASHION.training, epochs=1, batch_size=100, precision="float32", optimiser="adamw", learning_rate=1e-2),
    kept_dim=8,
)


@pytest.fixture(scope="module")
def pictures() -> LabelledImages:
    return fashion_mnist_images("test").rows(slice(0, 600))


def test_the_shipped_report_is_of_todays_recipe_and_no_fold_falls_behind_raw_pixels() -> None:
    report = json.loads(REPORT.read_text())
    assert report["recipe"] == FASHION.digest, "the recipe has changed since the report was made: run `make unseen`"
    assert len(report["folds"]) == len(FOLDS)
    for fold in report["folds"]:
        assert not set(fold["trained_on"]) & set(fold["asked_about"])
        assert fold["embedding"] >= fold["raw_pixels"], fold


@pytest.mark.parametrize(
    "other",
    [
        replace(FASHION, kept_share=0.5),
        replace(FASHION, training=replace(FASHION.training, epochs=FASHION.training.epochs + 1)),
        replace(FASHION, tower=replace(FASHION.tower, widths=(8, 8, 8))),
    ],
)
def test_another_recipe_has_another_digest(other: object) -> None:
    assert other.digest != FASHION.digest  # type: ignore[attr-defined]


def test_what_is_kept_stands_beside_what_was_learnt_with_its_share_of_the_length(pictures: LabelledImages) -> None:
    tower = build_tower(TINY.tower)
    wider, config = keep_scales(tower, TINY.tower, pictures, TINY.input, dim=8, share=0.2)
    shown = pictures.pixels[:40]
    learnt, both = (embed_pixels(each, TINY.input, shown, mirror=False) for each in (tower, wider))
    assert (config.embedding_dim, config.kept_dim, config.kept_share) == (24, 8, 0.2)
    np.testing.assert_allclose(both[:, :16], learnt * np.sqrt(0.8), atol=1e-5)
    np.testing.assert_allclose((both[:, 16:] ** 2).sum(1), 0.2, atol=1e-5)
    rebuilt = build_tower(config)
    rebuilt.set_weights(wider.get_weights())
    np.testing.assert_allclose(embed_pixels(rebuilt, TINY.input, shown, mirror=False), both, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_a_fold_is_asked_only_about_classes_that_it_was_not_trained_on(pictures: LabelledImages, tmp_path: Path) -> None:
    queries = fashion_mnist_images("test").rows(slice(1000, 1200))
    fold = run_fold(TINY, FOLDS[0], pictures, queries, tmp_path, epochs=1)
    assert fold.trained_on == pictures.classes[:5]
    assert fold.asked_about == pictures.classes[5:]
    shown, asked = of_classes(pictures, FOLDS[1]), of_classes(queries, FOLDS[1])
    nearest = [((shown.pixels.astype(np.int32) - one.astype(np.int32)) ** 2).sum((1, 2, 3)).argmin() for one in asked.pixels]
    assert fold.raw_pixels == pytest.approx((shown.labels[nearest] == asked.labels).mean(), abs=0.01)
    assert min(fold.learnt, fold.kept, fold.embedding) > 0.4  # five classes: chance is .2
    assert (tmp_path / "checkpoint.npz").exists()
