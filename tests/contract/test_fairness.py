"""Whose turn it is: a small job beside a large one, on a real Redis, with the real Celery workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from lookalike.jobs.leases import PLAN, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import FIRST_CHUNKS, TaskQueue
from tests.contract.ledger_jobs import SOURCE, indexed, ledger, planned, taken
from tests.servers import processes

__all__ = ["ledger"]


@contextmanager
def workers(url: str, folder: Path, count: int) -> Iterator[redis.Redis]:
    """`count` workers that note what they are given; gives the Redis that they note it in."""
    started: list[subprocess.Popen[bytes]] = []
    with redis.Redis.from_url(url, decode_responses=True) as client:
        try:
            for number in range(count):
                command = [sys.executable, "-m", "tests.servers.noting_worker", url, "1"]
                started.append(processes.start(command, folder / f"worker{number}.log"))
            yield client
        finally:
            for process in started:
                processes.kill(process)


def send_all(url: str, units: list[tuple[str, str]]) -> None:
    queue = TaskQueue(url)
    for job_id, unit in units:
        if unit == PLAN:
            queue.send_plan(job_id)
        else:
            queue.send_chunk(job_id, int(unit))
    queue.close()


def noted(client: redis.Redis, count: int) -> list[str]:
    processes.until(lambda: client.llen("noted") >= count, f"{count} tasks are done")
    found: list[str] = client.lrange("noted", 0, -1)  # type: ignore[assignment]
    return found


def test_a_small_job_does_not_wait_behind_a_large_one_nor_small_ones_take_every_turn(redis_db: str, tmp_path: Path) -> None:
    large = [("large", str(chunk)) for chunk in range(100, 200)]
    small = [("small", unit) for unit in (PLAN, *map(str, range(FIRST_CHUNKS)))]
    send_all(redis_db, [*large, *small, *[("other", PLAN)] * 40])
    with workers(redis_db, tmp_path, 1) as client:
        order = noted(client, 100 + len(small) + 40)
    last_of_small = max(at for at, text in enumerate(order) if text.startswith("small"))
    assert last_of_small <= 2 * len(small), "every other turn is for first chunks"
    large_first = [text.startswith("large") for text in order[:80]]
    assert 38 <= sum(large_first) <= 42, "and the others for the rest"
    assert [text for text in order if text.startswith("large")] == [f"large {chunk}" for _, chunk in large]


def test_several_workers_share_the_queues_and_do_nothing_twice(redis_db: str, tmp_path: Path) -> None:
    units = [("a", str(chunk)) for chunk in range(300)]
    with workers(redis_db, tmp_path, 2) as client:
        # Until the second one is up, the first does all.
        processes.until(lambda: send_all(redis_db, [("up", PLAN)]) or client.hlen("workers") == 2, "both workers are up")
        before = client.hgetall("workers")
        send_all(redis_db, units)

        def done() -> list[str]:
            return [text for text in map(str, client.lrange("noted", 0, -1)) if text.startswith("a ")]

        processes.until(lambda: len(done()) >= len(units), "all is done")
        assert sorted(done()) == sorted(f"a {chunk}" for _, chunk in units)
        after = client.hgetall("workers")
        assert all(int(after[worker]) - int(before[worker]) > 30 for worker in after), "neither is idle"


class TestWindows:
    def test_jobs_share_what_all_may_have_queued_together(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LeaseSettings(window_chunks=8, window_total_chunks=10))
        large = planned(ledger, leases, submitted=100, chunks=50)
        assert len(leases.due(large.id).units) == 8
        small = planned(ledger, leases, submitted=100, chunks=50)
        assert len(leases.due(small.id).units) == 5
        for chunk in range(3):
            assert leases.record(taken(leases, large, chunk), indexed(2))
            assert leases.due(large.id).units == (), "it has its share still"
        leases.record(taken(leases, large, 3), indexed(2))
        assert leases.due(large.id).units == ("8",)

    def test_every_job_may_have_one_chunk_however_many_jobs_there_are(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LeaseSettings(window_chunks=8, window_total_chunks=2))
        jobs = [planned(ledger, leases, submitted=4, chunks=2) for _ in range(5)]
        assert [leases.due(job.id).units for job in jobs] == [("0",)] * 5

    def test_a_plan_that_cannot_begin_waits_without_an_attempt(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LeaseSettings())
        job, _ = ledger.create("c", "u", SOURCE, "r", send_grace_s=60)
        assert leases.defer(job.id, PLAN, 0.0)
        assert leases.due(job.id).units == (PLAN,)
        lease = leases.take(job.id, PLAN)
        assert lease is not None
        assert lease.attempt == 1
        assert not leases.defer(job.id, PLAN, 0.0), "somebody is at it"
        assert leases.renew(lease)
        assert not leases.defer(job.id, "7", 0.0), "there is no such unit"
