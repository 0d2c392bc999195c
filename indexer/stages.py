"""Where the time of a chunk goes, and what became of items, for Prometheus."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

ITEMS = Counter("lookalike_indexer_items_total", "Items recorded, by outcome.", ("outcome",))
CHUNK_SECONDS = Histogram(
    "lookalike_indexer_chunk_seconds",
    "Time of a chunk by stage: read (sources and what is stored), embed (waiting for it), write (lock and Milvus).",
    ("stage",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
UNITS_LAID_DOWN = Counter("lookalike_indexer_units_laid_down_total", "Units of work not finished, by reason.", ("reason",))


class Stages:
    """Adds up seconds by stage for one chunk."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the block's time to `stage`."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started_s

    def observe(self) -> None:
        """Report the chunk."""
        for stage, seconds in self._seconds.items():
            CHUNK_SECONDS.labels(stage).observe(seconds)
