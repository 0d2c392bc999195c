"""Says that jobs stand still: a warning once per stall. Called by the reconciler, so by one worker at a time.

How many stand still is a metric of the gateway's (`gateway.jobs.gauges`): it is there when no worker is.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from lookalike.records.job import Job


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

    def stand_by(self) -> None:
        """Another worker looks now."""
        self._told = set()
