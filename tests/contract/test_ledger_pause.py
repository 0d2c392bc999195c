"""A paused job begins nothing, finishes what is under way, and goes on where it stood; on a real Redis."""

from __future__ import annotations

import pytest

from lookalike.errors import FailedPrecondition, NotFound
from lookalike.jobs.leases import PLAN, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from tests.contract.ledger_jobs import LONG, QUICK, SOURCE, adds_up, indexed, ledger, planned, taken
from tests.servers.processes import until

__all__ = ["ledger"]


def test_no_chunk_is_begun_or_sent_while_paused_and_those_under_way_are_finished(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = planned(ledger, leases, submitted=10, chunks=5)
    leases.due(job.id)
    under_way = taken(leases, job, 0)
    assert ledger.pause(job.id).paused
    assert ledger.pause(job.id) == ledger.get(job.id)
    assert leases.take(job.id, "1") is None, "sent before, begun by nobody"
    assert leases.renew(under_way)
    assert leases.record(under_way, indexed(2))
    assert leases.due(job.id).units == ()
    resumed = ledger.resume(job.id)
    assert (resumed.paused, resumed.state, resumed.chunks_done) == (False, JobState.RUNNING, 1)
    assert leases.due(job.id).units == ("1", "2", "3"), "what was sent before the pause is sent again, and the next"
    ledger.resume(job.id)
    assert leases.due(job.id).units == (), "resuming twice sends nothing twice"


def test_a_job_paused_before_it_is_planned_is_planned_when_it_goes_on(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job, _ = ledger.create("c", "u", SOURCE, "r")
    ledger.pause(job.id)
    assert leases.take(job.id, PLAN) is None
    assert ledger.get(job.id).state is JobState.PENDING
    ledger.resume(job.id)
    assert leases.due(job.id).units == (PLAN,)
    assert leases.take(job.id, PLAN) is not None


def test_a_plan_under_way_is_finished_and_no_chunk_of_it_begun(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job, _ = ledger.create("c", "u", SOURCE, "r")
    lease = leases.take(job.id, PLAN)
    assert lease is not None
    ledger.pause(job.id)
    assert leases.planned(lease, "m", submitted=4, duplicates=0, chunks=2)
    assert (ledger.get(job.id).state, ledger.get(job.id).paused) == (JobState.RUNNING, True)
    assert leases.due(job.id).units == ()


def test_the_chunk_of_a_worker_that_died_waits_until_the_job_goes_on(ledger: Ledger) -> None:
    leases = Leases(ledger, QUICK)
    job = planned(ledger, leases, submitted=2, chunks=1)
    leases.due(job.id)
    taken(leases, job, 0)
    ledger.pause(job.id)
    with ledger.connection.commands() as client:
        client.zadd(f"lookalike:job:{job.id}:open", {"0": 0})
    assert leases.due(job.id).units == ()
    assert leases.take(job.id, "0") is None
    ledger.resume(job.id)
    until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
    assert taken(leases, job, 0).attempt == 2


def test_a_paused_job_whose_last_chunk_was_under_way_ends(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = planned(ledger, leases, submitted=2, chunks=1)
    leases.due(job.id)
    last = taken(leases, job, 0)
    ledger.pause(job.id)
    leases.record(last, indexed(2))
    assert leases.due(job.id).complete
    assert leases.close(job.id) is JobState.SUCCEEDED
    assert not ledger.get(job.id).paused


def test_a_paused_job_can_be_cancelled_and_finishes_what_is_half_written(ledger: Ledger) -> None:
    leases = Leases(ledger, QUICK)
    job = planned(ledger, leases, submitted=10, chunks=5)
    leases.due(job.id)
    taken(leases, job, 0)
    ledger.pause(job.id)
    cancelled = ledger.request_cancel(job.id)
    assert (cancelled.state, cancelled.paused) == (JobState.CANCELLING, False)
    with pytest.raises(FailedPrecondition) as refused:
        ledger.pause(job.id)
    assert refused.value.reason == "JOB_CANCELLING"
    until(lambda: leases.due(job.id).units == ("0",), "the dead worker's chunk is sent again")
    leases.record(taken(leases, job, 0), indexed(2))
    assert leases.close(job.id) is JobState.CANCELLED
    assert ledger.get(job.id).counts == Counts(submitted=10, indexed=2, skipped=8)
    assert adds_up(ledger.get(job.id))


@pytest.mark.parametrize("operation", ["pause", "resume"])
def test_what_has_ended_or_never_was_cannot_be_paused_or_resumed(ledger: Ledger, operation: str) -> None:
    job, _ = ledger.create("c", "u", SOURCE, "r")
    ledger.request_cancel(job.id)
    with pytest.raises(FailedPrecondition, match="has ended already") as refused:
        getattr(ledger, operation)(job.id)
    assert refused.value.reason == "JOB_ENDED"
    with pytest.raises(NotFound):
        getattr(ledger, operation)("nope")
