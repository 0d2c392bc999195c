"""Measures what the index misses while it is used: some searches are repeated more broadly, and both answers compared.

An exact search would read the whole collection; one with eight times the breadth (`ef`) misses so much less that what the first
one missed shows. So this is an estimate from above. Called by `answer`. No search waits for a repetition, one is under way at a
time, and with `LOOKALIKE_GATEWAY_RECALL_SAMPLE_RATIO` 0 there is none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import structlog
from prometheus_client import Histogram

from gateway.backends.milvus import Backends
from gateway.backends.threads import Threads
from gateway.search.coalescing import Ask
from lookalike.errors import LookalikeError, Overloaded, Unavailable
from lookalike.names import MAX_EF
from lookalike.records.image import Hit, ImageView
from lookalike.spaces import Vector

RECALL = Histogram(
    "lookalike_gateway_sampled_recall",
    "Of sampled searches, the share of the hits of a search eight times as broad that they had too, by space.",
    ("space",),
    buckets=(0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.999, 1.0),
)
BROADER = 8
_TIMEOUT_S = 5.0
_TIED = 1e-5
"""The difference below which distances of float32 vectors count as the same."""


class SampledRecall:
    """One per process, used from one event loop. `ratio` in [0, 1]; `draw` gives numbers in [0, 1)."""

    def __init__(self, backends: Backends, threads: Threads, ratio: float, draw: Callable[[], float] = random.random) -> None:
        self._backends, self._threads, self._ratio, self._draw = backends, threads, ratio, draw
        self._under_way = False

    def consider(self, ask: Ask, vectors: Vector, answers: Sequence[Sequence[Hit]]) -> None:
        """Perhaps repeat the search for the first of `vectors`. Returns at once, and raises nothing."""
        if not self._ratio or self._under_way or self._draw() >= self._ratio:
            return
        try:
            again = partial(
                self._backends.vectors.search,
                ask.collection,
                ask.space.name,
                vectors[:1],
                replace(ask.options, ef=min(MAX_EF, BROADER * ask.options.ef), view=ImageView.ID),
                exclude_ids=ask.exclude_ids,
                timeout_s=_TIMEOUT_S,
            )
            self._threads.start(again, partial(self._end, ask.space.name, answers[0]))
        except (Overloaded, Unavailable):
            return  # The gateway has better things to do then.
        self._under_way = True

    def _end(self, space: str, hits: Sequence[Hit], broader: Future[list[list[Hit]]]) -> None:
        self._under_way = False
        if broader.cancelled():
            return
        error = broader.exception()
        if error is None and (reference := broader.result()[0]):
            RECALL.labels(space).observe(recall(hits, reference))
        elif isinstance(error, LookalikeError):
            structlog.get_logger().debug("recall not sampled", problem=error.message)
        elif error is not None:  # a defect, which is reported nowhere else
            structlog.get_logger().error("recall not sampled", exc_info=error)


def recall(hits: Sequence[Hit], reference: Sequence[Hit]) -> float:
    """The share of `reference` (not empty) that `hits` reach: those at most as far as its farthest count, so that ties do."""
    bound = max(hit.distance for hit in reference) + _TIED
    return min(1.0, sum(hit.distance <= bound for hit in hits) / len(reference))
