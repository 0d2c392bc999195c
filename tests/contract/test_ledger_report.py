"""Counters kept with every outcome: seconds by stage, items per stretch of time, the last progress; on a real Redis."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from lookalike.errors import NotFound
from lookalike.jobs.leases import PLAN, ChunkCounts, Leases
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.report import read_report
from lookalike.jobs.stored_job import STRETCHES
from tests.contract.ledger_jobs import LONG, SOURCE, indexed, ledger, planned, taken
from tests.servers.processes import until

__all__ = ["ledger"]


def created_ago(ledger: Ledger, job_id: str, seconds: float) -> None:
    """Put a job's creation into the past."""
    with ledger.connection.commands() as client:
        client.hset(f"lookalike:job:{job_id}", "created_ms", int((time.time() - seconds) * 1000))


class TestReport:
    def test_seconds_and_items_are_counted_with_the_outcome_and_once(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=20, chunks=2, duplicates=1)
        leases.due(job.id)
        first, second = taken(leases, job, 0), taken(leases, job, 1)
        counts = ChunkCounts(8, 1, {"unchanged": 1}, {"read": 1.5, "embed": 0.25})
        assert leases.record(first, counts)
        assert not leases.record(first, counts)
        assert leases.record(second, ChunkCounts(9, 0, {}, {"read": 0.5}))
        running = read_report(ledger, job.id)
        assert running.stage_durations == {"read": timedelta(seconds=2), "embed": timedelta(seconds=0.25)}
        assert sum(rate.items for rate in running.rates) == 19
        assert running.job == ledger.get(job.id)
        leases.close(job.id)
        ended = read_report(ledger, job.id)
        assert timedelta() <= ended.planning <= ended.elapsed
        assert ended.elapsed == read_report(ledger, job.id).elapsed, "it has ended"
        with ledger.connection.commands() as client:
            assert client.ttl(f"lookalike:job:{job.id}:rates") > 0

    def test_the_stretches_of_a_long_job_grow_longer_not_more(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=100, chunks=10)
        for chunk, ago_s in enumerate((0.5, 30.5, 100.5, 130.5, 500.5, 5000.5)):
            created_ago(ledger, job.id, ago_s)
            leases.due(job.id)
            leases.record(taken(leases, job, chunk), indexed(chunk + 1))
            rates = read_report(ledger, job.id).rates
            assert len(rates) <= STRETCHES
            assert sum(rate.items for rate in rates) == sum(range(chunk + 2)), "no item is lost when stretches become one"
            assert rates[-1].start_offset <= timedelta(seconds=ago_s) < rates[-1].start_offset + 2 * rates[-1].duration
            assert [rate.start_offset for rate in rates] == [n * rates[0].duration for n in range(len(rates))]
        # 64 s is the first doubling of 1 s with which 120 stretches reach beyond 5,000 s.
        assert rates[0].duration == timedelta(seconds=64)
        recorded = [(rate.start_offset.total_seconds(), rate.items) for rate in rates if rate.items]
        assert recorded == [(0, 3), (64, 3), (128, 4), (448, 5), (4992, 6)]
        with ledger.connection.commands() as client:
            assert client.object("encoding", f"lookalike:job:{job.id}:rates") in ("listpack", "ziplist")

    def test_a_job_not_planned_has_planned_all_its_life(self, ledger: Ledger) -> None:
        job, _ = ledger.create("c", "u", SOURCE, "r")
        report = read_report(ledger, job.id)
        assert report.planning == report.elapsed
        assert (report.items_per_s, report.rates, report.stage_durations) == (0.0, (), {})
        with pytest.raises(NotFound):
            read_report(ledger, "nope")


class TestProgress:
    def test_what_a_planner_has_found_so_far_is_reported_by_its_holder_only(self, ledger: Ledger) -> None:
        leases = Leases(ledger, LONG)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        lease = leases.take(job.id, PLAN)
        assert lease is not None
        assert leases.listed(lease, 4096)
        assert ledger.get(job.id).listed == 4096
        assert leases.planned(lease, "m", submitted=5000, duplicates=0, chunks=20)
        assert ledger.get(job.id).listed == 5000
        assert not leases.listed(lease, 4096)
        assert ledger.get(job.id).listed == 5000

    def test_a_job_without_progress_is_stalled_until_something_comes_of_it(self, redis_db: str) -> None:
        ledger = connect_ledger(redis_db, stall_s=0.0)
        leases = Leases(ledger, LONG)
        job = planned(ledger, leases, submitted=4, chunks=2)
        leases.due(job.id)
        # Whether a job stands still is asked in whole seconds of Redis' clock.
        until(lambda: ledger.get(job.id).stalled, "it stands still")
        assert [one.stalled for one in ledger.active_jobs()] == [True]
        patient = connect_ledger(redis_db, stall_s=60)
        assert not patient.get(job.id).stalled
        with ledger.connection.commands() as client:
            client.hset(f"lookalike:job:{job.id}", "progress_ms", 1)
        assert patient.get(job.id).stalled
        leases.record(taken(leases, job, 0), indexed(2))
        assert not patient.get(job.id).stalled

    def test_a_paused_or_ended_job_is_never_stalled_and_going_on_begins_anew(self, redis_db: str) -> None:
        ledger = connect_ledger(redis_db, stall_s=60)
        job, _ = ledger.create("c", "u", SOURCE, "r")
        with ledger.connection.commands() as client:
            client.hset(f"lookalike:job:{job.id}", "progress_ms", 1)
        assert ledger.get(job.id).stalled
        assert not ledger.pause(job.id).stalled
        assert not ledger.resume(job.id).stalled
        with ledger.connection.commands() as client:
            client.hset(f"lookalike:job:{job.id}", "progress_ms", 1)
        assert not ledger.request_cancel(job.id).stalled
