"""Metrics of the ledger: how much waits to be ingested, and which jobs stand still.

The gateway reports them, not the workers: they must be seen when no worker is there, and workers are scaled by them. Every
gateway reads the same ledger and reports the same numbers: take the largest, not the sum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from gateway.backends.threads import Threads
from lookalike.errors import LookalikeError
from lookalike.jobs.ledger import Ledger
from lookalike.records.job import Job
from lookalike.runtime.call import Deadline

ACTIVE_JOBS = Gauge("lookalike_ingest_active_jobs", "Ingest jobs that have not ended.")
PENDING_CHUNKS = Gauge(
    "lookalike_ingest_pending_chunks",
    "Chunks of unfinished jobs, except paused ones, that are not recorded yet; a job that is not planned counts as one.",
)
STALLED_JOBS = Gauge(
    "lookalike_ingest_stalled_jobs", "Unfinished jobs that stand still (LOOKALIKE_INDEXER_STALL_S) and are not paused."
)
OLDEST_JOB_SECONDS = Gauge("lookalike_ingest_oldest_job_seconds", "Age of the oldest unfinished job; 0 where there is none.")

_TIMEOUT_S = 5.0


async def watch(ledger: Ledger, threads: Threads, interval_s: float) -> None:
    """Set the gauges every `interval_s` seconds until cancelled. While Redis does not answer, the last values stand
    (`lookalike_dependency_up` shows that)."""
    while True:
        try:
            set_gauges(await threads.run(ledger.active_jobs, Deadline.after(_TIMEOUT_S)), datetime.now(UTC))
        except LookalikeError as error:
            structlog.get_logger().debug("jobs not counted", problem=error.message)  # The gateway's readiness says so, once.
        except Exception as error:  # noqa: BLE001 - the edge: a defect must not end the watch
            structlog.get_logger().error("jobs not counted", exc_info=error)
        await asyncio.sleep(interval_s)


def set_gauges(active: Sequence[Job], now: datetime) -> None:
    """Set the gauges from the jobs that have not ended."""
    created = min((job.create_time for job in active), default=now)
    ACTIVE_JOBS.set(len(active))
    PENDING_CHUNKS.set(sum(pending_chunks(job) for job in active))
    STALLED_JOBS.set(sum(job.stalled for job in active))
    OLDEST_JOB_SECONDS.set(max(0.0, (now - created).total_seconds()))


def pending_chunks(job: Job) -> int:
    """The units that workers could do for `job`: its chunks that are left, or one (its plan, or its last unit)."""
    return 0 if job.paused else max(1, job.chunks_total - job.chunks_done)
