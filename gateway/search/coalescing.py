"""Asks Milvus for the nearest of many callers' vectors in one call, where they ask alike. Called by `answer` only.

Greedy, as the embedder's batcher: while few calls are under way a caller's own begins at once, and no caller waits for company.
Callers that come while many are go together into the next call. A call costs Milvus and the gateway some milliseconds of
processor time whatever it asks, so under load this answers more callers than one call for each could.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from prometheus_client import Histogram

from gateway.backends.milvus import Backends
from gateway.backends.threads import Threads
from lookalike.errors import DeadlineExceeded, LookalikeError, Overloaded, Unavailable
from lookalike.records.collection import Collection
from lookalike.records.image import Hit
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import Space, Vector

QUERIES_PER_CALL = Histogram(
    "lookalike_gateway_search_queries_per_call",
    "Vectors that one call to Milvus looked for, of all callers together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of Milvus beside the vectors; see `Vectors.search`. `options` are those of the space; `most` is how many
    vectors may go into one call."""

    collection: Collection
    space: Space
    options: SearchOptions
    exclude_ids: tuple[str, ...]
    most: int

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal where one call may answer both."""
        return (self.collection.physical(self.space.name), self.options, self.exclude_ids)


@dataclass(eq=False, slots=True)
class _Caller:
    vectors: Vector
    deadline: Deadline
    answer: asyncio.Future[list[list[Hit]]]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    """The context of the caller, of which its search is a part. A call to Milvus for several is in the trace of the first."""


@dataclass(slots=True)
class _Line:
    """Callers that ask alike: those that wait, and how many calls for them are under way."""

    waiting: deque[_Caller] = field(default_factory=deque)
    under_way: int = 0


class MergedSearches:
    """One per process, used from one event loop. For callers that ask alike at most `at_once` calls are under way. In all at
    most `max_waiting` callers wait for a call, and more are refused."""

    def __init__(self, backends: Backends, threads: Threads, *, at_once: int, max_waiting: int) -> None:
        self._backends, self._threads = backends, threads
        self._at_once, self._max_waiting = at_once, max_waiting
        self._lines: dict[tuple[object, ...], _Line] = {}
        self._waiting = 0

    async def nearest(self, ask: Ask, vectors: Vector, call: Call) -> list[list[Hit]]:
        """For each of `vectors` (float32 `[n, dimension]`) its hits, as `Vectors.search`.

        Raises what that does, `Overloaded` where too many wait, `DeadlineExceeded` when the deadline of `call` passes first. A
        caller that gives up leaves the search to the others in it.
        """
        left_s = call.deadline.remaining_s()
        line = self._lines.setdefault(ask.kind, _Line())
        if line.under_way >= self._at_once and self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._waiting} searches are waiting for milvus already; try again")
        caller = _Caller(vectors, call.deadline, asyncio.get_running_loop().create_future())
        line.waiting.append(caller)
        self._waiting += 1
        self._begin(ask, line)
        try:
            async with asyncio.timeout(left_s):
                return await caller.answer
        except TimeoutError:
            raise DeadlineExceeded("the request's deadline has passed") from None
        finally:
            if caller.answer.cancelled() and caller in line.waiting:  # the caller has given up, and makes room for another
                line.waiting.remove(caller)
                self._waiting -= 1

    def _begin(self, ask: Ask, line: _Line) -> None:
        """Begin as many calls as may be under way."""
        while line.under_way < self._at_once and (callers := self._taken(ask, line)):
            line.under_way += 1
            try:
                search, end = self._search(ask, callers), partial(self._end, ask, line, callers)
                callers[0].context.run(self._threads.start, search, end)
            except LookalikeError as error:
                line.under_way -= 1
                _fail(callers, error)
        if not line.under_way:
            self._lines.pop(ask.kind, None)

    def _taken(self, ask: Ask, line: _Line) -> list[_Caller]:
        """The next callers that still wait, with as many vectors as go into one call, or one caller with more."""
        callers: list[_Caller] = []
        count = 0
        while line.waiting and (not callers or count + len(line.waiting[0].vectors) <= ask.most):
            caller = line.waiting.popleft()
            self._waiting -= 1
            if not caller.answer.done():
                callers.append(caller)
                count += len(caller.vectors)
        return callers

    def _search(self, ask: Ask, callers: Sequence[_Caller]) -> Callable[[], list[list[Hit]]]:
        vectors = np.concatenate([caller.vectors for caller in callers])
        QUERIES_PER_CALL.observe(len(vectors))
        deadline = max((caller.deadline for caller in callers), key=lambda deadline: deadline.at_s)

        def search() -> list[list[Hit]]:
            timeout_s = deadline.remaining_s()  # In the thread, since the wait for it has taken some of the time.
            return self._backends.vectors.search(
                ask.collection, ask.space.name, vectors, ask.options, exclude_ids=ask.exclude_ids, timeout_s=timeout_s
            )

        return search

    def _end(self, ask: Ask, line: _Line, callers: Sequence[_Caller], call: Future[list[list[Hit]]]) -> None:
        line.under_way -= 1
        if call.cancelled():  # the gateway is closing
            _fail(callers, Unavailable("gateway", "it is stopping"))
        elif (error := call.exception()) is not None:
            _fail(callers, error)
        else:
            answers = iter(call.result())
            for caller in callers:
                own = [next(answers) for _ in caller.vectors]
                if not caller.answer.done():  # else the caller has given up
                    caller.answer.set_result(own)
        self._begin(ask, line)


def _fail(callers: Sequence[_Caller], error: BaseException) -> None:
    """Let all callers that still wait raise `error`."""
    for caller in callers:
        if not caller.answer.done():
            caller.answer.set_exception(error)
