"""The time of a chunk by stage, and the outcomes of items: for the job's report, and for Prometheus."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from lookalike.runtime import tracing

ITEMS = Counter("lookalike_indexer_items_total", "Items recorded, by outcome.", ("outcome",))
CHUNK_SECONDS = Histogram(
    "lookalike_indexer_chunk_seconds",
    "Time of a chunk by stage: read (sources, what is stored), decode, embed (both waited for), write (Milvus), wait (lock).",
    ("stage",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)


class Stages:
    """Adds up seconds by stage for one chunk. Used by the one thread that works it off, and by those that call the embedder for
    it; stages within stages count once."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._within_s = 0.0
        self._calls = threading.Lock()
        self._decode_s = self._compute_s = 0.0

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage. The wait for the embedder is split into `decode` and `embed` as the embedder split its calls: calls
        overlap with each other and with reading, so their own seconds are more than the wait."""
        seconds, called_s = dict(self._seconds), self._decode_s + self._compute_s
        if "embed" in seconds and called_s > 0:
            seconds["decode"] = seconds["embed"] * self._decode_s / called_s
            seconds["embed"] -= seconds["decode"]
        return seconds

    def embedder_took(self, decode_s: float, compute_s: float) -> None:
        """Note where one call to the embedder spent its time. From any thread."""
        with self._calls:
            self._decode_s += decode_s
            self._compute_s += compute_s

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the block's time to `stage`, without what the block counts to others."""
        started_s, outside_s, self._within_s = time.perf_counter(), self._within_s, 0.0
        try:
            with tracing.span(stage):
                yield
        finally:
            elapsed_s = time.perf_counter() - started_s
            self._seconds[stage] += elapsed_s - self._within_s
            self._within_s = outside_s + elapsed_s

    def observe(self) -> None:
        """Report the chunk to Prometheus."""
        for stage, seconds in self.seconds.items():
            CHUNK_SECONDS.labels(stage).observe(seconds)
