"""The generations of a collection: re-embed it, roll back, drop the previous one. Entered by gRPC and HTTP; the indexer fills.

A job does the whole of a re-embedding, so that a gateway that dies leaves a job or nothing. What is known to prevent it is
refused here, at once; the job checks again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.backends.embedder import Embedder
from gateway.backends.milvus import Backends, find_collection
from gateway.backends.threads import Threads
from gateway.collections.collections import Collections
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.jobs.creation import start_job
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import TaskQueue
from lookalike.names import check_name, check_request_id
from lookalike.records.collection import Collection
from lookalike.records.job import CreateJob, Job, JobOptions
from lookalike.records.source import CollectionSource
from lookalike.runtime.call import Call
from lookalike.spaces import Space
from lookalike.spans import span_text
from lookalike.store.generations import (
    MIN_GRACE,
    check_can_begin,
    made_anew,
    rolled_back,
    specs_to_make,
    without_previous,
)

DEFAULT_GRACE = timedelta(days=1)
MAX_GRACE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Reembed:
    """A request to re-embed. `space` "" means all, `model` "" their own, `grace` 0 a day, `request_id` "" a random one."""

    name: str
    space: str = ""
    model: str = ""
    request_id: str = ""
    allow_missing: bool = False
    grace: timedelta = timedelta()
    force: bool = False


class Generations:
    """One per process, used from one event loop."""

    def __init__(
        self,
        backends: Backends,
        ledger: Ledger,
        queue: TaskQueue,
        embedder: Embedder,
        collections: Collections,
        threads: Threads,
    ) -> None:
        self._backends, self._ledger, self._queue, self._embedder = backends, ledger, queue, embedder
        self._collections, self._threads = collections, threads

    async def reembed(self, request: Reembed, call: Call) -> Job:
        """Create the job that re-embeds a collection; a request id seen before gives the job it made then.

        Raises `InvalidArgument`, `NotFound` (collection, space, model), and `FailedPrecondition` where the collection cannot be
        re-embedded now, or need not be.
        """
        check_name("name", request.name)
        for field, name in (("space", request.space), ("model", request.model)):
            if name:
                check_name(field, name)
        request_id = check_request_id("request_id", request.request_id or secrets.token_hex(16))
        options = JobOptions(
            space=request.space,
            model=request.model,
            allow_missing=request.allow_missing,
            grace=_grace(request.grace),
            force=request.force,
        )

        def find() -> Job | Collection:
            earlier = self._ledger.find_reembedding(request_id, request.name, options)
            return earlier or find_collection(self._backends, request.name, field="name", fresh=True)

        found = await self._threads.run(find, call.deadline)
        if isinstance(found, Job):
            return found
        specs = specs_to_make(found, request.space, request.model)
        try:
            described = await self._embedder.describe(specs, call.deadline)
        except NotFound as error:
            raise _in_request(error) from None
        spaces = made_anew(found, described)
        return await self._threads.run(lambda: self._start(found, spaces, request_id, options, call), call.deadline)

    async def roll_back(self, name: str, call: Call) -> Collection:
        """Let the previous generation be searched again; the collection then, and how many images it holds."""
        return await self._change(name, lambda now: rolled_back(now, datetime.now(UTC)), call)

    async def drop_previous(self, name: str, call: Call) -> Collection:
        """Drop the previous generation at once; the collection then, and how many images it holds."""
        return await self._change(name, without_previous, call)

    def _start(self, seen: Collection, spaces: tuple[Space, ...], request_id: str, options: JobOptions, call: Call) -> Job:
        """Under the lock, so that of two requests at once the second sees the job of the first."""
        writes = self._backends.writes(self._ledger)
        with writes.session(seen.name, uid=seen.uid, timeout_s=call.deadline.remaining_s(), field="name") as session:
            now = session.collection
            check_can_begin(now, spaces)
            active = self._ledger.active_reembedding(now.uid)
            if active is not None and active.request_id != request_id:
                raise FailedPrecondition(
                    f"collection {now.name!r} is being re-embedded by job {active.id!r}; wait for it or cancel it",
                    reason="REEMBED_UNDER_WAY",
                    field="name",
                    metadata={"name": now.name, "job_id": active.id},
                )
            source = CollectionSource(now.generation + 1)
            session.check()
            return start_job(self._ledger, self._queue, CreateJob(now.name, source, request_id, options), now.uid)

    async def _change(self, name: str, change: Callable[[Collection], Collection], call: Call) -> Collection:
        check_name("name", name)

        def changed() -> None:
            writes = self._backends.writes(self._ledger)
            with writes.session(name, timeout_s=call.deadline.remaining_s(), field="name") as session:
                session.change(change)

        await self._threads.run(changed, call.deadline)
        return await self._collections.get(name, call)


def _in_request(error: NotFound) -> NotFound:
    """The embedder names its own field; the caller sent `model`."""
    error.field = "model"
    return error


def _grace(given: timedelta) -> timedelta:
    if not given:
        return DEFAULT_GRACE
    if not MIN_GRACE <= given <= MAX_GRACE:
        allowed = f"{span_text(MIN_GRACE)} to {span_text(MAX_GRACE)} (30 days) are allowed, 0s means a day"
        raise InvalidArgument("grace", f"{span_text(given)} is out of range; {allowed}")
    return given
