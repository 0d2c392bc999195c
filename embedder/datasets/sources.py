"""Pictures for training and evaluation, decoded as the embedder decodes them when it serves: one by one, or all in memory.

`listings` says where the pictures of a dataset are and is offered from here too. Called by `embedder.training` and
`embedder.evaluation`.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedder.datasets.data import LabelledImages
from embedder.datasets.listings import FASHION, Listing, Skipped, Split, list_labelled, list_pictures, reason_of
from embedder.pictures.decode import Decoded, Decoder, TowerInput, Wanted
from lookalike.errors import BadImage, InvalidArgument, LookalikeError
from lookalike.items import open_file, path_of, unreadable
from lookalike.names import MAX_IMAGE_BYTES

__all__ = [
    "FASHION", "Listing", "Loaded", "Shape", "Skipped", "Split", "decoded", "list_labelled", "list_pictures", "load",
    "read", "reason_of",
]  # fmt: skip

IN_MEMORY_BYTES = 1 << 30
"""Larger sets of pixels go into a file that the system pages in as it is read: 1 GiB is 87,000 pictures of 64x64 RGB."""
_WINDOW = 4
"""Pictures under way for each decoding thread: enough that none waits, few enough that memory does not grow."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What every picture becomes: `[side, side, channels]`, filled as `fit` says (see `InputSpec`)."""

    side: int
    channels: int
    fit: Literal["pad", "squash"] = "pad"


@dataclass(frozen=True)
class Loaded:
    """`images`, and the URI of each of its rows; what was `skipped`, from the listing on."""

    images: LabelledImages
    uris: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def decoded(listing: Listing, wanted: Wanted, *, threads: int = 0) -> Iterator[tuple[int, Decoded | LookalikeError]]:
    """What is `wanted` of every picture of `listing`, with its row, in order; for one that cannot be read, the error.

    Decodes on `threads` (0: one per core) and holds a few pictures at a time.
    """
    decoder = Decoder()
    threads = threads or os.cpu_count() or 1

    def one(row: int) -> Decoded | LookalikeError:
        try:
            return decoder.decode(read(listing, row), wanted)
        except LookalikeError as error:
            return error

    pending: deque[tuple[int, Future[Decoded | LookalikeError]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        for row in range(len(listing)):
            pending.append((row, pool.submit(one, row)))
            if len(pending) >= _WINDOW * threads:
                number, future = pending.popleft()
                yield number, future.result()
        for number, future in pending:
            yield number, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read(listing: Listing, row: int) -> bytes:
    """The encoded picture of a row. Raises `NotFound`, `FailedPrecondition` and `BadImage` as `lookalike.sources` does."""
    if listing.pixels is not None:
        encoded = io.BytesIO()
        Image.fromarray(listing.pixels[row]).save(encoded, "PNG", compress_level=0)
        return encoded.getvalue()
    path = path_of(listing.uris[row])
    try:
        with open_file(path) as stream:
            content = stream.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise unreadable(path, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_IMAGE_BYTES:
        raise BadImage(f"is larger than {MAX_IMAGE_BYTES} bytes", reason="IMAGE_TOO_LARGE")
    return content


def load(
    listing: Listing,
    shape: Shape,
    *,
    memory_map: Path | None = None,
    report: Callable[[int, int], None] = lambda _done, _of: None,
) -> Loaded:
    """Decode every picture of `listing`. A picture that cannot be decoded is skipped, and so is a picture
    that is then alone in its class.

    More than `IN_MEMORY_BYTES` go into the file `memory_map` (`.npy`), where one is given. `report` is called with the
    pictures that are done and those that there are. Raises `InvalidArgument` where nothing is left.
    """
    if listing.pixels is not None and listing.pixels.shape[1:] == (shape.side, shape.side) and shape.channels == 1:
        return Loaded(_labelled(listing, listing.pixels[..., None], np.arange(len(listing))), listing.uris, listing.skipped)
    pixels = _room((len(listing), shape.side, shape.side, shape.channels), memory_map)
    skipped = list(listing.skipped)
    kept: list[int] = []
    wanted = Wanted(towers=(TowerInput(shape.side, shape.channels, shape.fit),))
    for row, outcome in decoded(listing, wanted):
        if isinstance(outcome, LookalikeError):
            skipped.append(Skipped(listing.uris[row], reason_of(outcome)))
        else:
            pixels[len(kept)] = outcome.tower
            kept.append(row)
        report(row + 1, len(listing))
    rows = np.array(kept, np.int64)
    if listing.classes:
        rows = _without_loners(listing, pixels, rows, skipped)
    if not len(rows):
        first = f"the first: {skipped[0].uri}: {skipped[0].reason}" if skipped else "it was empty"
        raise InvalidArgument("dataset", f"no picture of {listing.name} can be used; {first}")
    images = _labelled(listing, pixels[: len(rows)], rows)
    return Loaded(images, tuple(listing.uris[row] for row in rows), tuple(skipped))


def _room(shape: tuple[int, ...], path: Path | None) -> npt.NDArray[np.uint8]:
    if path is None or np.prod(shape, dtype=np.int64) <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _without_loners(
    listing: Listing, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], skipped: list[Skipped]
) -> npt.NDArray[np.int64]:
    """Leave out pictures that became the only one of their class. `pixels` move up in place: a copy may not fit in memory."""
    labels = listing.labels[rows]
    alone = np.bincount(labels, minlength=len(listing.classes))[labels] < 2
    for row in rows[alone]:
        name = listing.classes[listing.labels[row]]
        skipped.append(Skipped(listing.uris[row], f"the only picture of class {name!r} that can be read"))
    for to, start in enumerate(np.flatnonzero(~alone)):
        if to != start:
            pixels[to] = pixels[start]
    return rows[~alone]


def _labelled(listing: Listing, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> LabelledImages:
    """Classes of which no picture is left are no classes."""
    labels = listing.labels[rows]
    present = np.unique(labels)
    classes = listing.classes
    if classes and len(present) < len(classes):
        classes = tuple(classes[label] for label in present)
        labels = np.searchsorted(present, labels).astype(np.int32)
    return LabelledImages(listing.name, pixels, labels, classes, listing.licence, listing.source)
