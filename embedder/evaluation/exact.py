"""Exact nearest-neighbour search over vectors in memory, block by block, and its scores: what an index is measured against.

NumPy only. Called by `embedder.evaluation` and by the trainer. The order is total: by distance, and of equals the one that
stands first in the gallery, so that a ranking depends on nothing but the vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.evaluation import metrics
from embedder.evaluation.metrics import Scores
from lookalike.errors import InvalidArgument
from lookalike.spaces import Metric

VALUES_AT_ONCE = 1 << 24
"""Distances held at once: 64 MiB of float32, 279 queries against 60,000 pictures."""
_SAMPLE_EVERY = 16
_FEWEST_SAMPLED = 32


@dataclass(frozen=True, slots=True)
class Block:
    """The answers to the queries from `start` on: gallery rows `found` int64 `[b, k]`, nearest first, and their `distances`
    float32 `[b, k]` (Euclidean, or 1 - cos)."""

    start: int
    found: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


def ranked(
    queries: npt.NDArray[np.float32],
    gallery: npt.NDArray[np.float32],
    k: int,
    metric: Metric,
    *,
    own: npt.NDArray[np.int64] | None = None,
) -> Iterator[Block]:
    """The `k` rows of `gallery` (`[m, d]`) nearest to each of `queries` (`[n, d]`), some hundred queries at a time.

    `own` `[n]` is the gallery's row that is the query itself, which is left out: then `k` is at most m - 1, else m.
    For cosine, rows must have length 1. Distances come from one matrix product in float32, so that two below about 3e-4
    (Euclidean, vectors of length 1) or 1e-7 (cosine) apart may change places.
    """
    rows = max(1, min(len(queries), VALUES_AT_ONCE // max(1, len(gallery))))
    room = np.empty((rows, len(gallery)), np.float32)  # one, used again and again: fresh pages cost more than the sums
    euclidean = metric is Metric.L2
    squares = np.einsum("ij,ij->i", gallery, gallery) if euclidean else None
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        keys = np.matmul(block * np.float32(-2 if euclidean else -1), gallery.T, out=room[: len(block)])
        if squares is not None:
            keys += squares
        if own is not None:
            keys[np.arange(len(block)), own[start : start + rows]] = np.inf
        found = _smallest(keys, k)
        distances = np.take_along_axis(keys, found, 1)
        if euclidean:
            distances += np.einsum("ij,ij->i", block, block)[:, None]
            np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
        else:
            distances += 1
        yield Block(start, found, distances)


def nearest(
    queries: npt.NDArray[np.float32],
    gallery: npt.NDArray[np.float32],
    k: int,
    metric: Metric,
    *,
    own: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """The rows that `ranked` finds, all of them: int64 `[n, k]`."""
    parts = [block.found for block in ranked(queries, gallery, k, metric, own=own)]
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)


@dataclass(frozen=True)
class Task:
    """The queries of a measurement: `rows` int64 `[n]` that can be scored, their `labels` int32 `[n]`, how many pictures of
    the gallery are `relevant` to each (int64 `[n]`, at least 1), the gallery's labels int32 `[m]`, and, leave-one-out, the
    gallery row that is the query itself (`own` int64 `[n]`)."""

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    relevant: npt.NDArray[np.int64]
    gallery_labels: npt.NDArray[np.int32]
    own: npt.NDArray[np.int64] | None

    @property
    def depth(self) -> int:
        """As deep as any figure looks, which is as deep as the gallery at most."""
        left = len(self.gallery_labels) - (self.own is not None)
        return min(left, max(metrics.DEPTH, int(self.relevant.max())))


def make_task(
    labels: npt.NDArray[np.int32], gallery_labels: npt.NDArray[np.int32], own: npt.NDArray[np.int64] | None, name: str
) -> Task:
    """Leave out queries to which nothing is relevant. Raises `InvalidArgument` where none is left."""
    counts = np.bincount(gallery_labels, minlength=int(labels.max(initial=0)) + 1)
    relevant = counts[labels] - (own is not None)
    rows = np.flatnonzero(relevant > 0)
    if not len(rows):
        raise InvalidArgument("dataset", f"no picture of {name} has another of its class to be found")
    return Task(rows, labels[rows], relevant[rows], gallery_labels, own[rows] if own is not None else None)


def scored(
    task: Task, queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32], metric: Metric
) -> Iterator[tuple[Block, Scores]]:
    """The answers to the queries of `task` (`[n, d]`, those of its `rows`), and their scores, some hundred at a time."""
    for block in ranked(queries, gallery, task.depth, metric, own=task.own):
        mine = slice(block.start, block.start + len(block.found))
        yield block, metrics.score(task.gallery_labels[block.found], task.labels[mine], task.relevant[mine])


def _smallest(keys: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Columns of the `k` smallest of each row, in order; of equals the lower column first.

    A bound from every 16th value, a little generous, leaves few to sort: three times as fast as partitioning all. Where it was
    not generous enough, the row's own k-th value is the bound; the answer is the same.
    """
    columns = keys.shape[1]
    found = np.empty((len(keys), k), np.int64)
    sampled = k // _SAMPLE_EVERY
    bounds = None
    if sampled >= _FEWEST_SAMPLED and k < columns // 2:
        # Four standard deviations of a count of `sampled` above it.
        at = sampled + int(4 * sampled**0.5) + 1
        bounds = np.partition(keys[:, ::_SAMPLE_EVERY], at, axis=1)[:, at]
    for row, values in enumerate(keys):
        near = np.flatnonzero(values <= bounds[row]) if bounds is not None else np.empty(0, np.int64)
        if len(near) < k:
            near = np.flatnonzero(values <= np.partition(values, k - 1)[k - 1]) if k < columns else np.arange(columns)
        found[row] = near[np.argsort(values[near], kind="stable")[:k]]
    return found
