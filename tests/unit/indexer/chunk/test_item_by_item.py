"""An item that workers die of fails alone; a plan or a last unit that they die of ends its job, and no other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from indexer.chunk.item_by_item import KILLS_WORKER
from indexer.worker import ABANDONED, Worker
from lookalike.jobs.leases import FINISH, PLAN, Lease
from lookalike.jobs.suspects import MOST_DEATHS
from lookalike.records.image import StoredImage
from lookalike.records.job import Counts, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import ManifestSource
from tests.unit.indexer.conftest import Bench

MAX_ATTEMPTS = 3
"""The attempts of the bench's worker."""


class Killed(BaseException):
    """Ends a worker in the middle: nothing behind it is done, and its lease runs out."""


def fill(bench: Bench, count: int, killers: tuple[int, ...] = ()) -> None:
    for number in range(count):
        bench.put(f"{number:04d}.png", b"killer %d" % number if number in killers else b"")


def dies_of(bench: Bench, start: bytes) -> None:
    def during(_: int) -> None:
        if any(image.startswith(start) for image in bench.embedder.calls[-1]):
            raise Killed

    bench.embedder.during = during


def deaths_of(bench: Bench, job: Job, unit: str, work: Callable[[], None], *, most: int = 40) -> int:
    """Have a new worker take the unit each time that one has died of it, until one lives; how many have died."""
    for deaths in range(most):
        try:
            work()
        except Killed:
            with bench.ledger.connection.commands() as client:
                client.zadd(f"lookalike:job:{job.id}:open", {unit: 0})
        else:
            return deaths
    raise AssertionError(f"{most} workers have died")


@pytest.mark.parametrize("killers", [(7,), (0, 7, 39)])
def test_a_deadly_item_fails_with_a_reason_and_the_rest_of_its_chunk_is_indexed(bench: Bench, killers: tuple[int, ...]) -> None:
    fill(bench, 40, killers)
    job = bench.create()
    bench.deliver()
    dies_of(bench, b"killer")
    deaths = deaths_of(bench, job, "0", lambda: bench.worker.ingest_chunk(job.id, 0))
    done = bench.ledger.get(job.id)
    assert (done.state, done.counts) == (JobState.SUCCEEDED, Counts(40, 40 - len(killers), 0, len(killers)))
    assert [(failure.position, failure.reason) for failure in bench.failures(job)] == [(at, KILLS_WORKER) for at in killers]
    assert deaths == MAX_ATTEMPTS // 2 + MOST_DEATHS * len(killers)
    assert len(bench.store.ids()) == 40 - len(killers)


def test_an_item_beside_which_workers_died_of_something_else_is_indexed(bench: Bench) -> None:
    fill(bench, 40)
    job = bench.create()
    bench.deliver()
    lives = [1, 4, 4, 9, 2]  # Calls until something in another chunk ends the worker.

    def during(_: int) -> None:
        if lives:
            lives[0] -= 1
            if not lives[0]:
                del lives[0]
                raise Killed

    bench.embedder.during = during
    assert deaths_of(bench, job, "0", lambda: bench.worker.ingest_chunk(job.id, 0)) == 5
    assert bench.ledger.get(job.id).counts == Counts(40, 40)


def test_what_was_written_of_a_chunk_that_is_given_up_counts_as_indexed(bench: Bench) -> None:
    fill(bench, 10)
    job = bench.create()
    bench.deliver()
    bench.embedder.during = lambda _: None
    record, bench.leases.record = bench.leases.record, _dies  # type: ignore[method-assign,assignment]
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(Killed):
            bench.worker.ingest_chunk(job.id, 0)
        with bench.ledger.connection.commands() as client:
            client.zadd(f"lookalike:job:{job.id}:open", {"0": 0})
    bench.leases.record = record  # type: ignore[method-assign]
    ids = sorted(bench.store.ids())
    for space in ("histogram", "siamese"):
        bench.store.rows[space].pop(ids[0])
    bench.worker.ingest_chunk(job.id, 0)
    assert bench.ledger.get(job.id).counts == Counts(10, 9, 0, 1)
    assert [failure.reason for failure in bench.failures(job)] == [ABANDONED]


def test_a_listing_that_workers_die_of_ends_its_job_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench, 3)
    killer, other = bench.create(), bench.create(ManifestSource(str(bench.put("m.csv", b"uri\n0001.png\n"))))
    bench.queue.sent.clear()
    with monkeypatch.context() as broken:
        broken.setattr("indexer.worker.make_plan", _dies)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(Killed):
                bench.worker.plan(killer.id)
            with bench.ledger.connection.commands() as client:
                client.zadd(f"lookalike:job:{killer.id}:open", {PLAN: 0})
    bench.worker.plan(other.id)
    assert bench.run(other).counts.submitted == 1, "others go on between"
    bench.worker.plan(killer.id)
    ended = bench.ledger.get(killer.id)
    assert ended.state is JobState.FAILED
    assert (ended.error_reason, ended.error) == ("PLAN_ABANDONED", f"{MAX_ATTEMPTS} workers died while planning")


def test_a_last_unit_that_workers_die_of_ends_its_job(bench: Bench) -> None:
    fill(bench, 10, killers=(3,))
    job = bench.create(options=JobOptions(dry_run=True))
    bench.deliver()
    dies_of(bench, b"killer")
    bench.worker.advance(job.id)
    assert deaths_of(bench, job, FINISH, lambda: bench.worker.finish(job.id)) == MAX_ATTEMPTS
    ended = bench.ledger.get(job.id)
    bench.worker.advance(job.id)
    ended = bench.ledger.get(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error_reason == "FINISH_ABANDONED"
    assert ended.counts.submitted == ended.counts.skipped == 10


def test_a_plan_that_hangs_keeps_no_other_job_from_its_plan(bench: Bench) -> None:
    fill(bench, 3)
    now_s = [0.0]
    worker = Worker(bench.worker._parts, max_attempts=MAX_ATTEMPTS, chunk_deadline_s=60, clock=lambda: now_s[0])
    hangs, goes_on = threading.Event(), threading.Event()
    first, second, third = (bench.create() for _ in range(3))
    planned = bench.leases.planned

    def planned_late(lease: Lease, manifest: str, **counts: int) -> bool:
        if lease.job_id == first.id:
            hangs.set()
            goes_on.wait(30)
        return planned(lease, manifest, **counts)  # type: ignore[arg-type]

    bench.leases.planned = planned_late  # type: ignore[method-assign,assignment]
    hanging = threading.Thread(target=worker.plan, args=(first.id,))
    hanging.start()
    try:
        assert hangs.wait(30)
        worker.plan(second.id)
        assert bench.ledger.get(second.id).state is JobState.PENDING, "one at a time"
        now_s[0] += 61
        worker.plan(third.id)
        assert bench.ledger.get(third.id).state is JobState.RUNNING
    finally:
        goes_on.set()
        hanging.join()
    worker.plan(second.id)
    assert [bench.ledger.get(job.id).state for job in (first, second, third)] == [JobState.RUNNING] * 3


def _dies(*_: object, **__: object) -> StoredImage:
    raise Killed
