"""How good and how fast: search for every query, in one way of looking at a time, and compare labels.

P@k is the mean, over all queries, of the share of the k nearest that have the query's label.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lookalike.client import Client, Neighbour
from lookalike.demo.dataset import Pictures
from lookalike.spaces import HISTOGRAM, SIAMESE

TOP_K = 5
WAYS: dict[str, tuple[str, ...]] = {
    HISTOGRAM: (HISTOGRAM,), SIAMESE: (SIAMESE,), "both, fused": (HISTOGRAM, SIAMESE)
}  # fmt: skip
"""What the demo measures: a name for people, and the spaces to search."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A neighbour as far as the demo needs it: `distance` is None where spaces were fused."""

    id: str
    label: str
    distance: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A way of looking: precision in [0, 1], queries a second over all threads, and the time of one query in milliseconds.
    `hits` holds, per query in order, its neighbours, nearest first."""

    way: str
    precision_at_1: float
    precision_at_5: float
    queries_per_s: float
    p50_ms: float
    p95_ms: float
    hits: tuple[tuple[Hit, ...], ...]


def measure(
    client: Client, collection: str, queries: Pictures, way: str, *, threads: int, done: Callable[[], None]
) -> Measured:
    """Search for every query with `threads` at once; `done` is called after each.

    Raises what the client raises: a search that fails ends the measurement.
    """

    def ask(index: int) -> tuple[float, tuple[Hit, ...]]:
        content = queries.png(index)
        started_s = time.perf_counter()
        result = client.search(collection, image=content, spaces=WAYS[way], top_k=TOP_K)
        took_s = time.perf_counter() - started_s
        done()
        return took_s, tuple(_hit(neighbour) for neighbour in result.neighbours)

    started_s = time.perf_counter()
    with ThreadPoolExecutor(threads, thread_name_prefix="query") as pool:
        answers = list(pool.map(ask, range(len(queries))))
    total_s = time.perf_counter() - started_s
    times_ms = np.array([took_s for took_s, _ in answers]) * 1000
    hits = tuple(found for _, found in answers)
    labels = [queries.label(index) for index in range(len(queries))]
    return Measured(
        way=way,
        precision_at_1=precision_at(1, hits, labels),
        precision_at_5=precision_at(TOP_K, hits, labels),
        queries_per_s=len(queries) / total_s,
        p50_ms=float(np.percentile(times_ms, 50)),
        p95_ms=float(np.percentile(times_ms, 95)),
        hits=hits,
    )


def precision_at(k: int, hits: Sequence[Sequence[Hit]], labels: Sequence[str]) -> float:
    """Mean share of the first `k` hits with the query's label; a missing hit counts as a wrong one. 0.0 without queries."""
    if not labels:
        return 0.0
    right = sum(hit.label == label for found, label in zip(hits, labels, strict=True) for hit in found[:k])
    return right / (k * len(labels))


def _hit(neighbour: Neighbour) -> Hit:
    label = neighbour.image.metadata.get("label", "")
    return Hit(neighbour.image.id, str(label), neighbour.distance)
