"""Keeps jobs going whatever dies: sends again what was lost, keeps a window of chunks queued, ends jobs, reports stalls.

A thread in every worker; one of them at a time holds the lock and does the rounds, the others stand by.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence

import structlog

from indexer.worker import Worker
from lookalike.artifacts import Artifacts
from lookalike.errors import LookalikeError
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.locks import try_lock, unlock
from lookalike.records.job import Job

LOCK = "reconciler"
_LOCK_TICKS = 5
"""The rounds that may be missed before another worker takes over."""
_CLEAN_EVERY_S = 600.0
_TIDY_EVERY_S = 5.0
"""The time for which a re-embedding that was cancelled before it ran leaves its generation, to which every write goes too."""


class Reconciler:
    """`start` it once; `stop` gives the lock back, so that another takes over at once."""

    def __init__(self, ledger: Ledger, artifacts: Artifacts, worker: Worker, *, tick_s: float) -> None:
        self._ledger, self._artifacts, self._worker, self._tick_s = ledger, artifacts, worker, tick_s
        self._token = secrets.token_hex(8)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._clean_at_s = self._tidy_at_s = time.monotonic()
        self._alarm = _StallAlarm()
        self._log = structlog.get_logger()
        self._logged = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=10.0)
        try:
            unlock(self._ledger.connection, LOCK, self._token)
        except LookalikeError:
            return  # The lock ends by itself.

    def round(self) -> bool:
        """One round, if the lock can be had; whether it was."""
        if not self._lock():
            self._alarm.stand_by()
            return False
        active = self._ledger.active_jobs()
        self._alarm.look(active)
        for job in active:
            self._advance(job.id)
            self._lock()
        if time.monotonic() >= self._tidy_at_s:
            self._tidy_at_s = time.monotonic() + _TIDY_EVERY_S
            self._worker.tidy()
        if time.monotonic() >= self._clean_at_s:
            self._clean_at_s = time.monotonic() + _CLEAN_EVERY_S
            self._clean()
        return True

    def _lock(self) -> bool:
        return try_lock(self._ledger.connection, LOCK, self._token, ttl_s=max(1.0, self._tick_s * _LOCK_TICKS))

    def _run(self) -> None:
        while not self._stopping.wait(self._tick_s):
            try:
                self.round()
                self._logged = ""
            except LookalikeError as error:
                if error.message != self._logged:  # once for each reason, not with every round
                    self._log.warning("reconciler waits", problem=error.message)
                self._logged = error.message
            except Exception:  # noqa: BLE001 - the edge: without this thread jobs would stand still
                self._log.exception("reconciler failed in one round")

    def _advance(self, job_id: str) -> None:
        """Advance a job. One that cannot go on must not hold up the others."""
        try:
            self._worker.advance(job_id)
        except LookalikeError as error:
            self._log.warning("job waits", job=job_id, problem=error.message)

    def _clean(self) -> None:
        """Delete the files of jobs that the ledger no longer keeps, and what killed changes of collections have left."""
        expired = self._ledger.expired()
        for job_id in expired:
            self._artifacts.delete_tree(f"jobs/{job_id}")
        self._ledger.forget(expired)
        self._worker.tidy(leftovers=True)


class _StallAlarm:
    """Warns once per stall of a job. The number of jobs that stand still is a metric of the gateway (`gateway.jobs.gauges`),
    which is there when no worker is."""

    def __init__(self) -> None:
        self._warned_of: set[str] = set()
        self._log = structlog.get_logger()

    def look(self, active: Sequence[Job]) -> None:
        """Look at `active`, which are all unfinished jobs, and warn of those that stand still."""
        stalled = {job.id: job for job in active if job.stalled}
        for job_id in sorted(stalled.keys() - self._warned_of):
            job = stalled[job_id]
            self._log.warning(
                "ingest job stands still",
                job=job_id,
                state=job.state.name,
                chunks_done=job.chunks_done,
                chunks_total=job.chunks_total,
                listed=job.listed,
            )
        self._warned_of = set(stalled)

    def stand_by(self) -> None:
        """Another worker looks now."""
        self._warned_of = set()
