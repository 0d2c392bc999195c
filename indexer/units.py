"""Takes units of work: a lease with heartbeats round the work, and for each way that the work can end what the ledger does.

Called by `worker`. A unit is the plan of a job, one of its chunks, or what is left when all chunks are recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import structlog
from prometheus_client import Counter

from indexer.interruption import TRANSIENT, Draining, Interruption, Overdue
from lookalike.errors import FailedPrecondition, InvalidArgument, LeaseLost, LookalikeError, NotFound, Unavailable
from lookalike.jobs.leases import FINISH, PLAN, Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.runtime import tracing
from lookalike.runtime.call import NEVER, Call, Deadline, named
from lookalike.store.protocols import Catalogue

UNITS_RELEASED = Counter(
    "lookalike_indexer_units_released_total",
    "Chunks and plans that a worker gave back, or lost, before they were done, by reason; they are done again.",
    ("reason",),
)
CHUNKS_IN_TRACE = 64
"""Chunks of one job that share its trace: some 16,000 pictures, a thousand spans."""
_LONG = (PLAN, FINISH)
_LATER_S = 1.0
"""The time until a plan that found this worker planning is sent again: soon for a person, and a glance at the ledger each
time."""
_LONG_AT_ONCE, _LONG_PATIENCE_S = 2, 60.0
"""The plans and last units that one worker does at a time, and the time that the first has to itself."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that this worker holds: of which job (as the ledger had it when the lease was taken), and when to stop.

    `call` is what the unit is to the services that it asks: its id, `JOB.UNIT.ATTEMPT`, is in every line of their logs and its
    own.
    """

    job: Job
    lease: Lease
    interruption: Interruption
    call: Call


class Units:
    """Thread-safe. `draining` is set when units under way are to be given back."""

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        catalogue: Catalogue,
        *,
        max_attempts: int,
        chunk_deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._ledger, self._leases, self._catalogue = ledger, leases, catalogue
        self._max_attempts, self._chunk_deadline_s = max_attempts, chunk_deadline_s
        self._long_turns = _LongTurns(clock)
        self.draining = threading.Event()
        self._log = structlog.get_logger()

    @contextmanager
    def take(self, job_id: str, unit: str) -> Iterator[Unit | None]:
        """The unit, leased for the block; None where it is done, unwanted, held by another worker, or put off.

        An error of `_MOVES` ends the block and goes no further: the ledger has recorded what happens to the unit. Any other
        error passes, and the lease runs out by itself.
        """
        with self._turn(job_id, unit) as may_begin:
            lease = self._leases.take(job_id, unit) if may_begin and not self.draining.is_set() else None
            if lease is None:
                yield None
                return
            with self._leases.kept(lease), named(f"{lease.job_id}.{lease.unit}.{lease.attempt}") as request_id:
                try:
                    job = self._ledger.get(job_id)
                    with _span(job, lease):
                        call = Call(self._deadline(unit), request_id, tracing.current_traceparent())
                        yield Unit(job, lease, Interruption(self.draining, lease, call.deadline), call)
                except LookalikeError as error:
                    if not self._move(lease, self._looked_into(lease, error)):
                        raise

    def collection(self, job: Job) -> Collection:
        """The job's collection, as it is now. Raises `NotFound` ("collection") where it was removed, also if another has its
        name."""
        collection = self._catalogue.get(job.collection, fresh=True)
        if collection.uid != job.collection_uid:
            raise NotFound("collection", job.collection, hint="another has taken its name")
        return collection

    @contextmanager
    def _turn(self, job_id: str, unit: str) -> Iterator[bool]:
        if unit not in _LONG:
            yield True
        elif self._long_turns.take():
            try:
                yield True
            finally:
                self._long_turns.give_back()
        else:
            # For another worker or for later. The unit has not been begun, so this is no attempt.
            self._leases.defer(job_id, unit, _LATER_S)
            yield False

    def _deadline(self, unit: str) -> Deadline:
        return NEVER if unit in _LONG else Deadline.after(self._chunk_deadline_s)

    def _looked_into(self, lease: Lease, error: LookalikeError) -> LookalikeError:
        """`error`, unless it says that the collection is gone; then what a look at the collection says. Perhaps only a
        generation was dropped meanwhile, and the unit is to be done again with what is there."""
        if not _is_collection_gone(error):
            return error
        try:
            collection = self.collection(self._ledger.get(lease.job_id))
        except LookalikeError as found:
            return found
        return Unavailable(f"collection {collection.name!r}", "a generation of it has been dropped meanwhile")

    def _move(self, lease: Lease, error: LookalikeError) -> bool:
        """Make the move of the table; False for an error that has none."""
        move = next((move for kind, move in self._MOVES.items() if isinstance(error, kind)), None)
        if move is not None:
            move(self, lease, error)
        return move is not None

    def _leave(self, lease: Lease, error: LookalikeError) -> None:
        self._released(lease, error).info("lease lost")

    def _give_back(self, lease: Lease, error: LookalikeError) -> None:
        log = self._released(lease, error)
        self._leases.give_back(lease)
        log.info("given back")

    def _release(self, lease: Lease, error: LookalikeError) -> None:
        log = self._released(lease, error)
        log.warning("will be tried again", after_s=self._leases.release(lease), problem=error.message)

    def _release_as_attempt(self, lease: Lease, error: LookalikeError) -> None:
        log = self._released(lease, error)
        after_s = self._leases.release(lease, counted=True)
        log.warning("took too long", attempt=lease.attempt, after_s=after_s, limit_s=self._chunk_deadline_s)

    def _end_job(self, lease: Lease, error: LookalikeError) -> None:
        if _is_collection_gone(error):
            self._log.info("cancelled: the collection is gone", job=lease.job_id, unit=lease.unit)
            self._ledger.request_cancel(lease.job_id)
            self._leases.drop(lease)
        elif self._leases.fail_job(lease, error.reason, error.message, last=lease.attempt > self._max_attempts):
            self._log.warning("ingest job failed", job=lease.job_id, reason=error.reason, problem=error.message)

    def _released(self, lease: Lease, error: LookalikeError) -> structlog.stdlib.BoundLogger:
        UNITS_RELEASED.labels(error.reason).inc()
        log: structlog.stdlib.BoundLogger = self._log.bind(job=lease.job_id, unit=lease.unit)
        return log

    _MOVES: ClassVar[Mapping[type[LookalikeError], Callable[[Units, Lease, LookalikeError], None]]] = {
        LeaseLost: _leave,
        Draining: _give_back,
        Overdue: _release_as_attempt,
        **dict.fromkeys(TRANSIENT, _release),
        # What no retry will fix: the source, the model or the collection is not what the job needs.
        NotFound: _end_job,
        FailedPrecondition: _end_job,
        InvalidArgument: _end_job,
    }
    """What the ledger does with a unit, and what the log says, by the error that ended the unit."""


class _LongTurns:
    """Plans and last units one at a time, so that long lists do not take all threads from the chunks. A unit that has taken
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


def _is_collection_gone(error: LookalikeError) -> bool:
    return isinstance(error, NotFound) and error.metadata["kind"] == "collection"


def _span(job: Job, lease: Lease) -> AbstractContextManager[None]:
    """A span for a unit, within the trace of the call that asked for the job.

    No person could read the trace of a job of thousands of chunks, so from the 65th on each chunk begins a trace of its own,
    with a link to the job's.
    """
    is_chunk = lease.unit not in _LONG
    alone = is_chunk and lease.chunk >= CHUNKS_IN_TRACE
    return tracing.span(
        "chunk" if is_chunk else lease.unit,
        parent="" if alone else job.trace,
        linked=job.trace if alone else None,
        attributes={"lookalike.job": job.id, "lookalike.unit": lease.unit, "lookalike.attempt": lease.attempt},
    )
