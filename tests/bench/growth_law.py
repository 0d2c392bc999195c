"""What the growth bench found, and the law fitted to it: figures only. Filled by `growth_sizes` and `growth_workers`, shown by
`growth_report`.

The law is a straight line through the sizes for seconds, memory and disk, whose slope is what a million vectors add: what the
server takes whatever it holds is not counted to them. A line through few sizes describes these and proves nothing. Memory is
compared as a whole, not by what was there before each collection, since that holds what the last one has left.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Disk:
    """MiB of Milvus' folder: `rows` as they were inserted (deletes and statistics with them), `index` files, `log` is the
    write-ahead log, `other` all the rest (Milvus' catalogue and its own log files)."""

    rows: float
    index: float
    log: float
    other: float

    @property
    def total(self) -> float:
        return self.rows + self.index + self.log + self.other

    def since(self, before: Disk) -> Disk:
        """What has come on top of `before`."""
        return Disk(self.rows - before.rows, self.index - before.index, self.log - before.log, self.other - before.other)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one search, asked alone."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Size:
    """One collection of `vectors` vectors of `dimension` values.

    `write_s` is from the first write to the end of the flush, without making up the vectors; `indexed_s` from there until every
    row is searched by its index. Memory is Milvus' resident memory, all of it: before the collection was made, at most
    meanwhile, and when it was indexed and had been searched. `disk` is what was added. `ef` is what the tuner chose (the
    largest it knows where none was enough) and `tuner_recall` what it found then, looking for stored images. `recall` is what
    queries that are not stored find with this `ef`, and `fresh_ef` the breadth with which they find as much as was asked for.
    """

    vectors: int
    dimension: int
    write_s: float
    indexed_s: float
    memory_before_mib: float
    memory_peak_mib: float
    memory_after_mib: float
    disk: Disk
    ef: int
    tuner_recall: float
    tuner_s: float
    recall: float
    fresh_ef: int | None
    gateway: Latency
    alone: Latency
    queries_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """What `processes` processes did a second, round by round: images of a job (worker processes) or queries (gateways)."""

    processes: int
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Law:
    """What a million more vectors take, and the factor by which p50 grows when there are ten times as many."""

    write_s: float
    indexed_s: float
    memory_mib: float
    rows_mib: float
    index_mib: float
    log_mib: float
    p50_factor: float


@dataclass(slots=True)
class Found:
    """A run's figures so far; `notes` are lines for people."""

    sizes: list[Size] = field(default_factory=list)
    ingest: list[Rates] = field(default_factory=list)
    gateways: list[Rates] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def law(sizes: Sequence[Size]) -> Law | None:
    """The law through `sizes`; None where there are fewer than two different ones."""
    counts = [float(size.vectors) for size in sizes]
    if len(set(counts)) < 2:
        return None

    def per_million(values: Sequence[float]) -> float:
        return MILLION * statistics.linear_regression(counts, values).slope

    exponent = statistics.linear_regression(
        [math.log(count) for count in counts], [math.log(size.gateway.p50) for size in sizes]
    ).slope
    return Law(
        write_s=per_million([size.write_s for size in sizes]),
        indexed_s=per_million([size.indexed_s for size in sizes]),
        memory_mib=per_million([size.memory_after_mib for size in sizes]),
        rows_mib=per_million([size.disk.rows for size in sizes]),
        index_mib=per_million([size.disk.index for size in sizes]),
        log_mib=per_million([size.disk.log for size in sizes]),
        p50_factor=10**exponent,
    )
