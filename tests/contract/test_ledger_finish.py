"""Jobs with something left to do after their chunks: a last unit, sent and leased like any other, before they can end."""

from __future__ import annotations

from datetime import timedelta

from lookalike.jobs.leases import FINISH, PLAN, Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.job import Comparison, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource
from tests.contract.ledger_jobs import LONG, QUICK, indexed, ledger, taken
from tests.servers.processes import until

__all__ = ["ledger"]

SOURCE = CollectionSource(2)


def with_one_chunk(ledger: Ledger, leases: Leases, *, done: bool = True) -> Job:
    job, _ = ledger.create("c", "uid", SOURCE, "request", JobOptions(model="larger"))
    planning = leases.take(job.id, PLAN)
    assert planning is not None
    assert leases.planned(planning, "manifest", submitted=1, duplicates=0, chunks=1)
    assert leases.due(job.id).units == ("0",)
    if done:
        assert leases.record(taken(leases, job, 0), indexed(1))
    return job


def finishing(leases: Leases, job: Job) -> Lease:
    lease = leases.take(job.id, FINISH)
    assert lease is not None
    return lease


def test_the_last_unit_is_sent_when_every_chunk_is_recorded_and_only_then(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases, done=False)
    assert leases.take(job.id, FINISH) is None
    assert leases.due(job.id).units == ()
    assert leases.record(taken(leases, job, 0), indexed(1))
    due = leases.due(job.id)
    assert (due.units, due.complete) == ((FINISH,), False)
    assert leases.due(job.id).units == (), "it is sent once"
    assert leases.close(job.id) is None
    lease = finishing(leases, job)
    assert leases.note(lease, comparison='{"queries": 3, "k": 10, "overlap": 0.5}')
    assert leases.finished(lease)
    assert not leases.finished(lease)
    assert leases.due(job.id).complete
    assert leases.close(job.id) is JobState.SUCCEEDED
    assert ledger.get(job.id).comparison == Comparison(3, 10, 0.5)


def test_a_last_unit_whose_worker_died_is_sent_again(ledger: Ledger) -> None:
    leases = Leases(ledger, QUICK)
    job = with_one_chunk(ledger, leases)
    leases.due(job.id)
    dead = finishing(leases, job)
    until(lambda: leases.due(job.id).units == (FINISH,), "it is sent again")
    assert finishing(leases, job).attempt == 2
    assert not leases.note(dead)
    assert not leases.finished(dead)


def test_a_last_unit_that_fails_its_job_leaves_the_counts_as_they_are(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    leases.due(job.id)
    assert leases.fail_job(finishing(leases, job), "REEMBED_INCOMPLETE", "one is missing")
    assert leases.close(job.id) is JobState.FAILED
    failed = ledger.get(job.id)
    assert (failed.error_reason, failed.counts.indexed) == ("REEMBED_INCOMPLETE", 1)


def test_a_job_cancelled_before_its_last_unit_does_not_come_to_it(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    leases.due(job.id)
    ledger.request_cancel(job.id)
    assert leases.take(job.id, FINISH) is None
    assert leases.close(job.id) is JobState.CANCELLED


def test_a_paused_job_waits_before_its_last_unit(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    ledger.pause(job.id)
    due = leases.due(job.id)
    assert (due.units, due.complete) == ((), False)
    ledger.resume(job.id)
    assert leases.due(job.id).units == (FINISH,)


def test_a_job_that_is_held_waits_for_a_person_and_then_knows_that_it_may_go_on(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    leases.due(job.id)
    lease = finishing(leases, job)
    assert leases.hold(lease, "it is worse")
    assert not leases.hold(lease, "it is worse"), "its lease is given back"
    held = ledger.get(job.id)
    assert (held.held, held.paused, held.forced, held.stalled) == ("it is worse", True, False, False)
    assert leases.take(job.id, FINISH) is None
    assert leases.due(job.id).units == ()

    resumed = ledger.resume(job.id)
    assert (resumed.held, resumed.paused, resumed.forced) == ("", False, True)
    assert leases.due(job.id).units == (FINISH,)
    assert finishing(leases, job).attempt == 1, "to be held is no attempt"


def test_a_job_that_only_was_paused_knows_of_no_such_leave(ledger: Ledger) -> None:
    job = with_one_chunk(ledger, Leases(ledger, LONG))
    ledger.pause(job.id)
    assert not ledger.resume(job.id).forced


def test_a_held_job_can_be_cancelled(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    leases.due(job.id)
    assert leases.hold(finishing(leases, job), "it is worse")
    assert ledger.request_cancel(job.id).held == ""


def test_an_undo_leaves_its_trace_on_the_job_for_as_long_as_that_is_kept(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    job = with_one_chunk(ledger, leases)
    assert ledger.get(job.id).undo is None
    ledger.note_undone(job.id, 3)
    ledger.note_undone(job.id, 2)
    undo = ledger.get(job.id).undo
    assert undo is not None
    assert undo.deleted == 5
    assert undo.undo_time >= job.create_time
    ledger.note_undone("0123456789abcdef", 1)
    assert ledger.find("0123456789abcdef") is None, "no trace of a job that is no longer kept"


def test_a_reembedding_holds_up_no_other_job_and_leaves_no_tombstones(ledger: Ledger) -> None:
    leases = Leases(ledger, LONG)
    with_one_chunk(ledger, leases, done=False)
    later = ledger.take_revision("c")
    assert not ledger.older_job_active("c", later)
    ledger.bury("c", ["a"], later)
    assert ledger.buried("c", ["a"]) == {}


def test_a_request_to_re_embed_is_known_again_whatever_generation_it_would_fill_now(ledger: Ledger) -> None:
    options = JobOptions(model="larger", grace=timedelta(seconds=60))
    job, _ = ledger.create("c", "uid", SOURCE, "request", options)
    found = ledger.find_reembedding("request", "c", options)
    assert found is not None
    assert found.id == job.id
    assert ledger.find_reembedding("another", "c", options) is None
    active = ledger.active_reembedding("uid")
    assert active is not None
    assert active.id == job.id
    assert ledger.active_reembedding("another uid") is None
