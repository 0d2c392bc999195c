"""What a worker does with one unit of work: take it, do it, record the result, and see what the job needs next.

Called by the Celery tasks and by the reconciler. Messages may be lost, late or doubled: the ledger alone decides what is done.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from indexer.chunk.comparing import place, written_whole
from indexer.chunk.item_by_item import ItemByItem
from indexer.chunk.items import Chunk, Failed, Indexed, Outcome, Skipped
from indexer.chunk.pipeline import Pipeline
from indexer.chunk.stages import ITEMS
from indexer.finishing.forecast import Forecaster
from indexer.finishing.mirror import Mirror
from indexer.interruption import Interruption
from indexer.planning.plan import delete_other_plans, make_plan
from indexer.planning.sources import Sources
from indexer.reembedding import Reembedding
from indexer.units import Unit, Units
from lookalike.errors import FailedPrecondition, Internal, LeaseLost, LookalikeError, NotFound
from lookalike.items import Item
from lookalike.jobs.creation import create_ingest_job, create_job_of_json
from lookalike.jobs.leases import FINISH, PLAN, ChunkCounts, Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.locks import try_lock, unlock
from lookalike.jobs.manifest import read_chunk
from lookalike.jobs.outcomes import ItemOutcome, Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.suspects import Suspects
from lookalike.jobs.uploads import Uploads
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource
from lookalike.runtime import tracing
from lookalike.sources import Reader
from lookalike.store.protocols import Catalogue, Vectors

ABANDONED = "CHUNK_ABANDONED"
"""The reason of the items of a chunk that workers died of, again and again."""
_ABANDON_TIMEOUT_S = 30.0
"""The time that the look at what an abandoned chunk has written may take."""
MANIFEST_UNREADABLE = "MANIFEST_UNREADABLE"
"""The reason of a job whose manifest was gone or damaged at every attempt: the items of the chunk are not known."""
_FLUSH_TTL_S = 60.0
"""The time that one worker may take to flush before another tries; flushing twice does no harm."""


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
    store: Vectors
    reader: Reader
    uploads: Uploads
    outcomes: Outcomes
    pipeline: Pipeline
    reembedding: Reembedding
    mirror: Mirror
    forecaster: Forecaster


class Worker:
    """Thread-safe. `draining` is set when units under way are to be given back."""

    def __init__(
        self, parts: Parts, *, max_attempts: int, chunk_deadline_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts, self._max_attempts = parts, max_attempts
        self._units = Units(
            parts.ledger,
            parts.leases,
            parts.catalogue,
            max_attempts=max_attempts,
            chunk_deadline_s=chunk_deadline_s,
            clock=clock,
        )
        self.draining = self._units.draining
        self._sources = Sources(parts.reader, parts.uploads, parts.ledger, parts.outcomes, parts.reembedding.generations.items)
        self._item_by_item = ItemByItem(parts.leases, Suspects(parts.ledger.connection, "item"))
        self._log = structlog.get_logger()

    def create(self, request: dict[str, object]) -> Job:
        """Create the job of a JSON request; see `creation.create_job_of_json`."""
        parts = self._parts
        with tracing.span("create job", "server", parent=""):
            return create_ingest_job(
                parts.ledger, self._collection_now, parts.queue, parts.uploads, parts.reader.roots, create_job_of_json(request)
            )

    def plan(self, job_id: str) -> None:
        """Plan a job, unless that is done or another worker has it."""
        self._work(job_id, PLAN, self._plan)

    def ingest_chunk(self, job_id: str, chunk: int) -> None:
        """Work one chunk off, unless that is done or another worker has it."""
        self._work(job_id, str(chunk), self._ingest_chunk)

    def finish(self, job_id: str) -> None:
        """Do what is left when all chunks are recorded, unless that is done or another worker has it."""
        self._work(job_id, FINISH, self._finish)

    def advance(self, job_id: str) -> None:
        """Send what the job needs done now, or end it. Any worker may call this at any time."""
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
        """Drop generations that nothing needs any more; with `leftovers` also what killed changes have left."""
        self._parts.reembedding.generations.tidy()
        if leftovers:
            self._parts.reembedding.generations.tidy_leftovers()

    def _work(self, job_id: str, name: str, work: Callable[[Unit], None]) -> None:
        """Take a unit, do it, and see what the job needs next."""
        with self._units.take(job_id, name) as unit:
            if unit is None:
                return
            work(unit)
        self.advance(job_id)

    def _plan(self, unit: Unit) -> None:
        parts, job, lease = self._parts, unit.job, unit.lease
        self._units.collection(job)
        if lease.attempt > self._max_attempts:
            raise FailedPrecondition(f"{self._max_attempts} workers died while planning", reason="PLAN_ABANDONED")
        items = self._sources.items(job, unit.interruption)
        plan = make_plan(parts.reader.artifacts, job, items, unit.interruption, lambda listed: self._note_listed(lease, listed))
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
        with suppress(LookalikeError):  # For people only; another place checks whether the lease still holds.
            self._parts.leases.listed(lease, listed)

    def _ingest_chunk(self, unit: Unit) -> None:
        parts, job, lease = self._parts, unit.job, unit.lease
        collection = self._units.collection(job)
        chunk = Chunk(job, collection, self._items(job, lease), lease, unit.interruption)
        way = parts.reembedding.chunks if isinstance(job.source, CollectionSource) else parts.pipeline
        outcomes = way.run(chunk) if lease.attempt <= max(1, self._max_attempts // 2) else self._carefully(chunk, way.run)
        _record(parts.leases, parts.outcomes, chunk, outcomes)

    def _items(self, job: Job, lease: Lease) -> list[Item]:
        try:
            return read_chunk(self._parts.reader.artifacts, job.manifest, lease.chunk)
        except (Internal, NotFound) as error:
            if lease.attempt <= self._max_attempts:
                raise Internal(error.message) from error
            raise FailedPrecondition(error.message, reason=MANIFEST_UNREADABLE) from error

    def _carefully(self, chunk: Chunk, run: Callable[[Chunk], Sequence[Outcome]]) -> Sequence[Outcome]:
        """Run a chunk that workers have died of item by item, or give it up where that has not shown the item."""
        outcomes = self._item_by_item.run(chunk, run, may_abandon=chunk.lease.attempt > self._max_attempts)
        return outcomes if outcomes is not None else self._abandon(chunk)

    def _abandon(self, chunk: Chunk) -> list[Outcome]:
        """Give a chunk up. What some attempt has written is indexed, whatever became of the attempt."""
        self._log.error("chunk abandoned", job=chunk.job.id, chunk=chunk.lease.chunk, attempts=self._max_attempts)
        message = f"{self._max_attempts} workers died, broke down or ran out of time over this chunk; see their logs"
        ids = [item.id for item in chunk.items if not item.problem]
        rows = self._parts.store.get_everywhere(chunk.collection, ids, timeout_s=_ABANDON_TIMEOUT_S) if ids else {}
        outcomes: list[Outcome] = []
        for item in chunk.items:
            if item.problem:
                outcomes.append(Failed(item, item.problem_reason, item.problem))
            elif written_whole(chunk, rows.get(item.id, ())):
                outcomes.append(Indexed(item))
            else:
                outcomes.append(Failed(item, ABANDONED, message))
        return outcomes

    def _finish(self, unit: Unit) -> None:
        job, lease = unit.job, unit.lease
        if job.state is not JobState.RUNNING:
            self._parts.leases.drop(lease)
            return
        if lease.attempt > self._max_attempts:
            raise FailedPrecondition(f"{self._max_attempts} workers died while finishing", reason="FINISH_ABANDONED")
        self._last_unit(job).run(job, self._units.collection(job), lease, unit.interruption)

    def _last_unit(self, job: Job) -> LastUnit:
        if job.options.dry_run:
            return self._parts.forecaster
        return self._parts.mirror if job.options.mirror else self._parts.reembedding.finish

    def _collection_now(self, name: str) -> Collection:
        return self._parts.catalogue.get(name, fresh=True)

    def _close(self, job_id: str) -> None:
        """Flush what was written, then end the job. A worker that dies in between leaves the job to the next."""
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
        if state is not None and isinstance(job.source, CollectionSource):
            self.tidy()
        if state is JobState.SUCCEEDED:
            counts = job.counts
            self._log.info("done", job=job_id, indexed=counts.indexed, skipped=counts.skipped, failed=counts.failed)
        elif state is not None:
            self._log.info("ended", job=job_id, state=state.name)

    def _flush(self, job: Job) -> None:
        try:
            self._parts.store.flush(self._units.collection(job), wait=False)
        except NotFound:
            self._log.info("nothing to flush: the collection is gone", job=job.id)


def _record(leases: Leases, files: Outcomes, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
    """Write the chunk's outcome file, then its counts in the ledger, once.

    Raises `LeaseLost` where the chunk has been recorded by another worker, or will be; nothing is counted then.
    """
    lease = chunk.lease
    written = sorted(map(_item_outcome, outcomes), key=lambda one: one.position)
    files.write(lease.job_id, lease.chunk, lease.owner, written)
    ended = Counter(one.outcome for one in written)
    skipped = Counter(one.reason for one in outcomes if isinstance(one, Skipped))
    if not leases.record(lease, ChunkCounts(ended["indexed"], ended["failed"], skipped, chunk.stages.seconds)):
        raise LeaseLost("the chunk has been recorded by another worker, or will be")
    for outcome in ("indexed", "skipped", "failed"):
        ITEMS.labels(outcome).inc(ended[outcome])
    chunk.stages.observe()


def _item_outcome(one: Outcome) -> ItemOutcome:
    item = one.item
    match one:
        case Indexed():
            return ItemOutcome(item.position, item.id, place(item), "indexed")
        case Skipped():
            return ItemOutcome(item.position, item.id, place(item), "skipped", one.reason)
        case Failed():
            return ItemOutcome(item.position, item.id, place(item), "failed", one.reason, one.message)
