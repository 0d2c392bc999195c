"""Where the time of a chunk goes, and what became of items: for the job's report, and for Prometheus."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from prometheus_client import Counter, Histogram

T = TypeVar("T")

ITEMS = Counter("lookalike_indexer_items_total", "Items recorded, by outcome.", ("outcome",))
CHUNK_SECONDS = Histogram(
    "lookalike_indexer_chunk_seconds",
    "Time of a chunk by stage: read (sources and what is stored), embed (waiting for it), write (Milvus), wait (for the lock).",
    ("stage",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
UNITS_LAID_DOWN = Counter("lookalike_indexer_units_laid_down_total", "Units of work not finished, by reason.", ("reason",))


class Stages:
    """Adds up seconds by stage for one chunk. Used by the one thread that works it off; stages within stages count once."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._within_s = 0.0

    @property
    def seconds(self) -> Mapping[str, float]:
        return self._seconds

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the block's time to `stage`, without what the block counts to others."""
        started_s, outside_s, self._within_s = time.perf_counter(), self._within_s, 0.0
        try:
            yield
        finally:
            elapsed_s = time.perf_counter() - started_s
            self._seconds[stage] += elapsed_s - self._within_s
            self._within_s = outside_s + elapsed_s

    @contextmanager
    def entering(self, stage: str, context: AbstractContextManager[T]) -> Iterator[T]:
        """Count to `stage` the time until `context` is entered."""
        with self.of(stage):
            entered = context.__enter__()
        try:
            yield entered
        except BaseException as error:
            if not context.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            context.__exit__(None, None, None)

    def observe(self) -> None:
        """Report the chunk to Prometheus."""
        for stage, seconds in self._seconds.items():
            CHUNK_SECONDS.labels(stage).observe(seconds)
