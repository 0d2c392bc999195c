"""What the ledger promises, on a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from lookalike.jobs.job import Counts, Job, JobError, SourceSpec
from lookalike.jobs.leases import PLAN, ChunkCounts, Lease, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.states import MOVES, JobState
from tests.servers.processes import until
from tests.servers.redis import RedisServer

SOURCE = SourceSpec("folder", "/data/products", labels_from_folders=True)
QUICK = LeaseSettings(lease_s=0.2, heartbeat_s=0.05, send_grace_s=0.2, retry_base_s=0.05, retry_cap_s=0.2, window_chunks=3)
LONG = LeaseSettings(lease_s=60, heartbeat_s=20, send_grace_s=60, retry_base_s=60, retry_cap_s=60, window_chunks=3)


@pytest.fixture
def ledger(redis_db: str) -> Iterator[Ledger]:
    ledger = connect_ledger(redis_db)
    yield ledger
    ledger.close()


def planned(ledger: Ledger, leases: Leases, *, submitted: int, chunks: int, duplicates: int = 0, collection: str = "c") -> Job:
    job, _ = ledger.create(collection, "uid", SOURCE, f"request-{time.monotonic_ns()}")
    lease = leases.take(job.id, PLAN)
    assert lease is not None
    assert leases.planned(lease, "manifest", submitted=submitted, duplicates=duplicates, chunks=chunks)
    return ledger.get(job.id)


def taken(leases: Leases, job: Job, chunk: int) -> Lease:
    lease = leases.take(job.id, str(chunk))
    assert lease is not None
    return lease


def indexed(count: int, *, failed: int = 0, **skipped: int) -> ChunkCounts:
    return ChunkCounts(count, failed, skipped)


def adds_up(job: Job) -> bool:
    counts = job.counts
    return counts.submitted == counts.indexed + counts.skipped + counts.failed and counts.skipped == sum(
        job.skip_reasons.values()
    )


class TestCreating:
    def test_a_new_job_is_pending_and_tells_what_was_asked_for(self, ledger: Ledger) -> None:
        job, new = ledger.create("products", "uid", SOURCE, "r1")
        assert new
        assert (job.collection, job.collection_uid, job.source, job.request_id) == ("products", "uid", SOURCE, "r1")
        assert job.state is JobState.PENDING
        assert job.counts == Counts()
        assert job.error is None
        assert job.ended_at is None
        assert ledger.get(job.id) == job

    def test_the_same_request_gives_the_same_job_and_another_is_refused(self, ledger: Ledger) -> None:
        job, _ = ledger.create("products", "uid", SOURCE, "r1")
        again, new = ledger.create("products", "another uid", SOURCE, "r1")
        assert (again.id, new) == (job.id, False)
        assert ledger.find_request("r1", "products", SOURCE) == job
        assert ledger.find_request("r2", "products", SOURCE) is None
        for collection, source in (("other", SOURCE), ("products", SourceSpec("folder", "/data/products"))):
            with pytest.raises(FailedPrecondition) as refused:
                ledger.create(collection, "uid", source, "r1")
            assert refused.value.reason == "REQUEST_ID_REUSED"
            with pytest.raises(FailedPrecondition):
                ledger.find_request("r1", collection, source)

    def test_many_callers_at_once_with_one_request_id_make_one_job(self, ledger: Ledger) -> None:
        made: list[tuple[Job, bool]] = []
        threads = [threading.Thread(target=lambda: made.append(ledger.create("c", "u", SOURCE, "same"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({job.id for job, _ in made}) == 1
        assert [new for _, new in made].count(True) == 1

    def test_what_does_not_exist_is_not_found(self, ledger: Ledger) -> None:
        with pytest.raises(NotFound, match="ingest job 'nope'"):
            ledger.get("nope")
        with pytest.raises(NotFound):
            ledger.request_cancel("nope")

    def test_a_redis_that_is_away_is_unavailable(self) -> None:
        with pytest.raises(Unavailable, match="redis"):
            connect_ledger("redis://127.0.0.1:1/0")

    def test_a_url_that_cannot_be_one_is_refused_and_not_waited_for(self) -> None:
        with pytest.raises(InvalidArgument, match="redis_url"):
            connect_ledger("127.0.0.1:6379")

    def test_a_wrong_password_is_said_and_not_waited_for(self, redis_db: str, ledger: Ledger) -> None:
        with ledger.connection.commands() as client:
            client.acl_setuser("somebody", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
        connect_ledger(redis_db.replace("//", "//somebody:right@")).close()
        with pytest.raises(FailedPrecondition, match="refuses the password") as refused:
            connect_ledger(redis_db.replace("//", "//somebody:wrong@"))
        assert refused.value.reason == "REDIS_ACCESS_DENIED"
        assert "wrong" not in refused.value.message


class TestListing:
    def test_jobs_come_newest_first_page_by_page(self, ledger: Ledger) -> None:
        ids = [ledger.create("a" if n % 2 else "b", "u", SOURCE, f"r{n}")[0].id for n in range(7)]
        seen: list[str] = []
        token = ""
        while True:
            page, token = ledger.list(None, 3, token)
            assert len(page) <= 3
            seen += [job.id for job in page]
            if not token:
                break
        assert seen == ids[::-1]
        assert [job.id for job in ledger.list("a", 10, "")[0]] == ids[1::2][::-1]
        assert ledger.list("none", 10, "") == ([], "")

    def test_the_last_page_has_no_token_even_when_it_is_full(self, ledger: Ledger) -> None:
        for n in range(4):
            ledger.create("c", "u", SOURCE, f"r{n}")
        _, token = ledger.list(None, 2, "")
        page, token = ledger.list(None, 2, token)
        assert (len(page), token) == (2, "")

    @pytest.mark.parametrize(("size", "token"), [(0, ""), (1001, ""), (5, "x"), (5, "-1"), (5, "1" * 40)])
    def test_bad_pages_are_refused(self, ledger: Ledger, size: int, token: str) -> None:
        with pytest.raises(InvalidArgument):
            ledger.list(None, size, token)

    def test_jobs_past_their_retention_vanish_from_lists_and_can_be_forgotten(self, redis_db: str) -> None:
        ledger = connect_ledger(redis_db, retention_s=0.05)
        old, _ = ledger.create("c", "u", SOURCE, "old")
        ledger.request_cancel(old.id)
        new, _ = ledger.create("c", "u", SOURCE, "new")
        until(lambda: ledger.expired() == [old.id], "the ended job is no longer kept")
        assert [job.id for job in ledger.list(None, 1, "")[0]] == [new.id]
        ledger.forget([old.id])
        assert ledger.expired() == []
        assert ledger.create("other", "u", SOURCE, "old")[1], "its request id can be used again"


class TestLeases:
    def test_a_unit_is_one_workers_at_a_time(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        assert leases.take(job.id, PLAN) is not None
        assert ledger.get(job.id).state is JobState.PLANNING
        assert leases.take(job.id, PLAN) is None
        assert leases.take(job.id, "0") is None, "there is no chunk before the plan"

    def test_chunks_are_handed_out_in_a_window_and_each_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=10, chunks=5)
        assert leases.due(job.id).units == ("0", "1", "2")
        assert leases.due(job.id).units == ()
        assert leases.take(job.id, "3") is None, "not handed out yet"
        assert leases.record(taken(leases, job, 1), indexed(2))
        assert leases.due(job.id).units == ("3",)
        assert leases.take(job.id, "1") is None, "done"

    def test_an_outcome_counts_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=9, chunks=2, duplicates=1)
        leases.due(job.id)
        first, second = taken(leases, job, 0), taken(leases, job, 1)
        assert leases.record(first, indexed(2, failed=1, unchanged=1))
        assert not leases.record(first, indexed(2, failed=1, unchanged=1))
        assert leases.close(job.id) is None, "a chunk is missing"
        assert leases.record(second, indexed(4))
        assert leases.due(job.id).complete
        assert leases.close(job.id) is JobState.SUCCEEDED
        assert leases.close(job.id) is None
        job = ledger.get(job.id)
        assert job.counts == Counts(submitted=9, indexed=6, skipped=2, failed=1)
        assert job.skip_reasons == {"duplicate": 1, "unchanged": 1}
        assert adds_up(job)
        assert job.ended_at is not None

    def test_one_who_lost_the_lease_can_change_nothing(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        stale = taken(leases, job, 0)
        until(lambda: leases.due(job.id).units == ("0",), "the dead worker's chunk is sent again")
        current = taken(leases, job, 0)
        assert current.attempt == 2
        assert not leases.renew(stale)
        assert stale.lost.is_set()
        assert not leases.record(stale, indexed(2))
        assert not leases.fail_job(stale, "X", "x")
        assert leases.release(stale) < 0
        assert leases.record(current, indexed(1, failed=1))
        assert ledger.get(job.id).counts == Counts(submitted=2, indexed=1, failed=1)

    def test_a_lease_that_ran_out_can_be_taken_before_anybody_sends_it_again(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        taken(leases, job, 0)
        until(lambda: leases.take(job.id, "0") is not None, "the lease runs out")

    def test_heartbeats_keep_a_lease_beyond_its_time(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        lease = taken(leases, job, 0)
        ended_s = time.monotonic() + 3 * QUICK.lease_s
        with leases.kept(lease):
            until(lambda: time.monotonic() > ended_s or leases.take(job.id, "0") is not None, "three lease times pass")
            assert time.monotonic() > ended_s
        assert leases.record(lease, indexed(2))

    def test_heartbeats_notice_that_the_lease_is_lost(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        lease = leases.take(job.id, PLAN)
        assert lease is not None
        with leases.kept(lease):
            ledger.request_cancel(job.id)
            assert lease.lost.wait(5)

    def test_what_is_released_comes_back_after_a_wait_that_grows_and_is_no_attempt(self, ledger: Ledger) -> None:
        settings = LeaseSettings(lease_s=60, heartbeat_s=20, send_grace_s=60, retry_base_s=0.02, retry_cap_s=0.1)
        leases = Leases(ledger, settings)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        waits = []
        for _ in range(5):
            lease = taken(leases, job, 0)
            assert lease.attempt == 1
            waits.append(leases.release(lease))
            until(lambda: leases.due(job.id).units == ("0",), "the chunk is due again")
        assert 0.009 <= waits[0] <= 0.02
        assert 0.049 <= waits[-1] <= 0.1

    def test_what_is_given_back_is_due_at_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        leases.give_back(taken(leases, job, 0))
        assert leases.due(job.id).units == ("0",)
        assert taken(leases, job, 0).attempt == 1

    def test_a_task_that_nobody_began_is_sent_again_less_and_less_often(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LeaseSettings(send_grace_s=0.05))
        job, _ = ledger.create("c", "u", SOURCE, "r", send_grace_s=0.05)
        started_s = time.monotonic()
        for _ in range(3):
            until(lambda: leases.due(job.id).units == (PLAN,), "the plan is sent again")
        # 0.05 + 0.05 + 0.1
        assert time.monotonic() - started_s >= 0.19

    def test_a_chunk_that_workers_die_of_is_kept_apart_and_its_attempts_count(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=2, chunks=1)
        leases.due(job.id)
        for attempt in range(1, 4):
            assert taken(leases, job, 0).attempt == attempt
            until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")

    def test_a_plan_is_recorded_once_by_its_holder(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job, _ = ledger.create("c", "u", SOURCE, "r", send_grace_s=0.1)
        stale = leases.take(job.id, PLAN)
        assert stale is not None
        until(lambda: leases.due(job.id).units == (PLAN,), "the dead planner's job is sent again")
        current = leases.take(job.id, PLAN)
        assert current is not None
        assert not leases.planned(stale, "stale", submitted=1, duplicates=0, chunks=1)
        assert leases.planned(current, "good", submitted=2, duplicates=0, chunks=1)
        assert not leases.planned(current, "good", submitted=2, duplicates=0, chunks=1)
        job = ledger.get(job.id)
        assert (job.manifest, job.counts.submitted, job.state) == ("good", 2, JobState.RUNNING)

    def test_an_empty_plan_succeeds(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=0, chunks=0)
        assert leases.due(job.id).complete
        assert leases.close(job.id) is JobState.SUCCEEDED

    def test_twenty_workers_on_one_job_record_each_chunk_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LeaseSettings(window_chunks=8))
        job = planned(ledger, leases, submitted=200, chunks=50)
        recorded: list[int] = []

        def work() -> None:
            while not (due := leases.due(job.id)).complete:
                for unit in due.units or ("7", "23"):
                    lease = leases.take(job.id, unit)
                    if lease is not None and leases.record(lease, indexed(3, failed=1)):
                        recorded.append(lease.chunk)

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(recorded) == list(range(50))
        assert leases.close(job.id) is JobState.SUCCEEDED
        assert ledger.get(job.id).counts == Counts(submitted=200, indexed=150, failed=50)

    def test_redis_holds_no_more_for_a_long_job_than_for_a_short_one(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=3000, chunks=300)
        while not (due := leases.due(job.id)).complete:
            for unit in due.units:
                leases.record(taken(leases, job, int(unit)), indexed(10))
            with ledger.connection.commands() as client:
                assert client.zcard(f"lookalike:job:{job.id}:open") <= LONG.window_chunks
                assert client.hlen(f"lookalike:job:{job.id}:units") <= 4 * LONG.window_chunks
        leases.close(job.id)
        with ledger.connection.commands() as client:
            assert sorted(client.keys(f"lookalike:job:{job.id}*")) == [f"lookalike:job:{job.id}"]
            assert client.ttl(f"lookalike:job:{job.id}") > 0


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

    def test_while_cancelling_a_chunk_laid_down_is_tried_again_since_it_may_be_half_written(self, ledger: Ledger) -> None:
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
        assert job.error == JobError("SOURCE_NOT_FOUND", "there is no such folder")

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
        assert job.error == JobError("FINGERPRINT_MISMATCH", "two fingerprints")
        assert job.counts == Counts(submitted=10, indexed=2, skipped=8)
        assert job.skip_reasons == {"not_attempted": 8}

    @pytest.mark.parametrize("earlier", ["died", "laid down"])
    def test_a_chunk_begun_before_is_finished_even_if_the_job_fails_of_it(self, ledger: Ledger, earlier: str) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=6, chunks=3)
        leases.due(job.id)
        first = taken(leases, job, 0)
        if earlier == "laid down":
            leases.release(first)
        until(lambda: "0" in leases.due(job.id).units, "the chunk is sent again")
        assert leases.fail_job(taken(leases, job, 0), "FINGERPRINT_MISMATCH", "two fingerprints")
        assert leases.close(job.id) is None
        until(lambda: leases.due(job.id).units == ("0",), "the chunk is sent again")
        assert leases.record(taken(leases, job, 0), indexed(0, failed=2))
        assert leases.close(job.id) is JobState.FAILED
        job = ledger.get(job.id)
        assert job.counts == Counts(submitted=6, skipped=4, failed=2)
        assert job.error == JobError("FINGERPRINT_MISMATCH", "two fingerprints")

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


class TestOrderOfWrites:
    def test_revisions_grow_and_do_not_fall_behind_the_clock(self, ledger: Ledger) -> None:
        before_ms = int(time.time() * 1000)
        revisions = [ledger.take_revision("c") for _ in range(50)]
        assert revisions == sorted(set(revisions))
        assert revisions[0] >= before_ms - 1000, "so that a Redis that lost its data does not go back"
        assert ledger.create("c", "u", SOURCE, "r")[0].revision > revisions[-1]

    def test_whether_anything_later_may_have_been_written_is_known(self, ledger: Ledger) -> None:
        job, _ = ledger.create("c", "u", SOURCE, "r")
        assert not ledger.later_revision_taken("c", job.revision)
        assert not ledger.older_job_active("c", job.revision)
        later = ledger.take_revision("c")
        assert ledger.later_revision_taken("c", job.revision)
        assert ledger.older_job_active("c", later)
        ledger.request_cancel(job.id)
        assert not ledger.older_job_active("c", later)

    def test_tombstones_are_kept_as_long_as_an_older_job_could_write(self, ledger: Ledger) -> None:
        ledger.bury("c", ["a"], ledger.take_revision("c"))
        assert ledger.buried("c", ["a"]) == {}, "nobody could write it back"
        first, _ = ledger.create("c", "u", SOURCE, "r1")
        deleted = ledger.take_revision("c")
        ledger.bury("c", ["a", "b"], deleted)
        second, _ = ledger.create("c", "u", SOURCE, "r2")
        assert ledger.buried("c", ["a", "b", "x"]) == {"a": deleted, "b": deleted}
        ledger.bury("c", ["a"], deleted - 1)
        assert ledger.buried("c", ["a"]) == {"a": deleted}, "the later delete counts"
        ledger.request_cancel(second.id)
        assert ledger.buried("c", ["a"]) == {"a": deleted}
        ledger.request_cancel(first.id)
        assert ledger.buried("c", ["a", "b"]) == {}

    def test_a_tombstone_outlives_younger_jobs_only_where_an_older_one_is_unfinished(self, ledger: Ledger) -> None:
        older, _ = ledger.create("c", "u", SOURCE, "r1")
        deleted = ledger.take_revision("c")
        ledger.bury("c", ["a"], deleted)
        ledger.create("c", "u", SOURCE, "r2")
        ledger.request_cancel(older.id)
        assert ledger.buried("c", ["a"]) == {}

    def test_the_write_lock_lets_one_in_at_a_time(self, ledger: Ledger) -> None:
        inside: list[int] = []
        most: list[int] = []

        def write() -> None:
            for _ in range(5):
                with ledger.write_lock("c") as still_held:
                    inside.append(1)
                    most.append(len(inside))
                    assert still_held()
                    inside.pop()

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(most), max(most)) == (40, 1)

    def test_the_write_lock_is_kept_while_held_and_waiting_for_it_ends(self, ledger: Ledger) -> None:
        with ledger.write_lock("c", ttl_s=0.1) as still_held:
            with pytest.raises(Unavailable, match="write lock"), ledger.write_lock("c", timeout_s=0.4):
                pass
            assert still_held()
            with ledger.write_lock("another"):
                pass
        with ledger.write_lock("c", timeout_s=0.1):
            pass

    def test_a_dead_writer_holds_others_up_for_the_locks_life_only(self, ledger: Ledger) -> None:
        ledger.connection.run("lock", "write:c", "dead", 100)
        with ledger.write_lock("c", timeout_s=5):
            pass


def test_what_was_acknowledged_survives_a_redis_that_is_killed(redis_server: RedisServer) -> None:
    ledger = connect_ledger(redis_server.url)
    leases = Leases(ledger, LONG)
    job = planned(ledger, leases, submitted=4, chunks=2)
    leases.due(job.id)
    leases.record(taken(leases, job, 0), indexed(2))
    held = taken(leases, job, 1)
    redis_server.kill()
    with pytest.raises(Unavailable):
        ledger.get(job.id)
    redis_server.start()
    assert ledger.get(job.id).counts.indexed == 2
    assert leases.record(held, indexed(2))
    assert leases.close(job.id) is JobState.SUCCEEDED
