"""What the ledger does with a unit, for each way that the work on it can end."""

from __future__ import annotations

import threading
import time

import pytest
import structlog
from structlog.testing import capture_logs

from indexer.interruption import Draining, Overdue
from indexer.units import UNITS_RELEASED, Units
from lookalike.errors import (
    CallLost,
    Cancelled,
    DeadlineExceeded,
    FingerprintMismatch,
    Internal,
    InvalidArgument,
    LeaseLost,
    LookalikeError,
    NotFound,
    Overloaded,
    Unavailable,
)
from lookalike.jobs.leases import PLAN
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.records.job_state import JobState
from lookalike.runtime.call import REQUEST_ID_HEADER, outgoing, request_id_from
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection

GONE = NotFound("collection", "products")


@pytest.fixture
def units(bench: Bench) -> Units:
    parts = bench.worker._parts
    return Units(bench.ledger, bench.leases, parts.catalogue, max_attempts=3, chunk_deadline_s=60.0, clock=time.monotonic)


@pytest.fixture
def job(bench: Bench) -> Job:
    """Planned, with one chunk."""
    bench.put("a.png")
    job = bench.create()
    bench.deliver()
    return job


def broken(error: BaseException) -> None:
    raise error


def end_with(units: Units, job: Job, error: BaseException) -> list[str]:
    """What the log says where the work on the only chunk ends with `error`."""
    with capture_logs() as logged, units.take(job.id, "0") as unit:
        assert unit is not None
        broken(error)
    return [line["event"] for line in logged]


def next_attempt(units: Units, bench: Bench, job: Job) -> int:
    """Which attempt at the chunk comes next, when it is due."""
    attempts: list[int] = []

    def taken() -> bool:
        bench.leases.due(job.id)
        with units.take(job.id, "0") as unit:
            attempts.extend([] if unit is None else [unit.lease.attempt])
        return bool(attempts)

    until(taken, "the chunk is due again")
    return attempts[0]


@pytest.mark.parametrize(
    ("error", "event", "attempt"),
    [
        (Draining("the worker is stopping"), "given back", 1),
        (Unavailable("milvus", "away"), "will be tried again", 1),
        (CallLost("embedder", "away"), "will be tried again", 1),
        (Overloaded("busy"), "will be tried again", 1),
        (DeadlineExceeded("milvus took too long"), "will be tried again", 1),
        (Overdue("a chunk has taken too long"), "took too long", 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LookalikeError) else None,
)
def test_what_passes_leaves_the_unit_to_be_done_again_and_counts_as_an_attempt_only_where_it_was_slow(
    units: Units, bench: Bench, job: Job, error: LookalikeError, event: str, attempt: int
) -> None:
    counter = UNITS_RELEASED.labels(error.reason)
    before = counter._value.get()
    assert end_with(units, job, error) == [event]
    assert counter._value.get() == before + 1
    assert next_attempt(units, bench, job) == attempt
    assert bench.ledger.get(job.id).state is JobState.RUNNING


def test_a_unit_is_a_call_whose_id_names_it_in_its_log_and_goes_on_to_the_embedder(
    units: Units, bench: Bench, job: Job
) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged, units.take(job.id, "0") as unit:
        assert unit is not None
        assert unit.call.request_id == request_id_from(f"{job.id}.0.1"), "a token that others take as it is"
        assert (REQUEST_ID_HEADER, unit.call.request_id) in outgoing()
        assert 0 < unit.call.deadline.remaining_s() <= 60.0
        broken(Unavailable("milvus", "away"))
    assert [line["request_id"] for line in logged] == [f"{job.id}.0.1"]
    assert outgoing() == ()


def test_a_lost_lease_is_left_to_the_worker_that_has_it(units: Units, bench: Bench, job: Job) -> None:
    assert end_with(units, job, LeaseLost("gone to another worker")) == ["lease lost"]
    with units.take(job.id, "0") as unit:
        assert unit is None, "the ledger was asked for nothing"


@pytest.mark.parametrize(
    "error",
    [NotFound("model", "small"), FingerprintMismatch("siamese", "a", "b"), InvalidArgument("source", "is no folder")],
    ids=lambda error: type(error).__name__,
)
def test_what_no_retry_fixes_fails_the_job(units: Units, bench: Bench, job: Job, error: LookalikeError) -> None:
    assert end_with(units, job, error) == ["ingest job failed"]
    bench.leases.due(job.id)
    ended = bench.leases.close(job.id) or bench.ledger.get(job.id).state
    assert ended is JobState.FAILED
    failed = bench.ledger.get(job.id)
    assert (failed.error_reason, failed.error) == (error.reason, error.message)


@pytest.mark.parametrize("now", [None, "uid 2"])
def test_a_job_whose_collection_is_gone_is_cancelled(units: Units, bench: Bench, job: Job, now: str | None) -> None:
    bench.catalogue.collections = {"products": a_collection(uid=now)} if now else {}
    assert end_with(units, job, GONE) == ["cancelled: the collection is gone"]
    assert bench.leases.close(job.id) is JobState.CANCELLED


def test_where_only_a_generation_of_the_collection_is_gone_the_unit_is_done_again(units: Units, bench: Bench, job: Job) -> None:
    assert end_with(units, job, GONE) == ["will be tried again"]
    assert next_attempt(units, bench, job) == 1


@pytest.mark.parametrize("error", [Internal("a defect"), Cancelled("for no reason of the worker"), RuntimeError("a defect")])
def test_any_other_error_passes_and_the_lease_runs_out_by_itself(units: Units, job: Job, error: Exception) -> None:
    with pytest.raises(type(error)):
        end_with(units, job, error)
    with units.take(job.id, "0") as unit:
        assert unit is None


def test_a_plan_that_finds_another_under_way_is_put_off_and_a_chunk_is_not(units: Units, bench: Bench, job: Job) -> None:
    second, third = bench.create(), bench.create()
    with units.take(second.id, PLAN) as first_plan:
        assert first_plan is not None
        with units.take(third.id, PLAN) as other_plan, units.take(job.id, "0") as chunk:
            assert other_plan is None
            assert chunk is not None
    with units.take(third.id, PLAN) as other_plan:
        assert other_plan is not None
        assert other_plan.lease.attempt == 1


def test_one_plan_at_a_time_and_the_other_waits_without_an_attempt(bench: Bench) -> None:
    bench.fill(3)
    first, second = bench.create(), bench.create()
    listing, go_on = threading.Event(), threading.Event()

    def wait(*_: object, **__: object) -> Collection:
        listing.set()
        go_on.wait(10)
        return a_collection()

    get, bench.catalogue.get = bench.catalogue.get, wait  # type: ignore[method-assign]
    planner = threading.Thread(target=bench.worker.plan, args=(first.id,))
    planner.start()
    assert listing.wait(10)
    bench.catalogue.get = get  # type: ignore[method-assign]
    bench.worker.plan(second.id)
    assert bench.ledger.get(second.id).state is JobState.PENDING, "its thread is free for chunks"
    go_on.set()
    planner.join()
    bench.queue.sent.clear()
    until(lambda: bench.worker.advance(second.id) or bench.queue.sent, "the other plan is sent again")
    assert bench.run(second).state is JobState.SUCCEEDED
