"""Finds near-duplicates of images that are about to be stored. Called by `writing`, under the collection's lock.

Only ids that are new to the collection are looked at; who comes first, in the collection or in the chunk, is the original.
A chunk that is done again after a kill comes to the same: what it wrote itself counts as not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from indexer.work import Ready, Work
from lookalike.spaces import SIAMESE, Metric
from lookalike.store.vectors import Consistency, StoredImage, VectorStore

_EF = 64
"""Breadth of the search, as of a search for five neighbours; only the nearest is asked for."""
_ROUNDING = 1e-6
"""Cosines of float32 vectors are known to about this."""


class NearDuplicates:
    """Thread-safe."""

    def __init__(self, store: VectorStore, *, timeout_s: float) -> None:
        self._store, self._timeout_s = store, timeout_s

    def find(self, work: Work, ready: Sequence[Ready], stored: Mapping[str, Sequence[StoredImage]]) -> dict[str, str]:
        """By id, the nearest image that it is a near-duplicate of; empty where the job keeps them all.

        `stored` holds the rows of every id in `ready` that has any.
        """
        embedded = [one for one in ready if one.vectors]
        new = [one for one in embedded if _is_new(stored.get(one.item.id, ()), work.job.revision)]
        if work.job.options.near_duplicates == "keep" or not new:
            return {}
        # similarity = (1 + cos) / 2, distance = 1 - cos
        within = 2.0 * (1.0 - work.job.options.threshold) + _ROUNDING
        nearest = self._in_collection(work, new, [one.item.id for one in embedded if one.item.id in stored], within)
        self._in_chunk(work, embedded, new, within, nearest)
        return {image_id: of for image_id, (_, of) in nearest.items()}

    def _in_collection(
        self, work: Work, new: Sequence[Ready], replaced: Sequence[str], within: float
    ) -> dict[str, tuple[float, str]]:
        """By id, distance and id of the nearest image that stays as it is. Strong: the chunk written just before counts."""
        answers = self._store.search(
            work.collection,
            SIAMESE,
            np.stack([one.vectors[SIAMESE] for one in new]),
            1,
            within=within,
            exclude_ids=replaced,
            ef=_EF,
            consistency=Consistency.STRONG,
            timeout_s=self._timeout_s,
        )
        return {one.item.id: (hits[0].distance, hits[0].image.id) for one, hits in zip(new, answers, strict=True) if hits}

    def _in_chunk(
        self,
        work: Work,
        embedded: Sequence[Ready],
        new: Sequence[Ready],
        within: float,
        nearest: dict[str, tuple[float, str]],
    ) -> None:
        """Compare with what comes before in the chunk, and with what it replaces; improves `nearest`."""
        skips = work.job.options.near_duplicates == "skip"
        places = {one.item.id: place for place, one in enumerate(embedded)}
        vectors = np.stack([one.vectors[SIAMESE] for one in embedded])
        new_ids = {one.item.id for one in new}
        kept = [image_id for image_id in places if image_id not in new_ids]
        for one in new:
            image_id = one.item.id
            if kept:
                distances = Metric.COSINE.distance(vectors[places[image_id]], vectors[[places[other] for other in kept]])
                found = min(zip(map(float, distances), kept, strict=True))
                nearest_now = min(found, nearest.get(image_id, found))
                if nearest_now[0] <= within:
                    nearest[image_id] = nearest_now
            if not (skips and image_id in nearest):
                kept.append(image_id)


def _is_new(rows: Sequence[StoredImage], revision: int) -> bool:
    return all(row.revision == revision for row in rows)
