"""What a run is to learn from, before a picture is loaded: which pictures, which of them are held back, what they are like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedder.datasets.sources import FASHION, Listing, Skipped, decoded, list_labelled, list_pictures
from embedder.pictures.decode import Wanted
from embedder.training.mining import Pairs
from embedder.training.pairs import PairListing, list_pairs
from lookalike.errors import InvalidArgument, LookalikeError

Kind = Literal["labels", "pairs", "views"]
HELD_SHARE = 0.2
"""Of a dataset of files, unless the caller says otherwise: of a class of ten two, which can find each other."""
_LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class Request:
    """Which data, as the command line names it. `kind` says what is known of the pictures: their `labels`, `pairs` that are the
    same or not, or nothing (`views`). `classes` are names or numbers of those wanted (empty: all), `limit` is how many pictures
    at most (0: all), `held_share` the part of each class that is held back (None: the usual one)."""

    dataset: str
    kind: Kind = "labels"
    data: Path | None = None
    uri_column: str = "uri"
    label_column: str = "label"
    classes: tuple[str, ...] = ()
    limit: int = 0
    held_share: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Gathered:
    """`training` is learnt from and `held` (None: nothing) measured on; `paired` is there in place of labels where pairs are.
    `skipped` cannot be used."""

    request: Request
    training: Listing
    held: Listing | None
    paired: PairListing | None
    skipped: tuple[Skipped, ...]

    @property
    def pairs(self) -> Pairs | None:
        return self.paired.pairs if self.paired is not None else None


@dataclass(frozen=True, slots=True)
class Look:
    """What pictures are like: the median of their longest sides in pixels (256 at most), and whether any has colours."""

    side: int
    colour: bool


def gather(request: Request) -> Gathered:
    """List what `request` names. Raises what `list_labelled`, `list_pictures` and `list_pairs` do, and `InvalidArgument` for
    classes that there are not, and fewer than two classes."""
    if request.kind != "labels" and request.classes:
        raise InvalidArgument("classes", "can be chosen only where pictures have labels")
    if request.dataset == FASHION and request.kind == "pairs":
        raise InvalidArgument("pairs", f"{FASHION} names no pairs; --loss contrastive makes pairs of its classes")
    if request.kind == "pairs":
        paired = list_pairs(request.dataset, data=request.data)
        return Gathered(request, paired.pictures, None, paired, paired.pictures.skipped)
    if request.kind == "views":
        listing = _without_labels(request)
        return Gathered(request, _limited(listing, request), None, None, listing.skipped)
    listing = list_labelled(
        request.dataset, data=request.data, uri_column=request.uri_column, label_column=request.label_column
    )
    chosen = _limited(of_classes(listing, request.classes), request)
    if len(np.unique(chosen.labels)) < 2:
        raise InvalidArgument("dataset", f"{listing.name} holds one class only ({chosen.classes[0]!r}); there must be two")
    training, held = _split(chosen, request)
    return Gathered(request, training, held, None, listing.skipped)


def look_at(listing: Listing) -> Look:
    """A look at some pictures of `listing`, evenly spread. Raises `InvalidArgument` where none can be read."""
    rows = np.unique(np.linspace(0, len(listing) - 1, min(_LOOKED_AT, len(listing))).astype(np.int64))
    sides, colour = [], False
    for _, outcome in decoded(listing.rows(rows), Wanted(canvases=(3,))):
        if not isinstance(outcome, LookalikeError):
            canvas = outcome.canvas.astype(np.int16)
            sides.append(max(canvas.shape[:2]))
            # JPEG leaves a trace of colour in grey pictures.
            colour = colour or bool(np.abs(canvas - canvas[..., :1]).mean() > 1)
    if not sides:
        raise InvalidArgument("dataset", f"of {listing.name} none of {len(rows)} pictures can be read")
    return Look(int(np.median(sides)), colour)


def of_classes(listing: Listing, chosen: tuple[str, ...]) -> Listing:
    """The pictures of the classes `chosen`, by name or by number (from 0), in the order of `listing`; all where none is.

    Raises `InvalidArgument` naming a class that is not there.
    """
    if not chosen:
        return listing
    numbers = sorted({_number(listing, name) for name in chosen})
    rows = np.flatnonzero(np.isin(listing.labels, numbers))
    kept = listing.rows(rows)
    labels = np.searchsorted(numbers, kept.labels).astype(np.int32)
    return replace(kept, labels=labels, classes=tuple(listing.classes[number] for number in numbers))


def _number(listing: Listing, name: str) -> int:
    if name in listing.classes:
        return listing.classes.index(name)
    if name.isascii() and name.isdigit() and int(name) < len(listing.classes):
        return int(name)
    shown = ", ".join(f"{number} {known}" for number, known in enumerate(listing.classes[:20]))
    more = f" and {len(listing.classes) - 20} more" if len(listing.classes) > 20 else ""
    raise InvalidArgument("classes", f"{name!r} is not one of {shown}{more}")


def _without_labels(request: Request) -> Listing:
    if request.dataset == FASHION:
        listing = list_labelled(FASHION, data=request.data)
        return replace(listing, labels=np.zeros(len(listing), np.int32), classes=())
    return list_pictures(request.dataset, data=request.data, uri_column=request.uri_column)


def _limited(listing: Listing, request: Request) -> Listing:
    if not request.limit or request.limit >= len(listing):
        return listing
    return listing.rows(np.sort(np.random.default_rng(request.seed).permutation(len(listing))[: request.limit]))


def _split(listing: Listing, request: Request) -> tuple[Listing, Listing | None]:
    """Of each class the share that is held back: two or more, so that each finds another, and two or more are left."""
    usual = 0.0 if request.dataset == FASHION else HELD_SHARE  # Fashion-MNIST has its own test pictures
    share = usual if request.held_share is None else request.held_share
    rng = np.random.default_rng(request.seed)
    held: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for label in range(len(listing.classes)):
        rows = rng.permutation(np.flatnonzero(listing.labels == label))
        count = min(round(share * len(rows)), len(rows) - 2)
        held.append(rows[: count if count >= 2 else 0])
    back = np.sort(np.concatenate(held))
    if len(np.unique(listing.labels[back])) < 2:
        return listing, None
    return listing.rows(np.setdiff1d(np.arange(len(listing)), back)), listing.rows(back)
