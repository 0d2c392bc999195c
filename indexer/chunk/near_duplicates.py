"""Finds near-duplicates of images that are about to be stored. Called by `chunk_writer`, under the collection's lock.

Only ids that are new to the collection are looked at. The image that comes first, in the collection or in the chunk, is the
original. A chunk that is done again after a kill has the same result: what it wrote itself counts as not there yet.

Similar is not enough: two pages of text are as similar as a photograph and its copy. A near-duplicate also stands out: it is
much nearer to its original than to the pictures that come next. From a similarity of .95 on, 97 % of 250 different pages of
text were taken for duplicates without this, and none with it; of copies of 592 photographs as many are found
(`tests/bench/near_duplicates.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from indexer.chunk.items import Chunk, ToWrite
from lookalike.records.image import Consistency, StoredImage
from lookalike.records.job import NearDuplicatePolicy
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import Metric, Vector
from lookalike.store.protocols import Vectors

_EF = 64
"""The breadth of the search, as of one for five neighbours."""
STANDS_OUT, OTHERS = 4.0, 5
"""How near-duplicates stand out: the distance to the original is at most a quarter of that to the fifth picture after it. So
there may be four other copies."""
ALONE_SIMILARITY = 0.995
"""The similarity that decides where there are not five others to compare with: no two different pages of text were so
similar."""
_ROUNDING = 1e-6
"""The error of cosines of float32 vectors, about."""


_Neighbour = tuple[float, str]
"""Distance and id."""


class NearDuplicates:
    """Thread-safe."""

    def __init__(self, store: Vectors, *, timeout_s: float) -> None:
        self._store, self._timeout_s = store, timeout_s

    def find(self, chunk: Chunk, ready: Sequence[ToWrite], stored: Mapping[str, Sequence[StoredImage]]) -> dict[str, str]:
        """By id of a near-duplicate, the nearest image that it duplicates; empty where the job keeps them all.

        `stored` holds the rows of every id in `ready` that has any.
        """
        embedded = [one for one in ready if one.vectors]
        new = [one for one in embedded if _is_new(stored.get(one.item.id, ()), chunk.job.revision)]
        if chunk.job.options.near_duplicates is NearDuplicatePolicy.KEEP or not new:
            return {}
        answers = self._nearest(chunk, new, [one.item.id for one in embedded if one.item.id in stored])
        vectors = np.stack([one.vectors[_space(chunk)] for one in embedded])
        skips = chunk.job.options.near_duplicates is NearDuplicatePolicy.SKIP
        return _found(vectors, embedded, new, answers, threshold=chunk.job.options.threshold, skips=skips)

    def _nearest(self, chunk: Chunk, new: Sequence[ToWrite], replaced: Sequence[str]) -> list[list[_Neighbour]]:
        """For each of `new` the nearest images that stay as they are. The chunk written just before counts, so the read is
        strong."""
        answers = self._store.search(
            chunk.collection,
            _space(chunk),
            np.stack([one.vectors[_space(chunk)] for one in new]),
            SearchOptions(top_k=1 + OTHERS, ef=_EF, consistency=Consistency.STRONG),
            exclude_ids=replaced,
            timeout_s=self._timeout_s,
        )
        return [[(hit.distance, hit.image.id) for hit in hits] for hits in answers]


def _space(chunk: Chunk) -> str:
    """The space in which near-duplicates are compared: the first that a model fills. No job that looks for them is made for a
    collection without one (`lookalike.jobs.creation`)."""
    return chunk.collection.model_spaces[0].name


def _found(
    vectors: Vector,
    embedded: Sequence[ToWrite],
    new: Sequence[ToWrite],
    answers: Sequence[list[_Neighbour]],
    *,
    threshold: float,
    skips: bool,
) -> dict[str, str]:
    """Compare with the collection (`answers`), with what comes before in the chunk, and with what the chunk replaces. `vectors`
    are those of `embedded`."""
    places = {one.item.id: place for place, one in enumerate(embedded)}
    new_ids = {one.item.id for one in new}
    kept = [image_id for image_id in places if image_id not in new_ids]
    found: dict[str, str] = {}
    for one, stored in zip(new, answers, strict=True):
        image_id, place = one.item.id, places[one.item.id]
        distances = Metric.COSINE.distance(vectors[place], vectors)
        candidates = [*stored, *((float(distances[places[other]]), other) for other in kept)]
        in_sight = [distance for distance, _ in stored] + [float(d) for n, d in enumerate(distances) if n != place]
        if candidates and stands_out(min(candidates)[0], sorted(in_sight), threshold):
            found[image_id] = min(candidates)[1]
        if not (skips and image_id in found):
            kept.append(image_id)
    return found


def stands_out(distance: float, in_sight: Sequence[float], threshold: float) -> bool:
    """Whether the picture whose nearest is at `distance` is a near-duplicate of it. `in_sight` are the distances of all others,
    that one's included, in order; similarity = (1 + cos) / 2, distance = 1 - cos."""
    if len(in_sight) <= OTHERS:
        threshold = max(threshold, ALONE_SIMILARITY)
    elif distance > in_sight[OTHERS] / STANDS_OUT + _ROUNDING:
        return False
    return distance <= 2.0 * (1.0 - threshold) + _ROUNDING


def _is_new(rows: Sequence[StoredImage], revision: int) -> bool:
    return all(row.revision == revision for row in rows)
