"""Batches for the losses that need more than pictures in any order: several of a class, chosen triplets, pairs, or two views.

Kinds of `data.AugmentedBatches`: every draw comes from (seed, epoch, batch). `make_batches` picks the kind for a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.datasets.data import AugmentedBatches, LabelledImages
from embedder.models.bundle import InputSpec
from embedder.training.losses import Loss
from embedder.training.mining import (
    POOL,
    Mining,
    Pairs,
    Rows,
    hard_share,
    hardest_given,
    hardest_pairs,
    hardest_triplets,
    random_pairs,
)

Embed = Callable[[Rows], npt.NDArray[np.float32]]
"""Rows of the training pictures -> unit vectors, by the tower as it is now."""

GROUP = 4
"""Pictures of a class that come together: enough for three positives each, few enough for many classes in a batch."""
CROP_SHARE = (0.3, 1.0)
"""Part of a picture's area that a view shows. Chen et al. 2020 crop to 0.08, which leaves little of a small picture."""
ASPECT = 0.14
"""Of a crop, as the logarithm of the root of height / width: 3:4 to 4:3, as in that paper."""
BRIGHTNESS = 0.4
GREY_SHARE = 0.2
_CHOICE = 1
"""A stream of random numbers beside those of `data`, which are (seed, epoch) and (seed, epoch, batch)."""


class GroupedBatches(AugmentedBatches):
    """Every picture once an epoch, up to four of a class side by side: with many classes a batch drawn at random would hold
    hardly two of any."""

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = grouped(self.images.labels, np.random.default_rng((self.seed, epoch)))


class TripletBatches(GroupedBatches):
    """Grouped batches with a share of hard triplets, rising over the epochs: anchor, farthest of its class, nearest other."""

    def __init__(
        self, images: LabelledImages, spec: InputSpec, *, batch_size: int, seed: int, epochs: int, mining: Mining, embed: Embed
    ) -> None:
        self.epochs, self.mining, self.embed = epochs, mining, embed
        super().__init__(images, spec, batch_size=batch_size, seed=seed)

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        wanted = int(hard_share(epoch, self.epochs, self.mining) * min(self.batch_size, len(self.images))) // 3
        if not wanted:
            return
        rng = np.random.default_rng((self.seed, epoch, 0, _CHOICE))
        pool = np.sort(rng.permutation(len(self.images))[:POOL])
        labels = self.images.labels[pool]
        triplets = pool[hardest_triplets(self.embed(pool), labels, wanted * len(self))]
        rng.shuffle(triplets)
        for batch, mine in enumerate(np.array_split(triplets, len(self))):
            hard = mine.ravel()
            self.order[batch * self.batch_size : batch * self.batch_size + len(hard)] = hard


class PairBatches(AugmentedBatches):
    """Pairs: row i and row n + i of a batch, and for both whether they are the same (int32 1 or 0).

    The pairs are drawn from the classes, as many as there are pictures in two, or `given`. Of each epoch's a rising share is
    the hardest.
    """

    def __init__(
        self,
        images: LabelledImages,
        spec: InputSpec,
        *,
        batch_size: int,
        seed: int,
        epochs: int,
        mining: Mining,
        embed: Embed,
        given: Pairs | None = None,
    ) -> None:
        self.epochs, self.mining, self.embed, self.given = epochs, mining, embed, given
        self.count = len(given) if given is not None else max(2, len(images) // 2)
        self.at_once = min(self.count, batch_size // 2)
        super().__init__(images, spec, batch_size=batch_size, seed=seed)

    def __len__(self) -> int:
        return max(1, self.count // self.at_once)

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        rng = np.random.default_rng((self.seed, epoch, 0, _CHOICE))
        hard = int(hard_share(epoch, self.epochs, self.mining) * self.count)
        self.pairs = self._of_classes(hard, rng) if self.given is None else self._given(self.given, hard, rng)

    def chosen(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        pairs = self.pairs.rows(np.arange(index * self.at_once, (index + 1) * self.at_once))
        return np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.same, pairs.same])

    def _of_classes(self, hard: int, rng: np.random.Generator) -> Pairs:
        labels = self.images.labels
        if not hard:
            return random_pairs(labels, self.count, rng)
        pool = np.sort(rng.permutation(len(labels))[:POOL])
        found = hardest_pairs(self.embed(pool), labels[pool], hard)
        found = Pairs(pool[found.first], pool[found.second], found.same)
        pairs = random_pairs(labels, self.count - len(found), rng).joined(found)
        return pairs.rows(rng.permutation(self.count))

    def _given(self, given: Pairs, hard: int, rng: np.random.Generator) -> Pairs:
        order = rng.permutation(self.count)
        if not hard:
            return given.rows(order)
        pool = np.sort(order[:POOL])
        rows, places = np.unique(np.concatenate([given.first[pool], given.second[pool]]), return_inverse=True)
        vectors = self.embed(rows)
        first, second = vectors[places[: len(pool)]], vectors[places[len(pool) :]]
        found = pool[hardest_given(np.sum(first * second, axis=1), given.same[pool], hard)]
        return given.rows(rng.permutation(np.concatenate([order[: self.count - len(found)], found])))


class ViewBatches(AugmentedBatches):
    """Two views of each picture, row i and row n + i of a batch: cropped, mirrored, brighter or darker, some grey. What the
    loss gets of them is 0."""

    def chosen(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        half = max(1, self.batch_size // 2)
        rows = self.order[index * half : (index + 1) * half]
        return np.concatenate([rows, rows]), np.zeros(2 * len(rows), np.int32)

    def __len__(self) -> int:
        return max(1, len(self.images) // max(1, self.batch_size // 2))

    def changed(
        self, pixels: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        return views(pixels, rng, mirror=self.spec.mirror)


def make_batches(
    loss: Loss, images: LabelledImages, spec: InputSpec, pairs: Pairs | None, *, batch_size: int, seed: int, **mining: Any
) -> AugmentedBatches:
    """The batches that `loss` is to be trained on. `mining` holds `epochs`, `mining` and `embed`, for losses that choose."""
    common: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    if loss.reads == "pairs":
        return PairBatches(images, spec, given=pairs, **common, **mining)
    if loss.reads == "views":
        return ViewBatches(images, spec, **common)
    if loss.mines:
        return TripletBatches(images, spec, **common, **mining)
    # Where a batch holds two of a class anyway, pictures in any order are as good, and each epoch's batches differ more.
    few = len(images.classes) * 2 > min(batch_size, len(images))
    return (GroupedBatches if few else AugmentedBatches)(images, spec, **common)


def grouped(labels: npt.NDArray[np.int32], rng: np.random.Generator) -> Rows:
    """Every row once, in random order, but with up to `GROUP` rows of a class together: int64 `[n]`."""
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    starts = np.flatnonzero(place % GROUP == 0)
    groups = np.split(by_label, starts[1:])
    return np.concatenate([groups[number] for number in rng.permutation(len(groups))])


def views(pixels: npt.NDArray[np.float32], rng: np.random.Generator, *, mirror: bool) -> npt.NDArray[np.float32]:
    """A view of each of `pixels` (float32 `[n, s, s, c]` in [0, 1]): those changes of Chen et al. 2020 (arXiv 2002.05709,
    appendix A) that small pictures bear."""
    n, side = pixels.shape[:2]
    slim = np.exp(rng.uniform(-ASPECT, ASPECT, (n, 1)))
    length = np.minimum(np.sqrt(rng.uniform(*CROP_SHARE, (n, 1))) * np.concatenate([slim, 1 / slim], 1), 1.0) * side
    corner = rng.random((n, 2)) * (side - length)
    steps = (np.arange(side) + 0.5) / side
    rows = np.clip(corner[:, :1] + steps * length[:, :1] - 0.5, 0, side - 1)
    columns = np.clip(corner[:, 1:] + steps * length[:, 1:] - 0.5, 0, side - 1)
    if mirror:
        columns = np.where((rng.random((n, 1)) < 0.5), columns[:, ::-1], columns)
    shown = _sampled(pixels, rows, columns)
    grey = rng.random((n, 1, 1, 1)) < GREY_SHARE
    shown = np.where(grey, shown.mean(3, keepdims=True), shown)
    light, contrast = (rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, (n, 1, 1, 1)) for _ in range(2))
    middle = shown.mean((1, 2, 3), keepdims=True)
    return np.asarray(np.clip(((shown - middle) * contrast + middle) * light, 0, 1), np.float32)


def _sampled(pixels: npt.NDArray[np.float32], rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bilinear: `pixels` at (`rows[n, i]`, `columns[n, j]`), in pixels from the centre of the first."""
    picture = np.arange(len(pixels))[:, None, None]
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    last = pixels.shape[1] - 1
    down, right = np.minimum(top + 1, last), np.minimum(left + 1, last)
    y, x = (rows - top)[:, :, None, None], (columns - left)[:, None, :, None]
    upper = pixels[picture, top[:, :, None], left[:, None]] * (1 - x) + pixels[picture, top[:, :, None], right[:, None]] * x
    lower = pixels[picture, down[:, :, None], left[:, None]] * (1 - x) + pixels[picture, down[:, :, None], right[:, None]] * x
    return np.asarray(upper * (1 - y) + lower * y)
