"""The ledger for readers and makers of jobs: create, read, list, cancel; revisions and tombstones.

The gateway and the indexer call it; workers lease and record through `leases.py`. Ended jobs, their request ids and the paths
of their failures are kept for `RETENTION_S` and then vanish from Redis; `expired` names the jobs whose files may then be
deleted.

Every write to a collection takes a revision, and of two writes to one id the later revision wins. A delete is to be done so:

    with writes.session(collection, timeout_s=30.0) as session:  # lookalike.writes
        session.delete(ids, ledger.take_revision(collection))

Then no older job can write the ids back: workers look at `buried` under the same lock before they write.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.jobs.connection import RedisConnection
from lookalike.jobs.locks import write_lock
from lookalike.jobs.pages import page_of_jobs
from lookalike.jobs.stored_job import STALL_S, job_of, options_text, request_fingerprint, source_text
from lookalike.names import MAX_PAGE_SIZE
from lookalike.records.job import (
    ANY_JOB,
    DEFAULTS,
    Job,
    JobFilter,
    JobOptions,
    has_finish,
    rest_counts_as,
    writes_own_revision,
)
from lookalike.records.source import CollectionSource, JobSource
from lookalike.runtime.redis_access import RedisAccess

RETENTION_S = 30 * 86_400
"""The time for which an ended job can be read, and its request id repeated: a month, so that a monthly load finds the last."""
SEND_GRACE_S = 15.0
"""Bounds the time for which a sent task may stay unseen; then it is sent again. The wait doubles, up to 32 times this."""
_SWEEP = "lookalike:sweep"
_DELETES_AT_ONCE = 1000
_JOB_ID = re.compile(r"[0-9a-f]{16}")
_PRUNED_AT_ONCE = 100

FoundJobs = list[Job | None]  # `Ledger.list` hides the builtin in annotations within the class
Jobs = list[Job]
Ids = list[str]


class Ledger:
    """The truth about jobs. Thread-safe. Every method raises `Unavailable` where Redis does not answer."""

    def __init__(self, connection: RedisConnection, *, retention_s: float = RETENTION_S, stall_s: float = STALL_S) -> None:
        self.connection = connection
        self.retention_ms, self._stall_ms = int(retention_s * 1000), int(stall_s * 1000)

    def create(
        self,
        collection: str,
        collection_uid: str,
        source: JobSource,
        request_id: str,
        options: JobOptions = DEFAULTS,
        *,
        send_grace_s: float = SEND_GRACE_S,
        trace: str = "",
    ) -> tuple[Job, bool]:
        """Record a job and take its revision; return the job and whether it is new.

        `request_id` makes the call idempotent: the same request gives the earlier job and False. Another request under a used
        id raises `FailedPrecondition` REQUEST_ID_REUSED. The reconciler sends the task of a job that is not seen within
        `send_grace_s`. `trace` is the `traceparent` of the call, to which the job's work belongs.
        """
        fingerprint = request_fingerprint(collection, source, options)
        job_id, known, new = self.connection.run(
            "create",
            secrets.token_hex(8),
            collection,
            collection_uid,
            source_text(source),
            request_id,
            fingerprint,
            int(send_grace_s * 1000),
            options_text(options),
            int(has_finish(source, options)),
            int(writes_own_revision(source, options)),
            rest_counts_as(options),
            trace,
        )
        _check_same(request_id, job_id, known, fingerprint)
        return self.get(job_id), bool(new)

    def find_request(self, request_id: str, collection: str, source: JobSource, options: JobOptions = DEFAULTS) -> Job | None:
        """The job that this request made before; None where it made none. Raises as `create`."""
        with self.connection.commands() as client:
            job_id, known = client.hmget(f"lookalike:request:{request_id}", "job", "fingerprint")
        if job_id is None:
            return None
        _check_same(request_id, job_id, known, request_fingerprint(collection, source, options))
        return self._read(job_id)

    def find_reembedding(self, request_id: str, collection: str, options: JobOptions) -> Job | None:
        """As `find_request`, for a job that re-embeds `collection`, into any generation."""
        with self.connection.commands() as client:
            job_id = client.hget(f"lookalike:request:{request_id}", "job")
        job = self.find(job_id) if job_id else None
        source = (job and job.source) or CollectionSource(0)
        return self.find_request(request_id, collection, source, options)

    def find(self, job_id: str) -> Job | None:
        """The job now; None for a job that never existed or is no longer kept."""
        return self._read(job_id)

    def active_reembedding(self, collection_uid: str) -> Job | None:
        """The unfinished job that re-embeds a collection; None without one."""
        jobs = (job for job in self.active_jobs() if job.collection_uid == collection_uid)
        return next((job for job in jobs if isinstance(job.source, CollectionSource)), None)

    def get(self, job_id: str) -> Job:
        """The job now. Raises `NotFound` ("ingest job") for a job that never existed or is no longer kept."""
        job = self._read(job_id)
        if job is None:
            raise NotFound("ingest job", job_id[:64], field="id")
        return job

    def list(self, collection: str | None, page_size: int, page_token: str, only: JobFilter = ANY_JOB) -> tuple[Jobs, str]:
        """Jobs of one collection or of all that fit `only`, newest first; see `pages.page_of_jobs`."""
        index = "lookalike:jobs" if collection is None else f"lookalike:jobs:of:{collection}"
        return page_of_jobs(self.connection, self._read_all, index, page_size, page_token, only)

    def active(self) -> Ids:
        """Ids of the jobs that have not ended."""
        with self.connection.commands() as client:
            return sorted(client.smembers("lookalike:active"))

    def active_jobs(self) -> Jobs:
        """The jobs that have not ended."""
        return [job for job in self._read_all(self.active()) if job is not None]

    def kept_jobs(self) -> Iterator[Job]:
        """Every job that Redis keeps, newest first, a page at a time."""
        token = ""
        while True:
            jobs, token = self.list(None, MAX_PAGE_SIZE, token)
            yield from jobs
            if not token:
                return

    def last_sweep(self) -> tuple[float, str]:
        """The time (Unix time, 0 for never) of the last sweep of unused files, and the state that it noted."""
        with self.connection.commands() as client:
            at_s, state = client.hmget(_SWEEP, "at_s", "state")
        return float(at_s or 0), state or ""

    def note_sweep(self, at_s: float, state: str) -> None:
        with self.connection.commands() as client:
            client.hset(_SWEEP, mapping={"at_s": at_s, "state": state})

    def revisions(self, collections: Sequence[str]) -> Ids:
        """The last revision of each of `collections`; "" where none was taken."""
        if not collections:
            return []
        with self.connection.commands() as client:
            return [value or "" for value in client.mget(f"lookalike:revision:{name}" for name in collections)]

    def request_cancel(self, job_id: str) -> Job:
        """Ask a job to stop and return it. Raises `NotFound`, and `FailedPrecondition` JOB_ENDED where it has ended."""
        return self._unless_ended(job_id, self.connection.run("cancel", job_id, self.retention_ms))

    def pause(self, job_id: str) -> Job:
        """Begin no further unit of a job until `resume`; return it. Pausing a paused job changes nothing.

        Raises `NotFound`, and `FailedPrecondition` JOB_ENDED or JOB_CANCELLING.
        """
        state = self.connection.run("pause", job_id, 1)
        if state == "STOPPING":
            message = f"ingest job {job_id!r} is being cancelled and cannot be paused"
            raise FailedPrecondition(message, reason="JOB_CANCELLING", field="id", metadata={"id": job_id})
        return self._unless_ended(job_id, state)

    def resume(self, job_id: str) -> Job:
        """Resume a paused job; return it. Resuming a job that is not paused changes nothing. Raises as `pause`."""
        return self._unless_ended(job_id, self.connection.run("pause", job_id, 0))

    def note_undone(self, job_id: str, images: int) -> None:
        """Note that `images` more of the images that a job wrote have been deleted."""
        self.connection.run("undone", job_id, images)

    def cancel_collection(self, collection_uid: str) -> int:
        """Ask every unfinished job of a deleted collection to stop; return their number."""
        jobs = [job for job in self.active_jobs() if job.collection_uid == collection_uid]
        for job in jobs:
            self.connection.run("cancel", job.id, self.retention_ms)
        return len(jobs)

    def take_revision(self, collection: str) -> int:
        """The next revision of a collection: max(last + 1, now in milliseconds), so that revisions rise after a loss of
        Redis."""
        return int(self.connection.run("take_revision", collection))

    def bury(self, collection: str, ids: Sequence[str], revision: int) -> None:
        """Record deletes at `revision`, so that unfinished older jobs do not write the ids back. Forgotten when these end."""
        for start in range(0, len(ids), _DELETES_AT_ONCE):
            self.connection.run("bury", collection, revision, *ids[start : start + _DELETES_AT_ONCE])

    def buried(self, collection: str, ids: Sequence[str]) -> dict[str, int]:
        """The revisions of the deletes of those of `ids` that were deleted while older jobs were unfinished."""
        if not ids:
            return {}
        with self.connection.commands() as client:
            revisions = client.zmscore(f"lookalike:buried:{collection}", list(ids))
        return {id_: int(revision) for id_, revision in zip(ids, revisions, strict=True) if revision is not None}

    def later_revision_taken(self, collection: str, revision: int) -> bool:
        """Whether a write newer than `revision` may have been made; True where Redis no longer knows, too."""
        with self.connection.commands() as client:
            return bool(client.get(f"lookalike:revision:{collection}") != str(revision))

    def older_job_active(self, collection: str, revision: int) -> bool:
        """Whether an unfinished job could still write with an older revision than `revision`."""
        with self.connection.commands() as client:
            return bool(client.zcount(f"lookalike:active:{collection}", "-inf", f"({revision}"))

    def write_lock(
        self, collection: str, *, timeout_s: float = 10.0, ttl_s: float = 5.0
    ) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the short lock under which a collection is written; see `locks.write_lock`."""
        return write_lock(self.connection, f"write:{collection}", timeout_s=timeout_s, ttl_s=ttl_s)

    def expired(self) -> Ids:
        """Ids of some jobs, oldest first, that Redis no longer keeps. Delete their files, then `forget` them."""
        with self.connection.commands() as client:
            oldest = client.zrange("lookalike:jobs", 0, _PRUNED_AT_ONCE - 1)
        return [job_id for job_id, job in zip(oldest, self._read_all(oldest), strict=True) if job is None]

    def forget(self, job_ids: Ids) -> None:
        """Remove jobs that Redis no longer keeps from the lists."""
        if not job_ids:
            return
        with self.connection.commands() as client:
            for key in client.scan_iter("lookalike:jobs:of:*", count=1000):
                client.zrem(key, *job_ids)
            client.zrem("lookalike:jobs", *job_ids)

    def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers."""
        self.connection.ping()

    def close(self) -> None:
        self.connection.close()

    def job_from(self, job_id: str, fields: Mapping[str, str], *, now_ms: int) -> Job:
        """The job of a hash in Redis, at a time by Redis' clock."""
        return job_of(job_id, fields, stalled_before_ms=now_ms - self._stall_ms)

    def _unless_ended(self, job_id: str, state: str) -> Job:
        job = self.get(job_id)
        if state == "ENDED":
            raise FailedPrecondition(
                f"ingest job {job_id!r} has ended already ({job.state.name})",
                reason="JOB_ENDED",
                field="id",
                metadata={"id": job_id, "state": job.state.name},
            )
        return job

    def _read(self, job_id: str) -> Job | None:
        # Without this check an id could name another key of the ledger.
        return self._read_all([job_id])[0] if _JOB_ID.fullmatch(job_id) else None

    def _read_all(self, job_ids: Sequence[str]) -> FoundJobs:
        if not job_ids:
            return []
        with self.connection.commands() as client, client.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(f"lookalike:job:{job_id}")
            pipeline.time()
            *hashes, (now_s, _) = pipeline.execute()
        return [
            self.job_from(job_id, fields, now_ms=now_s * 1000) if fields else None
            for job_id, fields in zip(job_ids, hashes, strict=True)
        ]


def connect_ledger(access: RedisAccess, *, retention_s: float = RETENTION_S, stall_s: float = STALL_S) -> Ledger:
    """A ledger on the Redis that `access` leads to (a URL, or Sentinels).

    Raises `Unavailable` where Redis does not answer, its subclass `RedisAccessDenied` for a wrong password, and
    `InvalidArgument` for a URL that is not valid.
    """
    ledger = Ledger(open_redis(access), retention_s=retention_s, stall_s=stall_s)
    ledger.ping()
    return ledger


def open_redis(access: RedisAccess) -> RedisConnection:
    """A pool for `access`, not connected yet. Raises `InvalidArgument` ("redis_url") for a URL that is not valid."""
    try:
        return RedisConnection(access)
    except ValueError as error:
        raise InvalidArgument("redis_url", f"cannot be used: {error}") from error


def _check_same(request_id: str, job_id: str, known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise FailedPrecondition(
            f"request id {request_id!r} was used for another request, which made ingest job {job_id!r}",
            reason="REQUEST_ID_REUSED",
            field="request_id",
            metadata={"request_id": request_id, "id": job_id},
        )
