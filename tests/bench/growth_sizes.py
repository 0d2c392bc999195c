"""One size of the growth bench: a collection of made-up vectors, written, indexed, tuned, searched and dropped.

Vectors are made a block at a time, and made again where they are needed again (the exact search), so that memory does not grow
with the collection.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from lookalike import tuning
from lookalike.errors import DeadlineExceeded, Overloaded, Unavailable
from lookalike.spaces import SIAMESE, Metric, Vector
from tests.bench import callers
from tests.bench.growth_law import Disk, Latency, Rates, Size
from tests.bench.inputs import photo_like
from tests.bench.recall import TIED
from tests.bench.rows import interleaved, p99
from tests.bench.scales import Scale
from tests.bench.searching import CALLERS, by_vector
from tests.bench.system import PHOTO, TIMEOUT_S, TOP_K, System

RECALL = 0.99
FEWEST = 1024
"""A smaller segment gets no index (`store.segments`)."""
BLOCK = 10_000
_QUERY_SEED = 1_000_003
"""Larger than any block's number: a query is none of the stored vectors."""
_WARM_UP = 10
_WRITE_WITHIN_S = 600.0
"""A server that sheds load, as a small one does while it builds an index, may do so for that long."""
_INDEX_WITHIN_S = 4 * 3600.0
_MIB = 2**20
_SETTLE_S = 180.0
_SETTLED_MIB = 8.0
_QUIET_SHARE = 0.5
"""The share of one core; an idle server takes a tenth to a fifth."""
_QUIET_WINDOWS, _QUIET_WINDOW_S = 3, 5.0
_QUIET_WITHIN_S = 1800.0
_LOG_FOLDERS = ("rocksmq", "rocksmq_meta_kv")
_ROW_FOLDERS = ("insert_log", "delta_log", "stats_log")
_INDEX_FOLDERS = ("index_files",)


@dataclass(frozen=True, slots=True)
class Made:
    """`count` vectors, float32 `[dimension]` each, made of `anchors`, always the same."""

    anchors: Vector
    count: int

    def blocks(self) -> Iterator[tuple[int, Vector]]:
        """The number of the first vector of each block, and the block."""
        for start in range(0, self.count, BLOCK):
            yield start, photo_like(self.anchors, min(BLOCK, self.count - start), seed=start // BLOCK)

    def queries(self, count: int) -> Vector:
        return photo_like(self.anchors, count, seed=_QUERY_SEED)


def measure(system: System, anchors: Vector, count: int, scale: Scale, say: Callable[[str], None]) -> Size:
    """Make the collection of photographs with `count` vectors, measure it, and leave it."""
    made = Made(anchors, count)
    memory_before, disk_before = resident_mib(system), disk_of(system.milvus_folder)
    with _peak(system) as peak:
        say(f"{count:,} vectors: writing")
        write_s = _write(system, made)
        say(f"  written in {write_s:,.1f} s; waiting for the index")
        started_s = time.perf_counter()
        _patiently(lambda: system.until_indexed(PHOTO, _INDEX_WITHIN_S), _INDEX_WITHIN_S)
        indexed_s = time.perf_counter() - started_s
        say(f"  indexed {indexed_s:,.1f} s later; waiting until Milvus is quiet, then tuning")
        _until_quiet(system)
        step, tuner_s = _tuned(system, scale)
        say(f"  ef {step.ef:,} (recall {step.recall:.4f}) found in {tuner_s:,.0f} s; searching")
        queries = made.queries(scale.recall_queries + scale.lone_queries + _WARM_UP)
        asked, lone = queries[: scale.recall_queries], queries[scale.recall_queries :]
        recall, fresh_ef = _recall(system, made, asked, step.ef)
        gateway, alone = _lone(system, lone, step.ef)
        rates = many_callers(system, [system.fleet.gateway.target], lone, step.ef, scale)
        memory_after, disk_after = resident_mib(system), disk_of(system.milvus_folder)
    return Size(
        vectors=count, dimension=anchors.shape[1], write_s=write_s, indexed_s=indexed_s,
        memory_before_mib=memory_before, memory_peak_mib=peak.mib, memory_after_mib=memory_after,
        disk=disk_after.since(disk_before), ef=step.ef, tuner_recall=step.recall, tuner_s=tuner_s,
        recall=recall, fresh_ef=fresh_ef, gateway=gateway, alone=alone, queries_per_s=rates.rounds,
    )  # fmt: skip


def drop(system: System) -> None:
    """Drop the collection, and return when Milvus gives back no more memory, which takes it a while: after three minutes at
    most. Its files stay for hours (`dataCoord.gc.dropTolerance`)."""
    system.client.delete_collection(PHOTO, timeout_s=TIMEOUT_S)
    deadline_s, least = time.monotonic() + _SETTLE_S, resident_mib(system)
    quiet = 0
    while quiet < 10 and time.monotonic() < deadline_s:
        time.sleep(1.0)
        now = resident_mib(system)
        quiet = quiet + 1 if now > least - _SETTLED_MIB else 0
        least = min(least, now)


def many_callers(system: System, targets: list[str], vectors: Vector, ef: int, scale: Scale) -> Rates:
    """Queries a second of 32 callers by vector, spread over the gateways at `targets`."""
    requests = [by_vector(vector, ef) for vector in vectors]
    with _channels(targets) as searches:

        def ask(number: int) -> bytes:
            return searches[number % len(searches)](requests[number % len(requests)])

        for number in range(2 * len(searches)):
            ask(number)
        rounds = [callers.rate(ask, callers=CALLERS, window_s=scale.window_s) for _ in range(scale.rounds)]
    return Rates(len(targets), tuple(rounds))


def resident_mib(system: System) -> float:
    return float(system.milvus_process.memory_info().rss) / _MIB


def disk_of(folder: Path) -> Disk:
    """What lies in Milvus' folder now, by the length of its files, not by blocks: RocksDB reserves 64 MiB and more ahead.
    Files may go while they are counted."""
    sizes = {"rows": 0, "index": 0, "log": 0, "other": 0}
    for path in folder.rglob("*"):
        try:
            size = path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
        sizes[_kind(path)] += size
    return Disk(**{kind: size / _MIB for kind, size in sizes.items()})


def _kind(path: Path) -> str:
    for kind, names in (("log", _LOG_FOLDERS), ("rows", _ROW_FOLDERS), ("index", _INDEX_FOLDERS)):
        if any(name in path.parts for name in names):
            return kind
    return "other"


@dataclass(slots=True)
class _Peak:
    mib: float


@contextmanager
def _peak(system: System) -> Iterator[_Peak]:
    """The most memory that Milvus had at any time, looked at four times a second."""
    peak, ended = _Peak(resident_mib(system)), threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            try:
                peak.mib = max(peak.mib, resident_mib(system))
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


@contextmanager
def _channels(targets: list[str]) -> Iterator[list[Callable[[bytes], bytes]]]:
    with ExitStack() as opened:
        yield [opened.enter_context(callers.raw(target, callers.SEARCH)) for target in targets]


def _write(system: System, made: Made) -> float:
    """Seconds that writing and flushing took, without making the vectors up."""
    system.create_photo()
    spent_s = 0.0
    for first, block in made.blocks():
        started_s = time.perf_counter()
        _patiently(lambda first=first, block=block: system.upsert_photo(first, block))  # type: ignore[misc]
        spent_s += time.perf_counter() - started_s
    started_s = time.perf_counter()
    _patiently(lambda: system.store.flush(system.collection(PHOTO)))
    return spent_s + time.perf_counter() - started_s


def _until_quiet(system: System) -> None:
    """Return when Milvus has little to do, or after half an hour: it compacts segments that are indexed already and indexes the
    new ones, which searches would wait for."""
    deadline_s, quiet = time.monotonic() + _QUIET_WITHIN_S, 0
    while quiet < _QUIET_WINDOWS and time.monotonic() < deadline_s:
        share = system.milvus_process.cpu_percent(_QUIET_WINDOW_S) / 100
        quiet = quiet + 1 if share < _QUIET_SHARE else 0


def _patiently(call: Callable[[], object], within_s: float = _WRITE_WITHIN_S) -> None:
    """`call`, again while the server sheds load: what is called here may be done twice."""
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            call()
            return
        except (Overloaded, Unavailable, DeadlineExceeded):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(1.0)


def _tuned(system: System, scale: Scale) -> tuple[tuning.Step, float]:
    """The last step of the tuner, which was enough unless none was, and the seconds it took altogether."""
    started_s = time.perf_counter()
    found = tuning.tune(system.client, PHOTO, recall=RECALL, k=TOP_K, queries=scale.recall_queries, spaces=[SIAMESE])
    return found.spaces[0].steps[-1], time.perf_counter() - started_s


def _recall(system: System, made: Made, queries: Vector, ef: int) -> tuple[float, int | None]:
    """The recall of the gateway with `ef` for `queries`, which are not stored; and the smallest breadth from there on that
    gives them what the tuner was asked for, None where there is none."""
    bounds = _exact(made, queries)
    at_ef = _share_found(system, queries, bounds, ef)
    for broader in (ef, *(breadth for breadth in tuning.BREADTHS if breadth > ef)):
        recall = at_ef if broader == ef else _share_found(system, queries, bounds, broader)
        if recall >= RECALL:
            return at_ef, broader
    return at_ef, None


def _exact(made: Made, queries: Vector) -> tuning.Distances:
    """How far the true tenth neighbour of each query is, `[q]`, over all vectors, a block at a time."""
    nearest = np.full((len(queries), TOP_K), np.inf)
    for _, block in made.blocks():
        found = tuning.distances(Metric.COSINE, queries.astype(np.float64), block.astype(np.float64))
        nearest = np.partition(np.concatenate([nearest, found], axis=1), TOP_K - 1, axis=1)[:, :TOP_K]
    return np.asarray(nearest.max(axis=1))


def _share_found(system: System, queries: Vector, bounds: tuning.Distances, ef: int) -> float:
    """The share of hits that are no farther than the true tenth neighbour."""
    right = 0
    for query, bound in zip(queries, bounds, strict=True):
        answer = system.client.search(PHOTO, vectors={SIAMESE: query}, top_k=TOP_K, ef=ef, view="full")
        hits = np.stack([hit.image.vectors[SIAMESE] for hit in answer.neighbours]).astype(np.float64)
        right += int((tuning.distances(Metric.COSINE, query[np.newaxis].astype(np.float64), hits) <= bound + TIED).sum())
    return right / (TOP_K * len(queries))


def _lone(system: System, queries: Vector, ef: int) -> tuple[Latency, Latency]:
    """One search after the other, through the gateway and by pymilvus alone in turn, each vector once to both."""
    requests, vectors = iter([by_vector(query, ef) for query in queries]), iter(queries)
    with callers.raw(system.fleet.gateway.target, callers.SEARCH) as search:
        gateway, alone = interleaved(
            lambda: callers.timed_ms(lambda: search(next(requests))),
            lambda: callers.timed_ms(lambda: system.search_alone(PHOTO, next(vectors), ef)),
            len(queries),
            warm_up=False,
        )
    return _latency(gateway[_WARM_UP:]), _latency(alone[_WARM_UP:])


def _latency(times_ms: list[float]) -> Latency:
    return Latency(statistics.median(times_ms), p99(times_ms))
