"""How jobs end before their work is done: cancelled, failed; on a real Redis."""

from __future__ import annotations

import pytest

from lookalike.errors import FailedPrecondition
from lookalike.jobs.leases import PLAN, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.job import Counts
from lookalike.records.job_state import MOVES, JobState
from tests.contract.ledger_jobs import LONG, QUICK, SOURCE, adds_up, indexed, ledger, planned, taken
from tests.servers.processes import until

__all__ = ["ledger"]


class TestCancelling:
    def test_a_job_not_begun_ends_at_once(self, ledger: Ledger) -> None:
        job, _ = ledger.create("c", "u", SOURCE, "r")
        assert ledger.request_cancel(job.id).state is JobState.CANCELLED
        assert Leases(ledger, LONG).take(job.id, PLAN) is None
        assert ledger.active() == []

    def test_chunks_under_way_are_finished_and_the_rest_is_skipped(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=10, chunks=5, duplicates=1)
        leases.due(job.id)
        under_way = taken(leases, job, 0)
        assert ledger.request_cancel(job.id).state is JobState.CANCELLING
        assert ledger.request_cancel(job.id).state is JobState.CANCELLING
        assert leases.take(job.id, "1") is None
        assert leases.due(job.id) == leases.due(job.id)
        assert not leases.due(job.id).complete
        assert leases.record(under_way, indexed(1, failed=1))
        assert leases.due(job.id).complete
        assert leases.close(job.id) is JobState.CANCELLED
        job = ledger.get(job.id)
        assert job.counts == Counts(submitted=10, indexed=1, skipped=8, failed=1)
        assert job.skip_reasons == {"duplicate": 1, "cancelled": 7}
        with pytest.raises(FailedPrecondition, match="has ended already") as refused:
            ledger.request_cancel(job.id)
        assert refused.value.reason == "JOB_ENDED"

    def test_a_chunk_whose_worker_died_is_finished_since_it_may_be_half_written(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=4, chunks=2)
        leases.due(job.id)
        taken(leases, job, 0)
        ledger.request_cancel(job.id)
        until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
        assert leases.record(taken(leases, job, 0), indexed(2))
        assert leases.close(job.id) is JobState.CANCELLED
        assert ledger.get(job.id).counts == Counts(submitted=4, indexed=2, skipped=2)

    def test_while_cancelling_a_chunk_given_back_is_tried_again_since_it_may_be_half_written(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=4, chunks=2)
        leases.due(job.id)
        lease = taken(leases, job, 0)
        ledger.request_cancel(job.id)
        assert leases.release(lease) >= 0
        assert not leases.due(job.id).complete
        assert leases.close(job.id) is None
        until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
        assert leases.record(taken(leases, job, 0), indexed(2))
        assert leases.close(job.id) is JobState.CANCELLED
        assert ledger.get(job.id).counts == Counts(submitted=4, indexed=2, skipped=2)

    def test_a_chunk_whose_collection_is_gone_can_be_dropped_by_its_holder(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=4, chunks=1)
        leases.due(job.id)
        lease = taken(leases, job, 0)
        ledger.request_cancel(job.id)
        assert leases.drop(lease)
        assert not leases.drop(lease)
        assert leases.due(job.id).complete
        assert leases.close(job.id) is JobState.CANCELLED
        assert adds_up(ledger.get(job.id))

    def test_a_job_cancelled_while_planning_counts_nothing(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        lease = leases.take(job.id, PLAN)
        assert lease is not None
        assert ledger.request_cancel(job.id).state is JobState.CANCELLING
        assert not leases.planned(lease, "late", submitted=5, duplicates=0, chunks=1)
        assert leases.close(job.id) is JobState.CANCELLED
        assert ledger.get(job.id).counts == Counts()

    def test_removing_a_collection_cancels_its_jobs_only(self, ledger: Ledger) -> None:
        mine, _ = ledger.create("c", "uid 1", SOURCE, "r1")
        other, _ = ledger.create("c", "uid 2", SOURCE, "r2")
        assert ledger.cancel_collection("uid 1") == 1
        assert ledger.get(mine.id).state is JobState.CANCELLED
        assert ledger.get(other.id).state is JobState.PENDING


class TestFailing:
    def test_a_plan_that_fails_ends_the_job_with_its_reason(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        lease = leases.take(job.id, PLAN)
        assert lease is not None
        assert leases.fail_job(lease, "SOURCE_NOT_FOUND", "there is no such folder")
        job = ledger.get(job.id)
        assert job.state is JobState.FAILED
        assert (job.error_reason, job.error) == ("SOURCE_NOT_FOUND", "there is no such folder")

    def test_a_job_that_fails_half_way_waits_for_chunks_under_way_and_adds_up(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=10, chunks=5)
        leases.due(job.id)
        bad, good = taken(leases, job, 0), taken(leases, job, 1)
        assert leases.fail_job(bad, "FINGERPRINT_MISMATCH", "two fingerprints")
        assert ledger.get(job.id).state is JobState.CANCELLING
        assert leases.close(job.id) is None
        assert leases.record(good, indexed(2))
        assert leases.close(job.id) is JobState.FAILED
        job = ledger.get(job.id)
        assert (job.error_reason, job.error) == ("FINGERPRINT_MISMATCH", "two fingerprints")
        assert job.counts == Counts(submitted=10, indexed=2, skipped=8)
        assert job.skip_reasons == {"not_attempted": 8}

    @pytest.mark.parametrize("earlier", ["died", "given back"])
    def test_a_chunk_begun_before_is_finished_even_if_the_job_fails_of_it(self, ledger: Ledger, earlier: str) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=6, chunks=3)
        leases.due(job.id)
        first = taken(leases, job, 0)
        if earlier == "given back":
            leases.release(first)
        until(lambda: "0" in leases.due(job.id).units, "the chunk is sent again")
        assert leases.fail_job(taken(leases, job, 0), "FINGERPRINT_MISMATCH", "two fingerprints")
        assert leases.close(job.id) is None
        until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
        assert leases.record(taken(leases, job, 0), indexed(0, failed=2))
        assert leases.close(job.id) is JobState.FAILED
        job = ledger.get(job.id)
        assert job.counts == Counts(submitted=6, skipped=4, failed=2)
        assert (job.error_reason, job.error) == ("FINGERPRINT_MISMATCH", "two fingerprints")

    def test_a_chunk_given_up_ends_with_its_job(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        taken(leases, job, 0)
        until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
        assert leases.fail_job(taken(leases, job, 0), "MANIFEST_UNREADABLE", "it is gone", last=True)
        assert leases.close(job.id) is JobState.FAILED
        assert adds_up(ledger.get(job.id))

    def test_no_script_makes_a_move_that_the_table_does_not_allow(self, ledger: Ledger) -> None:
        """A planned job goes back to nothing, and an ended one anywhere."""
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=0, chunks=0)
        assert leases.take(job.id, PLAN) is None
        leases.close(job.id)
        assert ledger.get(job.id).state.ended
        assert leases.due(job.id).units == ()
        assert not leases.due(job.id).complete
        assert {state for state, moves in MOVES.items() if not moves} == {s for s in JobState if s.ended}
