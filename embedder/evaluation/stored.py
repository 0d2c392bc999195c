"""What a collection holds, as far as an evaluation must know it: ids, labels, and which stored image is which picture.

Called by `embedder.evaluation.collection`. Memory grows with the collection: some 300 bytes an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embedder.datasets.sources import Listing
from embedder.evaluation.metrics import NOTHING
from embedder.evaluation.vectors import Report
from lookalike.client import Client, Collection
from lookalike.errors import FailedPrecondition

_PAGE = 1000
_NAMED = 6


@dataclass(frozen=True)
class Stored:
    """`ids` of the stored images; `labels` int32 `[m]` index `classes`, or are `NOTHING`. `classes` begins with those of the
    dataset, in its order; labels that only the collection knows follow."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    rows: dict[str, int] = field(repr=False)
    by_content: dict[str, list[int]] = field(repr=False)
    by_uri: dict[str, list[int]] = field(repr=False)

    def same_as(self, uri: str, sha256: str) -> frozenset[int]:
        """Rows of the images that are this picture: of the same bytes or the same URI."""
        return frozenset((*self.by_content.get(sha256, ()), *self.by_uri.get(uri, ())))

    def labels_of(self, lists: Sequence[Sequence[int]], width: int) -> npt.NDArray[np.int32]:
        """The labels of lists of rows, cut or filled up with `NOTHING` to `width`: int32 `[n, width]`."""
        found = np.full((len(lists), width), NOTHING, np.int32)
        for place, rows in enumerate(lists):
            cut = list(rows[:width])
            found[place, : len(cut)] = self.labels[cut]
        return found


def read_stored(client: Client, collection: Collection, listed: Listing, label_key: str, report: Report) -> Stored:
    """List all of `collection`; an image's label is the text of its metadata `label_key`.

    Raises `FailedPrecondition` where it is empty (`COLLECTION_EMPTY`), where no image bears the key (`LABELS_MISSING`) or none
    a label of the dataset (`LABELS_DIFFER`); the message says what there is instead.
    """
    ids: list[str] = []
    names: list[str | None] = []
    keys: set[str] = set()
    by_content, by_uri = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for row, image in enumerate(client.list_images(collection.name, page_size=_PAGE)):
        ids.append(image.id)
        label = image.metadata.get(label_key)
        names.append(None if label is None else str(label))
        keys.update(image.metadata)
        by_content[image.sha256].append(row)
        if image.uri:
            by_uri[image.uri].append(row)
        if row % _PAGE == 0:
            report(f"listing {collection.name}", row, max(collection.image_count, row))
    _check(collection.name, names, keys, listed, label_key)
    classes = list(listed.classes)
    classes += sorted({name for name in names if name is not None} - set(classes))
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(name, NOTHING) for name in names], np.int32)
    rows = {image_id: row for row, image_id in enumerate(ids)}
    return Stored(tuple(ids), labels, tuple(classes), rows, by_content, by_uri)


def _check(name: str, labels: Sequence[str | None], keys: set[str], listed: Listing, label_key: str) -> None:
    if not labels:
        raise FailedPrecondition(f"collection {name!r} is empty: there is nothing to be found", reason="COLLECTION_EMPTY")
    known = {label for label in labels if label is not None}
    if not known:
        have = f"they have {_some(keys)}: name one of these with --label-key" if keys else "they have no metadata at all"
        raise FailedPrecondition(
            f"no image of collection {name!r} has a {label_key!r} in its metadata; {have}", reason="LABELS_MISSING"
        )
    if not known & set(listed.classes):
        raise FailedPrecondition(
            f"collection {name!r} and {listed.name} have no label in common: {_some(known)} there, "
            f"{_some(set(listed.classes))} here",
            reason="LABELS_DIFFER",
        )


def _some(names: set[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more"
