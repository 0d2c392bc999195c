"""Ingest jobs: uploads, create, look at, watch, pause, cancel, retry, undo. Entered by gRPC and HTTP; the indexer works."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from gateway.backends.milvus import Backends, find_collection
from gateway.backends.threads import Threads
from gateway.calls import DEFAULT_S
from gateway.images.image_writer import ImageWriter
from lookalike.errors import DeadlineExceeded, FailedPrecondition, Overloaded, Unavailable
from lookalike.jobs.creation import create_ingest_job
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.report import read_report
from lookalike.jobs.retrying import retry_failures
from lookalike.jobs.uploads import Uploads, UploadWriter
from lookalike.names import MAX_PAGE_SIZE, check_name
from lookalike.records.collection import Collection
from lookalike.records.job import ANY_JOB, CreateJob, Failure, Job, JobFilter, Report, Undone
from lookalike.records.source import Upload, UploadItem
from lookalike.runtime.call import Call, Deadline
from lookalike.sources import Roots

T = TypeVar("T")

WATCH_INTERVAL_S = 0.3
"""The time between two looks at a watched job: short enough for a smooth progress bar, long enough for hundreds of watchers."""
WATCH_REPEAT_S = 15.0
"""The time after which a watch repeats a job that has not changed: well under the 60 s after which proxies cut a connection."""
_ITEM_S = 30.0
"""The time that one item of an upload may take, its wait for a thread included. The whole stream may take as long as it
needs."""
_FINISH_S = 300.0
"""The time that making a whole upload durable may take: gigabytes that lie in the machine's memory until then, on a slow
disk."""
_BUSY_S = 0.05
"""The pause before an upload asks again for a thread: long enough for a call to Milvus to end, too short to be noticed."""
IDLE_S = 60.0
"""The time without a message after which an upload is given up: a client that has gone without a word would hold its place for
ever."""


async def unless_idle(messages: AsyncIterator[T], idle_s: float) -> AsyncIterator[T]:
    """`messages`; raises `DeadlineExceeded` where the next one takes longer than `idle_s` seconds to come."""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                message = await anext(messages)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise DeadlineExceeded(f"nothing came for {idle_s:g} s; the upload is given up, send it again") from error
        yield message


class Ingest:
    """One per process, used from one event loop."""

    def __init__(
        self,
        backends: Backends,
        ledger: Ledger,
        queue: TaskQueue,
        uploads: Uploads,
        outcomes: Outcomes,
        roots: Roots,
        threads: Threads,
        *,
        watch_interval_s: float = WATCH_INTERVAL_S,
        repeat_s: float = WATCH_REPEAT_S,
    ) -> None:
        self._backends, self._ledger, self._queue = backends, ledger, queue
        self._uploads, self._outcomes, self._roots, self._threads = uploads, outcomes, roots, threads
        self._watch_interval_s, self._repeat_s = watch_interval_s, repeat_s
        self._draining = asyncio.Event()

    async def upload(self, collection: str, items: AsyncIterable[UploadItem]) -> Upload:
        """Take `items` one by one; nothing is kept where the stream breaks off. Raises `NotFound` for the collection.

        Once the stream has begun, a busy gateway makes it wait instead of refusing it: the sender slows down when the gateway
        reads no further.
        """
        check_name("header.collection", collection)
        deadline = Deadline.after(DEFAULT_S)
        await self._run(lambda: find_collection(self._backends, collection, field="header.collection"), deadline)
        upload = await self._run(lambda: self._uploads.begin(collection), deadline)
        try:
            async for item in items:
                await self._add(upload, item)
            return await self._patiently(upload.finish, Deadline.after(_FINISH_S))
        except BaseException:  # Also where the caller has gone.
            upload.abort()
            raise

    async def create(self, request: CreateJob, call: Call) -> Job:
        """Create a job and send its task; a `request_id` seen before gives the job it made then."""

        def create() -> Job:
            return create_ingest_job(self._ledger, self._collection_now, self._queue, self._uploads, self._roots, request)

        return await self._run(create, call.deadline)

    async def get(self, job_id: str, call: Call) -> Job:
        return await self._run(lambda: self._ledger.get(job_id), call.deadline)

    async def page(
        self, collection: str, limit: int, after: str, call: Call, only: JobFilter = ANY_JOB
    ) -> tuple[list[Job], str]:
        """At most `limit` jobs that fit `only`, newest first, after the place `after` ("" is the start), and the place at which
        the next page begins ("" on the last). `collection` "" means all."""
        if collection:
            check_name("collection", collection)
        return await self._run(lambda: self._ledger.list(collection or None, limit, after, only), call.deadline)

    async def watch(self, job_id: str) -> AsyncIterator[Job]:
        """The job now, after every change, and every few seconds without one (so that no proxy takes the stream for dead),
        until it has ended. A busy gateway leaves out looks, never the end. Raises `Unavailable` when the gateway ends."""
        shown: Job | None = None
        shown_at_s = 0.0
        while shown is None or not shown.state.ended:
            try:
                job = await self.get(job_id, Call.begun(DEFAULT_S))
            except Overloaded:
                if shown is None:
                    raise
                job = shown
            if job != shown or time.monotonic() - shown_at_s >= self._repeat_s:
                shown, shown_at_s = job, time.monotonic()
                yield job
            if not job.state.ended:
                await self._pause()

    async def cancel(self, job_id: str, call: Call) -> Job:
        """Ask a job to stop. Raises `FailedPrecondition` where it has ended."""
        return await self._run(lambda: self._ledger.request_cancel(job_id), call.deadline)

    async def undo(self, job_id: str, call: Call) -> Undone:
        """Delete what a job wrote and nobody has written since.

        Raises `FailedPrecondition` JOB_NOT_ENDED, `NotFound` (job, or its collection).
        """

        def undo() -> Undone:
            job = self._ledger.get(job_id)
            if not job.state.ended:
                raise FailedPrecondition(
                    f"ingest job {job_id!r} has not ended ({job.state.name}); cancel it or wait for its end, then undo it",
                    reason="JOB_NOT_ENDED",
                    field="id",
                    metadata={"id": job_id, "state": job.state.name},
                )
            writer = ImageWriter(self._backends, self._ledger)

            def progress(deleted: int) -> None:
                self._ledger.note_undone(job_id, deleted)

            done = writer.delete_matching(
                job.collection, call.deadline, uid=job.collection_uid, of_revision=job.revision, progress=progress
            )
            return Undone(done.deleted, done.revision, job.undo)

        return await self._run(undo, call.deadline)

    async def pause(self, job_id: str, call: Call) -> Job:
        """Begin no further chunk until the job is resumed. Raises `FailedPrecondition` where it has ended or is being
        cancelled."""
        return await self._run(lambda: self._ledger.pause(job_id), call.deadline)

    async def resume(self, job_id: str, call: Call) -> Job:
        """Let a paused job go on. Raises `FailedPrecondition` where it has ended."""
        return await self._run(lambda: self._ledger.resume(job_id), call.deadline)

    async def retry(self, job_id: str, request_id: str, call: Call) -> Job:
        """A new job over the items of this one that failed; see `jobs.retrying.retry_failures`."""

        def retry() -> Job:
            return retry_failures(self._ledger, self._collection_now, self._queue, job_id, request_id)

        return await self._run(retry, call.deadline)

    async def report(self, job_id: str, call: Call) -> Report:
        """Where the time of a job went."""
        return await self._run(lambda: read_report(self._ledger, job_id), call.deadline)

    async def failures(self, job_id: str, limit: int, after: str, call: Call) -> tuple[list[Failure], str]:
        """At most `limit` items that failed, in order, and the place at which the next page begins, as of `page`."""
        return await self._run(lambda: self._outcomes.page_failures(job_id, limit, after), call.deadline)

    async def all_failures(self, job_id: str, call: Call) -> AsyncIterator[list[Failure]]:
        """All items that failed so far, in order, a page at a time. The first page, perhaps empty, comes by the deadline of
        `call`; the others wait for a busy gateway."""
        failures, after = await self.failures(job_id, MAX_PAGE_SIZE, "", call)
        yield failures
        while after:
            following = partial(self._outcomes.page_failures, job_id, MAX_PAGE_SIZE, after)
            failures, after = await self._patiently(following, Deadline.after(DEFAULT_S))
            yield failures

    def drain(self) -> None:
        """End every watch: the process is about to end, and another gateway can take the watches up."""
        self._draining.set()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), self._watch_interval_s)
            raise Unavailable("gateway", "it is shutting down; watch the job again")

    async def _add(self, upload: UploadWriter, item: UploadItem) -> None:
        await self._patiently(lambda: upload.add(item), Deadline.after(_ITEM_S))

    async def _patiently(self, call: Callable[[], T], deadline: Deadline) -> T:
        """As `_run`, but a pool without a free place is asked again until `deadline`. Raises `Overloaded` then."""
        while True:
            try:
                return await self._run(call, deadline)
            except Overloaded:
                if deadline.at_s - time.monotonic() <= _BUSY_S:
                    raise
                await asyncio.sleep(_BUSY_S)

    def _collection_now(self, name: str) -> Collection:
        return find_collection(self._backends, name, fresh=True)

    async def _run(self, call: Callable[[], T], deadline: Deadline) -> T:
        return await self._threads.run(call, deadline)
