"""Every kind of batch holds what its loss reads, and is the same again for the same seed and epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embedder.datasets.data import AugmentedBatches, LabelledImages, augment
from embedder.models.bundle import InputSpec
from embedder.training.batches import GROUP, PairBatches, ViewBatches, grouped, make_batches, views
from embedder.training.losses import LOSSES, find_loss
from embedder.training.mining import Pairs
from lookalike.fashion_mnist import CLASS_NAMES, load

SPEC = InputSpec(mean=(0.3,), std=(0.4,), mirror=True)


def some(count: int = 200) -> LabelledImages:
    split = load("test")
    return LabelledImages("some", split.images[:count, ..., None], split.labels[:count].astype(np.int32), CLASS_NAMES)


def noisy(rows: np.ndarray) -> np.ndarray:
    """Stands for an untrained tower: a fixed random vector for every row."""
    vectors = np.random.default_rng(9).normal(size=(1000, 4)).astype(np.float32)[rows]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def batches(name: str, images: LabelledImages, *, size: int = 40, epochs: int = 8, **more: Any) -> AugmentedBatches:
    pairs = more.pop("pairs", None)
    chosen = {"epochs": epochs, "mining": "curriculum", "embed": noisy} | more
    return make_batches(find_loss(name), images, SPEC, pairs, batch_size=size, seed=3, **chosen)


@pytest.mark.parametrize("name", LOSSES)
def test_batches_are_the_same_for_the_same_seed_and_epoch_and_differ_between_epochs(name: str) -> None:
    one, again = batches(name, some()), batches(name, some())
    for epoch in (0, 7):
        one.begin(epoch)
        again.begin(epoch)
        for index in range(len(one)):
            for a, b in zip(one[index], again[index], strict=True):
                np.testing.assert_array_equal(a, b)
    pixels, known = one[0]
    assert pixels.dtype == np.float32
    assert pixels.shape == (40, 28, 28, 1)
    assert known.shape == (40,)
    again.begin(6)
    assert not np.array_equal(pixels, again[0][0])


def test_an_epoch_of_labelled_batches_shows_every_picture_once() -> None:
    for name in ("combined", "triplet"):
        kind = batches(name, some(), mining="random")
        rows = np.concatenate([kind.chosen(index)[0] for index in range(len(kind))])
        assert sorted(rows.tolist()) == list(range(200))


def test_of_many_classes_some_of_each_come_together() -> None:
    labels = np.repeat(np.arange(50, dtype=np.int32), 5)
    order = grouped(labels, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(250))
    runs = np.split(labels[order], np.flatnonzero(np.diff(labels[order])) + 1)
    assert max(map(len, runs)) <= 2 * GROUP
    assert np.mean([len(run) >= GROUP for run in runs]) > 0.4
    images = LabelledImages("many", np.zeros((250, 28, 28, 1), np.uint8), labels, tuple(map(str, range(50))))
    _, known = batches("combined", images, size=40).chosen(0)
    partners = (known[:, None] == known[None]).sum(1) - 1
    assert (partners > 0).mean() > 0.7


def test_hard_triplets_take_a_growing_share_of_each_batch() -> None:
    kind = batches("triplet", some(), epochs=4)
    plain = batches("triplet", some(), epochs=4, mining="random")
    changed = []
    for epoch in range(4):
        kind.begin(epoch)
        plain.begin(epoch)
        changed.append(float((kind.order != plain.order).mean()))
    assert changed[0] == 0
    assert changed == sorted(changed)
    assert 0.15 < changed[3] <= 0.25


def test_pairs_say_of_both_rows_whether_they_are_the_same() -> None:
    images = some()
    kind = batches("contrastive", images)
    for epoch in (0, 7):
        kind.begin(epoch)
        for index in range(len(kind)):
            rows, same = kind.chosen(index)
            first, second = rows[:20], rows[20:]
            np.testing.assert_array_equal(images.labels[first] == images.labels[second], same[:20] == 1)
            np.testing.assert_array_equal(same[:20], same[20:])


def test_given_pairs_are_shown_once_an_epoch_and_later_the_hard_ones_more_often() -> None:
    rng = np.random.default_rng(2)
    given = Pairs(rng.integers(0, 100, 60), rng.integers(100, 200, 60), rng.integers(0, 2, 60).astype(np.int32))
    kind = batches("contrastive", some(), size=20, pairs=given)
    assert isinstance(kind, PairBatches)

    def shown() -> list[tuple[int, int]]:
        rows = [kind.chosen(index)[0] for index in range(len(kind))]
        return sorted((int(a), int(b)) for row in rows for a, b in zip(row[:10], row[10:], strict=True))

    everything = sorted(zip(given.first.tolist(), given.second.tolist(), strict=True))
    assert shown() == everything
    kind.begin(7)
    assert set(shown()) < set(everything)
    assert len(shown()) == 60


def test_two_views_are_of_one_picture_and_differ() -> None:
    images = LabelledImages("views", some().pixels, np.zeros(200, np.int32), ())
    kind = batches("nt-xent", images)
    assert isinstance(kind, ViewBatches)
    rows, _ = kind.chosen(0)
    np.testing.assert_array_equal(rows[:20], rows[20:])
    pixels, _ = kind[0]
    assert not any(np.array_equal(a, b) for a, b in zip(pixels[:20], pixels[20:], strict=True))


def test_a_view_of_a_flat_picture_is_flat_and_stays_in_range() -> None:
    pixels = np.full((8, 16, 16, 3), 0.5, np.float32)
    shown = views(pixels, np.random.default_rng(0), mirror=True)
    assert shown.shape == pixels.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    np.testing.assert_allclose(shown, np.broadcast_to(shown[:, :1, :1, :1], shown.shape), atol=1e-6)
    assert len(np.unique(shown[:, 0, 0, 0])) == 8


def test_a_view_keeps_left_and_right_where_mirror_images_are_not_the_same() -> None:
    ramp = np.broadcast_to(np.linspace(0.2, 0.6, 16, dtype=np.float32)[None, None, :, None], (64, 16, 16, 1))
    kept = views(ramp, np.random.default_rng(0), mirror=False)
    assert (np.diff(kept, axis=2) >= -1e-6).all()
    assert not (np.diff(views(ramp, np.random.default_rng(0), mirror=True), axis=2) >= -1e-6).all()


def test_augmentation_keeps_shape_range_and_most_of_the_picture() -> None:
    images = (some(64).pixels / 255).astype(np.float32)
    changed = augment(images, np.random.default_rng(1), mirrored=np.arange(64) % 2 == 0)
    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert changed.mean() == pytest.approx(images.mean(), rel=0.15)
    assert not np.array_equal(changed, images)


def test_pictures_are_mirrored_every_other_epoch_or_never() -> None:
    kind = batches("combined", some())
    rows = np.arange(200)
    first = kind._mirrored(rows)
    kind.begin(1)
    np.testing.assert_array_equal(first, ~kind._mirrored(rows))
    assert 60 < first.sum() < 140
    upright = AugmentedBatches(some(), InputSpec((0.3,), (0.4,), mirror=False), batch_size=40, seed=3)
    assert not upright._mirrored(rows).any()
