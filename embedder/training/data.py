"""What a training run reads: labelled pictures in memory, and batches of them that look a little different every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from lookalike import fashion_mnist
from lookalike.errors import NotFound

SHIFT_PX = 2
CUTOUT_PX = 8


def fashion_mnist_split(split: Any, folder: Path | None) -> fashion_mnist.Split:
    """A split from `folder`, from the places `lookalike.fashion_mnist` knows, or else from `keras.datasets` (a download)."""
    try:
        return fashion_mnist.load(split, folder)
    except NotFound:
        if folder is not None:
            raise
    pairs = dict(zip(("train", "test"), keras.datasets.fashion_mnist.load_data(), strict=True))
    return fashion_mnist.Split(*pairs[split])


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled batches of (float32 `[b, s, s, 1]` normalised, int32 `[b]`): mirrored, shifted, with a square cut out.

    Every draw comes from (seed, epoch, batch), so that a run can be repeated.
    """

    def __init__(
        self,
        split: fashion_mnist.Split,
        *,
        batch_size: int,
        seed: int,
        mean: float,
        std: float,
    ) -> None:
        super().__init__()
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.mean, self.std = mean, std
        self.epoch = -1
        self.on_epoch_begin()

    def __len__(self) -> int:
        return len(self.split.labels) // self.batch_size

    def on_epoch_begin(self) -> None:
        self.epoch += 1
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.split.labels))

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        pixels = augment((self.split.images[rows] / np.float32(255)).astype(np.float32), rng)
        return ((pixels - self.mean) / self.std)[..., None], self.split.labels[rows].astype(np.int32)


def augment(images: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Mirror half of `images` (float32 `[n, s, s]` in [0, 1]), shift each by up to `SHIFT_PX`, blank a square in half."""
    n, side, _ = images.shape
    images = np.where(rng.random((n,))[:, None, None] < 0.5, images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX)))
    shift = rng.integers(0, 2 * SHIFT_PX + 1, (n, 2))
    steps = np.arange(side)
    rows, columns = shift[:, :1] + steps, shift[:, 1:] + steps
    images = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    centre = rng.integers(0, side, (n, 2))
    near = np.abs(steps[None, :, None] - centre[:, None, :]) < CUTOUT_PX // 2
    hole = near[:, :, None, 0] & near[:, None, :, 1] & (rng.random((n,)) < 0.5)[:, None, None]
    return np.where(hole, np.float32(0), images).astype(np.float32)
