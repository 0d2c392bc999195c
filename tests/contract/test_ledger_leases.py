"""What each worker works on: leases, outcomes that count once, windows; on a real Redis."""

from __future__ import annotations

import threading
import time

import pytest

from lookalike.errors import Unavailable
from lookalike.jobs.leases import PLAN, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from tests.contract.ledger_jobs import LONG, QUICK, SOURCE, adds_up, indexed, ledger, planned, taken
from tests.servers.processes import until
from tests.servers.redis import RedisServer

__all__ = ["ledger"]


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
        assert job.end_time is not None

    def test_what_is_worked_on_is_reported_by_the_heartbeat_and_counted_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=20, chunks=2)
        leases.due(job.id)
        first, second = taken(leases, job, 0), taken(leases, job, 1)
        first.done.items, second.done.items = 4, 3
        assert leases.renew(first)
        assert leases.renew(first)
        assert leases.renew(second)
        assert ledger.get(job.id).worked == 7
        second.done.items = 300
        assert leases.renew(second)
        assert ledger.get(job.id).worked == 20, "no more than there are"
        second.done.items = 3
        assert leases.renew(second)
        assert leases.record(first, indexed(10))
        now = ledger.get(job.id)
        assert (now.counts.indexed, now.worked) == (10, 3), "what is counted is no longer under way"
        leases.give_back(second)
        assert ledger.get(job.id).worked == 0, "to be done again"
        again = taken(leases, job, 1)
        again.done.items = 10
        assert not leases.renew(second)
        assert leases.renew(again)
        assert ledger.get(job.id).worked == 10
        assert leases.record(again, indexed(10))
        assert leases.close(job.id) is JobState.SUCCEEDED
        assert ledger.get(job.id).worked == 0

    def test_what_a_dead_worker_had_done_is_not_counted_beside_that_of_the_next(self, ledger: Ledger) -> None:
        leases = Leases(ledger, QUICK)
        job = planned(ledger, leases, submitted=10, chunks=1)
        leases.due(job.id)
        dead = taken(leases, job, 0)
        dead.done.items = 9
        assert leases.renew(dead)
        until(lambda: leases.due(job.id).units == ("0",), "its chunk is sent again")
        assert ledger.get(job.id).worked == 0
        current = taken(leases, job, 0)
        current.done.items = 2
        assert leases.renew(current)
        assert ledger.get(job.id).worked == 2

    def test_a_worker_that_lost_the_lease_can_change_nothing(self, ledger: Ledger) -> None:
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

    def test_redis_holds_one_packed_entry_per_chunk_and_lets_go_of_it_in_time(self, ledger: Ledger) -> None:
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
            name = f"lookalike:job:{job.id}"
            recorded = [f"{name}:recorded:{n}" for n in range(3)]
            assert sorted(client.keys(f"{name}*")) == [name, f"{name}:rates", *recorded]
            assert all(client.ttl(key) > 0 for key in (name, f"{name}:rates", *recorded))
            assert [client.hlen(key) for key in recorded] == [100, 100, 100]
            assert {client.object("encoding", key) for key in recorded} <= {"listpack", "ziplist"}, "else four times as large"


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
