"""What a training run reads: labelled pictures in memory, and batches of them that look a little different every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from embedder.models.bundle import DataSummary, InputSpec
from lookalike import fashion_mnist
from lookalike.errors import FailedPrecondition, NotFound

SHIFT = 1 / 14
"""Part of the side that a picture is moved by at most: 2 pixels of 28."""
CUTOUT = 2 / 7
"""Side of the blanked square as a part of the picture's (DeVries & Taylor 2017, arXiv 1708.04552): 8 pixels of 28."""
CUTOUT_SHARE = 0.5


@dataclass(frozen=True)
class LabelledImages:
    """`pixels` uint8 `[n, side, side, channels]` (an array or a memory map), `labels` int32 `[n]` indexing `classes`.

    `name`, `licence` and `source` say where they come from.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    licence: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def summary(self) -> DataSummary:
        """What a bundle remembers of these pictures; the digest is over pixels and labels in order."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for start in range(0, len(self), 1024):
            digest.update(np.ascontiguousarray(self.pixels[start : start + 1024]).tobytes())
        digest.update(self.labels.astype("<i4").tobytes())
        return DataSummary(self.name, len(self), len(self.classes), self.licence, self.source, digest.hexdigest()[:16])

    def rows(self, chosen: Any) -> LabelledImages:
        """The pictures of the rows `chosen` (an index array or a slice), with the same classes."""
        return LabelledImages(self.name, self.pixels[chosen], self.labels[chosen], self.classes, self.licence, self.source)


def fashion_mnist_images(split: Any, folder: Path | None = None) -> LabelledImages:
    """A split from `folder`, from the places `lookalike.fashion_mnist` knows, or else from `keras.datasets` (a download).

    Raises `NotFound` where `folder` lacks it, `FailedPrecondition` DATASET_NOT_FOUND where none of these has it.
    """
    try:
        loaded = fashion_mnist.load(split, folder)
    except NotFound as error:
        if folder is not None:
            raise
        loaded = _downloaded(split, error)
    return LabelledImages(
        name=f"fashion-mnist {split}",
        pixels=loaded.images[..., None],
        labels=loaded.labels.astype(np.int32),
        classes=fashion_mnist.CLASS_NAMES,
        licence="MIT",
        source="Fashion-MNIST, Zalando SE (arXiv 1708.07747)",
    )


def _downloaded(split: Any, missing: NotFound) -> fashion_mnist.Split:
    try:
        pairs = dict(zip(("train", "test"), keras.datasets.fashion_mnist.load_data(), strict=True))
    except Exception as error:  # Keras raises no more than that for a download
        problem = " ".join(str(error).split())[:200]
        hint = "install Debian's dataset-fashion-mnist or name a folder that has its files"
        message = f"{missing.message}, and it cannot be downloaded ({problem}); {hint}"
        raise FailedPrecondition(message, reason=missing.reason) from error
    return fashion_mnist.Split(*pairs[split])


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled batches of (float32 `[b, s, s, c]` normalised, int32 `[b]`): mirrored, shifted, with a square cut out.

    Every draw comes from (seed, epoch, batch), so that a run can be repeated, or taken up again at a later epoch. Where there
    are `features` (float32 `[n, views, d]`), a batch shows one of those of each picture in place of its pixels.
    """

    def __init__(self, images: LabelledImages, spec: InputSpec, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.images, self.spec, self.batch_size, self.seed = images, spec, batch_size, seed
        self.features: npt.NDArray[np.float32] | None = None
        self.mean, self.std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
        self.begin(0)

    def __len__(self) -> int:
        return max(1, len(self.images) // self.batch_size)

    def begin(self, epoch: int) -> None:
        """What is asked for from here on is of `epoch`, counted from 0. Keras' own hook does not say which one begins."""
        self.epoch = epoch
        self.order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        rows, known = self.chosen(index)
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.features is not None:
            return np.asarray(self.features[rows, rng.integers(0, self.features.shape[1], len(rows))], np.float32), known
        pixels = np.asarray(self.images.pixels[rows], np.float32) / np.float32(255)
        return (self.changed(pixels, rows, rng) - self.mean) / self.std, known

    def chosen(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The rows of the pictures of a batch, and what the loss is to know of each."""
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return rows, self.images.labels[rows]

    def changed(
        self, pixels: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """The pictures of a batch (float32 `[b, s, s, c]` in [0, 1]) as they are shown this time."""
        return augment(pixels, rng, mirrored=self._mirrored(rows))

    def _mirrored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Half of the pictures, and in the next epoch the other half: no picture is seen the same way round twice running,
        which learns faster than tossing a coin (Jordan 2024, arXiv 2404.00498, section 3.6). None where the input spec does not
        take a picture and its mirror image for the same."""
        if not self.spec.mirror:
            return np.zeros(len(rows), np.bool_)
        sides: npt.NDArray[np.bool_] = np.random.default_rng(self.seed).random(len(self.images)) < 0.5
        return sides[rows] ^ bool(self.epoch % 2)


def augment(
    images: npt.NDArray[np.float32], rng: np.random.Generator, *, mirrored: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Mirror those of `images` (float32 `[n, s, s, c]` in [0, 1]) that are to be `mirrored` (`[n]`), shift each, blank a square
    in half of them."""
    n, side = images.shape[:2]
    reach = max(1, round(side * SHIFT))
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    shift = rng.integers(0, 2 * reach + 1, (n, 2))
    steps = np.arange(side)
    rows, columns = shift[:, :1] + steps, shift[:, 1:] + steps
    images = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    centre = rng.integers(0, side, (n, 2))
    near = np.abs(steps[None, :, None] - centre[:, None, :]) < round(side * CUTOUT) // 2
    hole = near[:, :, None, 0] & near[:, None, :, 1] & (rng.random((n,)) < CUTOUT_SHARE)[:, None, None]
    return np.where(hole[..., None], np.float32(0), images).astype(np.float32)
