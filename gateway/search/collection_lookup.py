"""Finds the collection of a search: without any call while the last read is fresh, and by one read for all searches meanwhile.

Called by `search` only. What changes a collection or its images reads it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from gateway.backends.milvus import Backends, find_collection
from gateway.backends.threads import Threads
from gateway.calls import MAX_S
from lookalike.errors import DeadlineExceeded, NotFound
from lookalike.records.collection import Collection
from lookalike.runtime.call import Call, Deadline

T = TypeVar("T")


class Lookups:
    """One per process, used from one event loop."""

    def __init__(self, backends: Backends, threads: Threads) -> None:
        self._backends, self._threads = backends, threads
        self._reads: dict[str, asyncio.Task[Collection]] = {}

    async def find(self, name: str, call: Call) -> Collection:
        """The collection as it was some seconds ago at most. Raises `NotFound` (collection), where it is not there now."""
        if (seen := self._backends.catalogue.recall(name)) is not None:
            return seen
        joined = name in self._reads
        try:
            return await self._read(name, call)
        except NotFound:
            if not joined:
                raise
            # That read may have begun before the caller created the collection.
            return await self._now(name, call)

    async def on_collection(self, name: str, read: Callable[[Collection], Awaitable[T]], call: Call) -> T:
        """What `read` gives of a collection, all of it in one generation. Raises `NotFound` (collection), and what `read` does.

        The collection is as `find` finds it. Where its generation was switched since, and the one searched was dropped, the
        collection is read once more, as it is now.
        """
        seen = await self.find(name, call)
        try:
            return await read(seen)
        except NotFound as error:
            if error.metadata.get("kind") != "collection":
                raise
            now = await self._now(name, call)
            if (now.uid, now.generation) == (seen.uid, seen.generation):
                raise
        return await read(now)

    async def _now(self, name: str, call: Call) -> Collection:
        return await self._threads.run(partial(find_collection, self._backends, name, fresh=True), call.deadline)

    async def _read(self, name: str, call: Call) -> Collection:
        left_s = call.deadline.remaining_s()
        if name not in self._reads:
            # Other searches may join: the read has the longest deadline of any, and its own bound within the store.
            run = self._threads.run(partial(find_collection, self._backends, name), Deadline.after(MAX_S))
            self._reads[name] = asyncio.create_task(run)
            self._reads[name].add_done_callback(partial(self._forget, name))
        try:
            async with asyncio.timeout(left_s):
                return await asyncio.shield(self._reads[name])
        except TimeoutError:
            raise DeadlineExceeded("the request's deadline has passed") from None

    def _forget(self, name: str, read: asyncio.Task[Collection]) -> None:
        del self._reads[name]
        if not read.cancelled():
            read.exception()  # The searches that waited have the error. Where all have gone, asyncio need not complain.
