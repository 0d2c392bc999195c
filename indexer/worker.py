"""What a worker does with one unit of work: lease it, do it, record what came of it, and see what the job needs next.

Called by the Celery tasks and by the reconciler. Messages may be lost, late or doubled: the ledger alone decides what is done.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from indexer.chunk.comparing import written_whole
from indexer.chunk.item_by_item import ItemByItem
from indexer.chunk.items import Failed, Indexed, Outcome, Work
from indexer.chunk.pipeline import Pipeline
from indexer.chunk.recording import record
from indexer.chunk.stages import ITEMS, UNITS_LAID_DOWN
from indexer.finishing.forecast import Forecaster
from indexer.finishing.mirror import Mirror
from indexer.interruption import TRANSIENT, Draining, Interruption, Overdue
from indexer.planning.failed_items import failed_items
from indexer.planning.plan import delete_other_plans, make_plan
from indexer.planning.sources import Sources
from indexer.reembedding import Reembedding
from indexer.unit_spans import unit_span
from lookalike.errors import FailedPrecondition, Internal, InvalidArgument, LeaseLost, LookalikeError, NotFound, Unavailable
from lookalike.items import Item
from lookalike.jobs.creation import create_ingest_job, create_job_of_json
from lookalike.jobs.leases import FINISH, PLAN, Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_chunk
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.suspects import Suspects
from lookalike.jobs.uploads import Uploads
from lookalike.jobs.write_order import try_lock, unlock
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.records.job_state import JobState
from lookalike.runtime import tracing
from lookalike.sources import Reader
from lookalike.store.milvus.catalogue import Catalogue
from lookalike.store.milvus.vectors import VectorStore

ABANDONED = "CHUNK_ABANDONED"
"""Reason of the items of a chunk that workers died of, again and again."""
_ABANDON_TIMEOUT_S = 30.0
"""For the look at what of it has been written."""
MANIFEST_UNREADABLE = "MANIFEST_UNREADABLE"
"""Reason of a job whose manifest was gone or damaged at every attempt: nobody knows which items were in the chunk."""
_JOB_ERRORS = (NotFound, FailedPrecondition, InvalidArgument)
"""What no retry will mend: the source, the model or the collection is not what the job needs."""
_LATER_S = 1.0
"""Until a plan that found this worker planning is sent again: a glance at the ledger, so often enough for people."""
_LONG_AT_ONCE, _LONG_PATIENCE_S = 2, 60.0
"""Plans and last units that one worker does at most, and how long the first has to itself."""
_FLUSH_TTL_S = 60.0
"""How long one worker may take to flush before another tries; flushing twice does no harm."""


class LastUnit(Protocol):
    """What is left of a job when all its chunks are recorded."""

    def run(self, job: Job, collection: Collection, lease: Lease, interruption: Interruption) -> None:
        """Do it and record that it is done; safe to be done again."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker works with; made in `__main__`."""

    ledger: Ledger
    leases: Leases
    queue: TaskQueue
    catalogue: Catalogue
    store: VectorStore
    reader: Reader
    uploads: Uploads
    outcomes: Outcomes
    pipeline: Pipeline
    reembedding: Reembedding
    mirror: Mirror
    forecaster: Forecaster


class _LongTurns:
    """Plans and last units one at a time, so that long lists do not take all threads from the chunks; but one that has taken
    long, or hangs in its source, does not keep the other jobs from theirs. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._began_s: list[float] = []

    def take(self) -> bool:
        with self._lock:
            now_s = self._clock()
            free = not self._began_s or (len(self._began_s) < _LONG_AT_ONCE and now_s - self._began_s[-1] > _LONG_PATIENCE_S)
            if free:
                self._began_s.append(now_s)
            return free

    def give_back(self) -> None:
        with self._lock:
            self._began_s.pop(0)


class Worker:
    """Thread-safe. `draining` is set when units under way are to be given back."""

    def __init__(
        self, parts: Parts, *, max_attempts: int, chunk_deadline_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = parts
        self._max_attempts, self._chunk_deadline_s = max_attempts, chunk_deadline_s
        self._long_turns = _LongTurns(clock)
        self.draining = threading.Event()
        self._item_by_item = ItemByItem(parts.leases, Suspects(parts.ledger.connection, "item"))
        self._log = structlog.get_logger()

    def create(self, request: dict[str, object]) -> Job:
        """Make a job of a JSON request; see `creation.create_job_of_json`."""
        parts = self._parts
        with tracing.span("create job", "server", parent=""):
            return create_ingest_job(
                parts.ledger, self._name_and_uid, parts.queue, parts.uploads, parts.reader.roots, create_job_of_json(request)
            )

    def plan(self, job_id: str) -> None:
        """Plan a job, unless that is done or in somebody else's hands."""
        self._do_long(job_id, PLAN, self._plan)

    def ingest_chunk(self, job_id: str, chunk: int) -> None:
        """Work one chunk off, unless that is done or in somebody else's hands."""
        self._do(job_id, str(chunk), self._ingest_chunk)

    def finish(self, job_id: str) -> None:
        """Do what is left when all chunks are recorded, unless that is done or in somebody else's hands."""
        self._do_long(job_id, FINISH, self._finish)

    def advance(self, job_id: str) -> None:
        """Send what the job needs done now, or end it. Anybody may call this at any time."""
        due = self._parts.leases.due(job_id)
        for unit in due.units:
            if unit == PLAN:
                self._parts.queue.send_plan(job_id)
            elif unit == FINISH:
                self._parts.queue.send_finish(job_id)
            else:
                self._parts.queue.send_chunk(job_id, int(unit))
        if due.complete:
            self._close(job_id)

    def tidy(self, *, leftovers: bool = False) -> None:
        """Drop generations that nobody needs any more; with `leftovers` also what changes that were killed have left."""
        self._parts.reembedding.generations.tidy()
        if leftovers:
            self._parts.reembedding.generations.tidy_leftovers()

    def _do_long(self, job_id: str, unit: str, work: Callable[[Lease, Interruption], None]) -> None:
        if not self._long_turns.take():
            # Given back, for another worker or for later: it has not been begun, so this is no attempt.
            self._parts.leases.defer(job_id, unit, _LATER_S)
            return
        try:
            self._do(job_id, unit, work)
        finally:
            self._long_turns.give_back()

    def _do(self, job_id: str, unit: str, work: Callable[[Lease, Interruption], None]) -> None:
        lease = None if self.draining.is_set() else self._parts.leases.take(job_id, unit)
        if lease is None:
            return
        with self._parts.leases.kept(lease):
            self._lay_down_on_error(lease, work)
        self.advance(job_id)

    def _lay_down_on_error(self, lease: Lease, work: Callable[[Lease, Interruption], None]) -> None:
        log = self._log.bind(job=lease.job_id, unit=lease.unit)
        until_s = math.inf if lease.unit in (PLAN, FINISH) else time.monotonic() + self._chunk_deadline_s
        try:
            self._on_what_is_there(lease, work, until_s)
        except LeaseLost as error:
            UNITS_LAID_DOWN.labels(error.reason).inc()
            log.info("lease lost")
        except Draining as error:
            UNITS_LAID_DOWN.labels(error.reason).inc()
            self._parts.leases.give_back(lease)
            log.info("given back")
        except Overdue as error:
            UNITS_LAID_DOWN.labels(error.reason).inc()
            after_s = self._parts.leases.release(lease, counted=True)
            log.warning("took too long", attempt=lease.attempt, after_s=after_s, limit_s=self._chunk_deadline_s)
        except TRANSIENT as error:
            UNITS_LAID_DOWN.labels(error.reason).inc()
            log.warning("will be tried again", after_s=self._parts.leases.release(lease), problem=error.message)
        except NotFound as error:
            if error.metadata.get("kind") != "collection":
                self._fail_job(lease, error)
                return
            log.info("cancelled: the collection is gone")
            self._parts.ledger.request_cancel(lease.job_id)
            self._parts.leases.drop(lease)
        except _JOB_ERRORS as error:
            self._fail_job(lease, error)

    def _on_what_is_there(self, lease: Lease, work: Callable[[Lease, Interruption], None], until_s: float) -> None:
        """Do it. Where only a generation of the collection was dropped meanwhile it is to be done again, by what is there."""
        try:
            work(lease, Interruption(self.draining, lease, until_s))
        except NotFound as error:
            if error.metadata.get("kind") != "collection":
                raise
            collection = self._collection(self._parts.ledger.get(lease.job_id))
            raise Unavailable(f"collection {collection.name!r}", "a generation of it has been dropped meanwhile") from error

    def _fail_job(self, lease: Lease, error: LookalikeError) -> None:
        last = lease.attempt > self._max_attempts
        if self._parts.leases.fail_job(lease, error.reason, error.message, last=last):
            self._log.warning("ingest job failed", job=lease.job_id, reason=error.reason, problem=error.message)

    def _plan(self, lease: Lease, interruption: Interruption) -> None:
        parts = self._parts
        job = parts.ledger.get(lease.job_id)
        self._collection(job)
        if lease.attempt > self._max_attempts:
            raise FailedPrecondition(f"{self._max_attempts} workers died while planning", reason="PLAN_ABANDONED")
        if job.source.kind == "failures":
            items = failed_items(parts.ledger, parts.outcomes, parts.reader.artifacts, job.source.uri)
        elif job.source.kind == "collection":
            items = parts.reembedding.generations.items(job, lease)
        else:
            items = Sources(parts.reader, parts.uploads).items(job.source, interruption)
        with unit_span(job, lease):
            plan = make_plan(parts.reader.artifacts, job, items, interruption, lambda listed: self._note_listed(lease, listed))
        if not parts.leases.planned(
            lease,
            plan.manifest,
            submitted=plan.submitted,
            duplicates=plan.duplicates,
            left_out=plan.left_out,
            chunks=0 if job.options.dry_run else plan.chunks,
            unidentified=plan.unidentified,
        ):
            parts.reader.artifacts.delete_tree(plan.manifest)
            raise LeaseLost("the plan is no longer wanted")
        ITEMS.labels("skipped").inc(plan.duplicates + sum(plan.left_out.values()))
        delete_other_plans(parts.reader.artifacts, job.id, plan.manifest)
        self._log.info("planned", job=job.id, items=plan.submitted, duplicates=plan.duplicates, chunks=plan.chunks)

    def _note_listed(self, lease: Lease, listed: int) -> None:
        with suppress(LookalikeError):  # For people only; whether the lease still holds is looked at elsewhere.
            self._parts.leases.listed(lease, listed)

    def _ingest_chunk(self, lease: Lease, interruption: Interruption) -> None:
        parts = self._parts
        job = parts.ledger.get(lease.job_id)
        with unit_span(job, lease):
            collection = self._collection(job)
            items = self._items(job, lease)
            work = Work(job, collection, items, lease, interruption)
            way = parts.reembedding.chunks if job.source.kind == "collection" else parts.pipeline
            outcomes = way.run(work) if lease.attempt <= max(1, self._max_attempts // 2) else self._carefully(work, way.run)
            record(parts.leases, parts.outcomes, lease, outcomes, work.stages)

    def _carefully(self, work: Work, run: Callable[[Work], Sequence[Outcome]]) -> Sequence[Outcome]:
        """Workers have died of this chunk: item by item, or given up where that has not shown what it was."""
        outcomes = self._item_by_item.run(work, run, may_abandon=work.lease.attempt > self._max_attempts)
        return outcomes if outcomes is not None else self._abandon(work)

    def _finish(self, lease: Lease, interruption: Interruption) -> None:
        job = self._parts.ledger.get(lease.job_id)
        if job.state is not JobState.RUNNING:
            self._parts.leases.drop(lease)
            return
        if lease.attempt > self._max_attempts:
            raise FailedPrecondition(f"{self._max_attempts} workers died while finishing", reason="FINISH_ABANDONED")
        with unit_span(job, lease):
            self._last_unit(job).run(job, self._collection(job), lease, interruption)

    def _last_unit(self, job: Job) -> LastUnit:
        if job.options.dry_run:
            return self._parts.forecaster
        return self._parts.mirror if job.options.mirror else self._parts.reembedding.finish

    def _items(self, job: Job, lease: Lease) -> list[Item]:
        try:
            return read_chunk(self._parts.reader.artifacts, job.manifest, lease.chunk)
        except (Internal, NotFound) as error:
            if lease.attempt <= self._max_attempts:
                raise Internal(error.message) from error
            raise FailedPrecondition(error.message, reason=MANIFEST_UNREADABLE) from error

    def _abandon(self, work: Work) -> list[Outcome]:
        """What some attempt has written is indexed, whatever became of the attempt."""
        self._log.error("chunk abandoned", job=work.job.id, chunk=work.lease.chunk, attempts=self._max_attempts)
        message = f"{self._max_attempts} workers died, broke down or ran out of time over this chunk; see their logs"
        ids = [item.id for item in work.items if not item.problem]
        rows = self._parts.store.get_everywhere(work.collection, ids, timeout_s=_ABANDON_TIMEOUT_S) if ids else {}
        outcomes: list[Outcome] = []
        for item in work.items:
            if item.problem:
                outcomes.append(Failed(item, item.problem_reason, item.problem))
            elif written_whole(work, rows.get(item.id, ())):
                outcomes.append(Indexed(item))
            else:
                outcomes.append(Failed(item, ABANDONED, message))
        return outcomes

    def _collection(self, job: Job) -> Collection:
        """The job's collection, as it is now. `NotFound` ("collection") where it was removed, also if another has its name."""
        collection = self._parts.catalogue.get(job.collection, fresh=True)
        if collection.uid != job.collection_uid:
            raise NotFound("collection", job.collection, hint="another has taken its name")
        return collection

    def _name_and_uid(self, name: str) -> tuple[str, str]:
        collection = self._parts.catalogue.get(name, fresh=True)
        return collection.name, collection.uid

    def _close(self, job_id: str) -> None:
        """Make what was written last, then end the job. Whoever dies in between leaves it to the next."""
        parts = self._parts
        lock, token = f"close:{job_id}", secrets.token_hex(8)
        if not try_lock(parts.ledger.connection, lock, token, ttl_s=_FLUSH_TTL_S):
            return
        try:
            job = parts.ledger.get(job_id)
            if job.counts.indexed and not job.state.ended:
                self._flush(job)
            state = parts.leases.close(job_id)
        finally:
            unlock(parts.ledger.connection, lock, token)
        if state is not None and job.source.kind == "collection":
            self.tidy()
        if state is JobState.SUCCEEDED:
            counts = job.counts
            self._log.info("done", job=job_id, indexed=counts.indexed, skipped=counts.skipped, failed=counts.failed)
        elif state is not None:
            self._log.info("ended", job=job_id, state=state.value)

    def _flush(self, job: Job) -> None:
        try:
            self._parts.store.flush(self._collection(job), wait=False)
        except NotFound:
            self._log.info("nothing to flush: the collection is gone", job=job.id)
