"""How the answers of a collection's two generations compare, on images sampled from it. Called by `finish`."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np

from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, Hit, StoredImage
from lookalike.records.job import Comparison
from lookalike.records.search_options import SearchOptions
from lookalike.store.protocols import Vectors

QUERIES = 200
"""The images that are compared. The mean of 200 shares lies within 0.07 of that over all images: two standard errors where each
is 0 or 1, the worst case."""
K = 10
_EF = 64
"""What a search for 10 takes by itself (`gateway.search.plan`)."""
_LABEL = "label"
_AT_ONCE = 50


class Sample:
    """Up to `QUERIES` of the images it is shown, by the hash of their id: every image has the same chance, and the same images
    give the same sample."""

    def __init__(self) -> None:
        self._chosen: list[tuple[int, str]] = []

    def add(self, image_id: str) -> None:
        key = -int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "big")
        if len(self._chosen) < QUERIES:
            heapq.heappush(self._chosen, (key, image_id))
        else:
            heapq.heappushpop(self._chosen, (key, image_id))

    @property
    def ids(self) -> list[str]:
        return sorted(image_id for _, image_id in self._chosen)


def compare(store: Vectors, collection: Collection, ids: Sequence[str], *, timeout_s: float) -> Comparison | None:
    """Ask both generations for the 10 nearest of each image, in every space that they do not share. Of several spaces the
    comparison is that of the one which lost most. None without images."""
    found = [_compared(store, collection, space.name, ids, timeout_s) for space in collection.other_spaces]
    return min((one for one in found if one is not None), key=_standing, default=None)


def _standing(comparison: Comparison) -> tuple[bool, float, float]:
    """The order of spaces, the worst first: whether it is no worse, the precision that it gained (0 where images have no
    label), the overlap."""
    before, after = comparison.precision_before, comparison.precision_after
    return not comparison.worse, (0.0 if before is None or after is None else after - before), comparison.overlap


def _compared(store: Vectors, collection: Collection, space: str, ids: Sequence[str], timeout_s: float) -> Comparison | None:
    other = collection.as_other()
    overlaps: list[float] = []
    before: list[float] = []
    after: list[float] = []
    for start in range(0, len(ids), _AT_ONCE):
        asked = ids[start : start + _AT_ONCE]
        old, new = (_answers(store, one, space, asked, timeout_s) for one in (collection, other))
        for image_id in sorted(old.keys() & new.keys()):
            (image, then), (_, now) = old[image_id], new[image_id]
            if then:
                overlaps.append(len({hit.image.id for hit in then} & {hit.image.id for hit in now}) / len(then))
            if then and now and _LABEL in image.metadata:
                before.append(_precision(image, then))
                after.append(_precision(image, now))
    if not overlaps:
        return None
    precisions: tuple[float | None, float | None] = (fmean(before), fmean(after)) if before else (None, None)
    lost = [was - now for was, now in zip(before, after, strict=True)]
    error = stdev(lost) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
    return Comparison(len(overlaps), K, fmean(overlaps), *precisions, len(before), error, space)


def _answers(
    store: Vectors, collection: Collection, space: str, ids: Sequence[str], timeout_s: float
) -> dict[str, tuple[StoredImage, list[Hit]]]:
    """By id of those images that are there: the image, and its nearest without itself."""
    images = store.get(collection, ids, spaces=[space], consistency=Consistency.STRONG, timeout_s=timeout_s)
    found = [image for image in images.values() if space in image.vectors]
    if not found:
        return {}
    queries = np.stack([image.vectors[space] for image in found])
    options = SearchOptions(top_k=K + 1, ef=_EF, consistency=Consistency.STRONG)
    answers = store.search(collection, space, queries, options, timeout_s=timeout_s)
    return {
        image.id: (image, [hit for hit in hits if hit.image.id != image.id][:K])
        for image, hits in zip(found, answers, strict=True)
    }


def _precision(image: StoredImage, hits: Sequence[Hit]) -> float:
    return sum(hit.image.metadata.get(_LABEL) == image.metadata[_LABEL] for hit in hits) / len(hits)
