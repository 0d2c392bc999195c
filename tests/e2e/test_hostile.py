"""Pictures that ask for much memory or time, among good ones, as searches and in a job: nobody dies, nobody waits long.

The embedder has the two models that ship, on the cores that this process may use, and 2.5 GB of memory where this user may
set a bound. `make hostile` sends 300 hostile pictures among 3,000 good ones both ways; a short version of the searches is in
tests/contract/test_hostile_pictures.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from embedder.models.bundle import SHIPPED
from lookalike.client import Client, JobState
from lookalike.errors import BadImage, DeadlineExceeded, LookalikeError
from lookalike.records.source import FolderSource
from tests.pictures.hostile_pictures import hostile
from tests.pictures.made_pictures import encoded
from tests.pictures.scenes import scene
from tests.servers import memory
from tests.servers.fleet import Fleet, fleet

SEARCHED = "hostile_searched"
MEMORY_BYTES = 2_500_000_000
SCENES = 40
GOOD_CALLERS, HOSTILE_CALLERS = 4, 2
_PAUSE_S = 0.02
"""Between two searches of a caller: a steady load, and not all that the machine can do."""
_TIMEOUT_S = 20.0
KINDS = ("JPEG",) * 14 + ("PNG",) * 3 + ("WEBP", "GIF", "TIFF")
"""The kinds of the good pictures: one in ten is of a kind that is decoded in the cage."""


def good(count: int, *, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` good pictures, no two alike, and their format."""
    scenes = [scene(seed) for seed in range(SCENES)]
    for number in range(first, first + count):
        kind, picture = KINDS[number % len(KINDS)], scenes[number % SCENES]
        left = number // SCENES % 64
        yield kind, encoded(picture.crop((left, number // SCENES // 64, left + 240, 200)), kind)


@dataclass
class Load:
    """Callers that search with good pictures all the while."""

    client: Client
    pictures: Iterator[tuple[str, bytes]]
    took_s: dict[str, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def answered(self) -> int:
        return sum(map(len, self.took_s.values()))

    def p99_s(self) -> float:
        return float(np.quantile([one for kind in self.took_s.values() for one in kind], 0.99))

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self._search, daemon=True) for _ in range(GOOD_CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _search(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            with self._lock:
                kind, picture = next(self.pictures)
            begun_s = time.monotonic()
            try:
                self.client.search(SEARCHED, image=picture, spaces=["siamese"], top_k=3, timeout_s=_TIMEOUT_S)
            except LookalikeError as error:
                self.failed.append(f"{kind}: {type(error).__name__}: {error.message}")
            with self._lock:
                self.took_s.setdefault(kind, []).append(time.monotonic() - begun_s)

    def goes_on(self, searches: int) -> None:
        """Return when `searches` more have been answered."""
        enough = self.answered + searches
        while self.answered < enough:
            self._ended.wait(_PAUSE_S)


def outcome_of(client: Client, picture: bytes) -> str:
    """What a search with a hostile picture comes to. What takes long may find its caller gone."""
    try:
        client.search(SEARCHED, image=picture, spaces=["siamese"], top_k=3, timeout_s=_TIMEOUT_S)
    except BadImage as error:
        return error.reason
    except DeadlineExceeded as error:
        return error.reason
    return "answered"


@contextmanager
def searched(folder: Path, milvus_uri: str) -> Iterator[tuple[Fleet, Client, memory.Memory]]:
    """A system with a collection to search in, whose embedder is bound from its start."""
    models = (SHIPPED / "photo", SHIPPED / "fashion")
    with (
        memory.bound(MEMORY_BYTES) as held,
        fleet(folder, milvus_uri, models=models, launched=held.add) as system,
        system.client() as client,
    ):
        client.create_collection(SEARCHED)
        ingested(client, SEARCHED, folder / "first", list(good(20)))
        yield system, client, held


def ingested(client: Client, collection: str, folder: Path, pictures: list[tuple[str, bytes]]) -> tuple[int, Counter[str]]:
    """How many pictures of a job over `pictures` were indexed, and the reasons for which others were not."""
    folder.mkdir()
    for number, (kind, picture) in enumerate(pictures):
        (folder / f"{number:05d} {kind.split()[0].lower()}.{kind.split()[0].lower()}").write_bytes(picture)
    *_, job = client.watch_job(client.create_ingest_job(collection, FolderSource(str(folder))).id, patience_s=900)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.counts.indexed + job.counts.failed + job.counts.skipped == len(pictures)
    return job.counts.indexed, Counter(failure.reason for failure in client.list_failures(job.id))


def mixed(goods: list[tuple[str, bytes]], bads: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The bad ones spread evenly among the good ones."""
    every = max(1, len(goods) // max(1, len(bads)))
    groups = itertools.zip_longest(bads, (goods[at : at + every] for at in range(0, len(goods), every)))
    return [one for bad, some in groups for one in ([bad] if bad else []) + (some or [])]


ALLOWED = {
    "answered", "IMAGE_UNREADABLE", "IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_COSTLY", "IMAGE_FORMAT_UNKNOWN", "DEADLINE_EXCEEDED",
}  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_three_hundred_hostile_pictures_among_three_thousand(milvus_uri: str, tmp_path: Path) -> None:
    bads = list(hostile(300))
    with searched(tmp_path, milvus_uri) as (system, client, held):
        at_rest = held.peak_bytes
        before = Load(client, good(100_000, first=10_000))
        with before.running():
            before.goes_on(1500)
        during = Load(client, good(200_000, first=20_000))
        begun_s = time.monotonic()
        with during.running(), ThreadPoolExecutor(HOSTILE_CALLERS) as callers:
            outcomes = Counter(callers.map(lambda one: outcome_of(client, one[1]), bads))
            during.goes_on(max(0, 3000 - during.answered))
        show("searches", before, during, outcomes, time.monotonic() - begun_s)
        searches_peak = held.peak_bytes
        client.create_collection("good_job")
        client.create_collection("hostile_job")
        goods = list(good(3000, first=50_000))
        job_before = Load(client, good(100_000, first=60_000))
        with job_before.running():
            assert ingested(client, "good_job", tmp_path / "good", goods) == (3000, Counter())
        job_during = Load(client, good(100_000, first=80_000))
        begun_s = time.monotonic()
        with job_during.running():
            indexed, reasons = ingested(client, "hostile_job", tmp_path / "job", mixed(goods, bads))
        show(f"job: {indexed} indexed", job_before, job_during, reasons, time.monotonic() - begun_s)
        print(
            f"memory, MB: at rest {at_rest / 1e6:,.0f}, searches {searches_peak / 1e6:,.0f}, all {held.peak_bytes / 1e6:,.0f}"
        )
        print(f"bound by the kernel: {held.bound}; ended for want of memory: {held.kills}")
        assert system.embedder.process is not None
        assert system.embedder.process.poll() is None, system.log()
        assert [*before.failed, *during.failed, *job_before.failed, *job_during.failed] == []
        assert {*outcomes, *reasons} <= ALLOWED
        assert indexed >= 3000
        assert held.peak_bytes <= MEMORY_BYTES
        assert during.p99_s() <= 3 * before.p99_s()
        assert job_during.p99_s() <= 3 * job_before.p99_s()


def show(what: str, before: Load, during: Load, outcomes: Counter[str], took_s: float) -> None:
    print(f"\n{what}: {during.answered:,} good searches answered in {took_s:.0f} s, {len(during.failed)} failed")
    print(f"hostile: {dict(outcomes)}")
    p99_ms = [load.p99_s() * 1e3 for load in (before, during)]
    print(f"p99 of good searches, ms: before {p99_ms[0]:.0f}, during {p99_ms[1]:.0f}, ratio {p99_ms[1] / p99_ms[0]:.2f}")
    for kind in sorted(during.took_s):
        both = [np.quantile(load.took_s.get(kind, [0.0]), 0.99) * 1e3 for load in (before, during)]
        print(f"  {kind}: {both[0]:.0f} -> {both[1]:.0f} ms, {len(during.took_s[kind])} searches")
