"""What the ledger holds shows in metrics, whether or not a worker is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY

from gateway.jobs.gauges import pending_chunks, set_gauges
from lookalike.records.job import Counts, Job
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JOB = Job(
    id="0" * 16, collection="shoes", collection_uid="u", source=FolderSource("/data"), state=JobState.RUNNING,
    counts=Counts(), skip_reasons={}, chunks_total=10, chunks_done=3, revision=1, request_id="r", error="",
    create_time=NOW - timedelta(hours=1), end_time=None,
)  # fmt: skip


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"lookalike_ingest_{name}")


def test_jobs_under_way_are_counted_by_what_is_left_of_them() -> None:
    set_gauges([JOB, replace(JOB, id="1" * 16, stalled=True, create_time=NOW - timedelta(hours=2))], NOW)
    assert (gauge("active_jobs"), gauge("pending_chunks"), gauge("stalled_jobs")) == (2, 14, 1)
    assert gauge("oldest_job_seconds") == 7200
    set_gauges([], NOW)
    assert [gauge(name) for name in ("active_jobs", "pending_chunks", "stalled_jobs", "oldest_job_seconds")] == [0] * 4


def test_a_plan_or_a_last_unit_is_one_and_a_paused_job_nothing() -> None:
    assert pending_chunks(replace(JOB, chunks_total=0, chunks_done=0)) == 1
    assert pending_chunks(replace(JOB, chunks_done=10)) == 1
    assert pending_chunks(replace(JOB, paused=True)) == 0
