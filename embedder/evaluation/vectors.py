"""From the pictures of a listing to their vectors, as the embedder makes them when it serves: siamese and histograms at once.

Pictures stream through; only vectors stay in memory. Called by `embedder.evaluation.labelled`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from embedder.datasets.sources import Listing, Skipped, decoded, reason_of
from embedder.models.bundle import Bundle
from embedder.models.model import Model
from embedder.pictures.decode import Decoded, Pixels, TowerInput, Wanted
from embedder.serving.spaces import Spaces, ToCount, Work
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.spaces import HistogramSettings

BATCH = 128
Report = Callable[[str, int, int], None]
"""Hears what is being done, and how many of how many are done."""


@dataclass(frozen=True)
class Vectors:
    """What became of a listing. `listing` holds only the pictures that could be decoded, the rest is `skipped`.

    `siamese` float32 `[n, dim]` (rows of length 1), one of `histograms` (float32 `[n, dim]`, rows sum to 1) per settings asked
    for. `digest` is over pixels (the grey canvases) and labels, whatever the model: equal for the same data only.
    """

    listing: Listing
    siamese: npt.NDArray[np.float32]
    histograms: tuple[npt.NDArray[np.float32], ...]
    skipped: tuple[Skipped, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.listing)


class Embedding:
    """A bundle and histogram settings, ready to work. Raises `InvalidArgument` where the bundle's weights do not fit."""

    def __init__(self, bundle: Bundle, histograms: Sequence[HistogramSettings]) -> None:
        self.bundle, self.histograms = bundle, tuple(histograms)
        self._model = Model(bundle)
        tower = bundle.tower
        shape = (None, tower.input_size, tower.input_size, tower.channels)
        self._embed = tf.function(self._model.embed, input_signature=[tf.TensorSpec(shape, tf.uint8)])
        color = any(settings.color for settings in self.histograms)
        self._wanted = Wanted((3 if color else 1,), (TowerInput(tower.input_size, tower.channels, bundle.input.fit),))

    @cached_property
    def _count(self) -> Spaces:
        """Traced only where histograms are asked for."""
        return Spaces()

    def of(self, listing: Listing, report: Report) -> Vectors:
        """The vectors of `listing`. Raises `InvalidArgument` where no picture of it can be decoded."""
        siamese: list[npt.NDArray[np.float32]] = []
        counted: list[list[npt.NDArray[np.float32]]] = [[] for _ in self.histograms]
        kept: list[int] = []
        skipped: list[Skipped] = []
        digest = hashlib.sha256()
        for rows, pictures in _batches(_pictures(listing, self._wanted), skipped, listing):
            grey = [_grey(picture.canvas) for picture in pictures]
            for canvas in grey:
                digest.update(repr(canvas.shape).encode() + canvas.tobytes())
            siamese.append(self._embed(np.stack([picture.tower for picture in pictures])).numpy())
            for place, settings in enumerate(self.histograms):
                canvases = [picture.canvas for picture in pictures] if settings.color else grey
                works = [Work((ToCount(settings, canvas),)) for canvas in canvases]
                counted[place].append(np.stack([histogram for (histogram,) in self._count.compute(works)]))
            kept += rows
            report(listing.name, rows[-1] + 1, len(listing))
        if not kept:
            first = f"; the first: {skipped[0].uri}: {skipped[0].reason}" if skipped else ""
            raise InvalidArgument("dataset", f"no picture of {listing.name} can be decoded{first}")
        report(listing.name, len(listing), len(listing))
        left = listing.rows(np.array(kept, np.int64))
        digest.update(left.labels.astype("<i4").tobytes())
        return Vectors(
            left, np.concatenate(siamese), tuple(map(np.concatenate, counted)), tuple(skipped), digest.hexdigest()[:16]
        )


def _pictures(listing: Listing, wanted: Wanted) -> Iterator[tuple[int, Decoded | LookalikeError]]:
    """`decoded`; where a listing holds pixels of just the size that is wanted, those, without a PNG made and read again."""
    pixels, (tower,) = listing.pixels, wanted.towers
    grey = (wanted.canvases, tower.channels) == ((1,), 1)
    if pixels is None or not grey or pixels.shape[1:] != (tower.side, tower.side):
        return decoded(listing, wanted)
    return ((row, Decoded((one[..., None],), (one[..., None],))) for row, one in enumerate(pixels))


def _batches(
    pictures: Iterator[tuple[int, Decoded | LookalikeError]], skipped: list[Skipped], listing: Listing
) -> Iterator[tuple[list[int], list[Decoded]]]:
    rows: list[int] = []
    batch: list[Decoded] = []
    for row, outcome in pictures:
        if isinstance(outcome, LookalikeError):
            skipped.append(Skipped(listing.uris[row], reason_of(outcome)))
            continue
        rows.append(row)
        batch.append(outcome)
        if len(batch) == BATCH:
            yield rows, batch
            rows, batch = [], []
    if batch:
        yield rows, batch


def _grey(canvas: Pixels) -> Pixels:
    """A canvas in grey. Of an RGB one, exactly what decoding it to grey would have given: both convert after shrinking."""
    if canvas.shape[2] == 1:
        return canvas
    return np.asarray(Image.fromarray(canvas).convert("L"))[..., None]
