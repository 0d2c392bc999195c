"""A short run learns, repeats itself with the same seed, and evaluation counts what it says it counts."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.bundle import TowerConfig
from embedder.training.data import augment
from embedder.evaluation.exact import nearest, precision_at
from embedder.training.train import TrainingConfig, train
from lookalike.fashion_mnist import Split, load

TINY = TowerConfig(widths=(4, 8, 8), embedding_dim=16)


def some(first: int, count: int) -> Split:
    split = load("test")
    return Split(split.images[first : first + count], split.labels[first : first + count])


def embedded(tower: object, split: Split) -> np.ndarray:
    return np.asarray(tower((split.images[..., None] / 255.0 - 0.286) / 0.353, training=False))  # type: ignore[operator]


def test_a_short_run_separates_classes_better_than_no_run_and_repeats_itself() -> None:
    gallery, queries = some(0, 1024), some(8000, 200)

    def score(tower: object) -> float:
        found = nearest(embedded(tower, queries), embedded(tower, gallery), 1, "cosine")
        return precision_at((1,), found, queries.labels, gallery.labels)["P@1"]

    losses: list[str] = []
    config = TrainingConfig(epochs=3, batch_size=64, ema_decay=0.9, seed=5)
    first = train(gallery, TINY, config, report=losses.append)
    again = train(gallery, TINY, config, report=lambda _line: None)
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert len(losses) == 3
    assert score(first) > 0.65


def test_exact_search_agrees_with_sorting_every_distance() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(7, 6)).astype(np.float32), rng.normal(size=(50, 6)).astype(np.float32)
    brute = np.argsort(np.linalg.norm(queries[:, None] - gallery[None], axis=-1), axis=1)[:, :5]
    np.testing.assert_array_equal(nearest(queries, gallery, 5, "l2"), brute)


def test_precision_is_the_share_of_right_labels_among_the_first_k() -> None:
    found = np.array([[0, 1, 2], [2, 1, 0]])
    scores = precision_at((1, 3), found, np.array([7, 7], np.uint8), np.array([7, 8, 7], np.uint8))
    assert scores == {"P@1": 1.0, "P@3": pytest.approx(2 / 3, abs=1e-4)}


def test_augmentation_keeps_shape_range_and_most_of_the_picture() -> None:
    images = (some(0, 64).images / 255).astype(np.float32)
    changed = augment(images, np.random.default_rng(1))
    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert changed.mean() == pytest.approx(images.mean(), rel=0.15)
    assert not np.array_equal(changed, images)
