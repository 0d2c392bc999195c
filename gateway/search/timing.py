"""Times the legs of a search: for the metric, the trace and the answer. Made by `search`, and used by `answer`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, TypeAlias

from prometheus_client import Histogram

from lookalike.records.search import SearchTiming
from lookalike.runtime import tracing

Leg: TypeAlias = Literal["query_vectors", "nearest", "fuse"]
"""The name of a leg in the contract, in metrics and in traces."""

STAGE_SECONDS = Histogram(
    "lookalike_gateway_search_stage_seconds",
    "Time of each stage of a search, or of searches answered together: query_vectors, nearest (Milvus), fuse (missing vectors "
    "and ranking).",
    ("stage",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Stopwatch:
    """Of one search, or of searches that are answered together. It runs from the moment it is made."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._legs_s: dict[Leg, float] = {}

    @contextmanager
    def leg(self, name: Leg) -> Iterator[None]:
        """The block is this leg. A leg that is gone again, in another generation of the collection, has the last time."""
        began_s = time.perf_counter()
        try:
            with tracing.span(name):
                yield
        finally:
            self._legs_s[name] = time.perf_counter() - began_s
            STAGE_SECONDS.labels(name).observe(self._legs_s[name])

    def read(self) -> SearchTiming:
        """The times until now. Both legs that every search has are over."""
        legs = {name: timedelta(seconds=seconds) for name, seconds in self._legs_s.items()}
        return SearchTiming(timedelta(seconds=time.perf_counter() - self._began_s), **legs)
