"""Says that jobs stand still: a warning once per stall, and gauges. Called by the reconciler, so by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from lookalike.jobs.job import Job

STALLED_JOBS = Gauge(
    "lookalike_indexer_stalled_jobs",
    "Unfinished jobs that stand still (LOOKALIKE_INDEXER_STALL_S), not paused; told by one worker, 0 elsewhere: take the sum.",
)
OLDEST_JOB_SECONDS = Gauge(
    "lookalike_indexer_oldest_job_seconds", "Age of the oldest unfinished job; told by one worker, 0 elsewhere: take the sum."
)


class StallAlarm:
    """Remembers which stalls it has told."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._log = structlog.get_logger()

    def look(self, active: Sequence[Job]) -> None:
        """Take note of all unfinished jobs."""
        stalled = {job.id: job for job in active if job.stalled}
        for job_id in sorted(stalled.keys() - self._told):
            job = stalled[job_id]
            self._log.warning(
                "ingest job stands still",
                job=job_id,
                state=job.state.value,
                chunks_done=job.chunks_done,
                chunks_total=job.chunks_total,
                listed=job.listed,
            )
        self._told = set(stalled)
        STALLED_JOBS.set(len(stalled))
        created = min((job.created_at for job in active), default=None)
        OLDEST_JOB_SECONDS.set(max(0.0, (datetime.now(UTC) - created).total_seconds()) if created else 0.0)

    def stand_by(self) -> None:
        """Another worker looks now."""
        self.look(())
