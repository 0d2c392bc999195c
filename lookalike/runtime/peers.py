"""Bounds for slow and silent peers of a gRPC server: places apart for calls, streams and uploads, and a time for each message.

A call whose request has not come takes no place from the calls at work. It waits among calls of its kind, of which the one that
has been silent longest makes room for a new one. A call that waits for its peer later (for the next message of an upload, or
until its answer is read) gives up its place in the same way, and after `silence_s` at the latest. `interceptors` and `server`
call it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Any, cast

from lookalike.runtime.places import Places

_SWEEPS = 8
"""Checks per `silence_s`, which is kept to within an eighth."""
_LONGEST_SWEEP_S = 1.0
_RPC_COROUTINE = "_handle_exceptions"
"""The coroutine of grpc.aio that runs a handler, in a task of its own. Another task holds the call and waits for it."""


@dataclass(frozen=True, slots=True)
class PeerBounds:
    """Bounds the calls, streams and uploads at once. Each call may hold a message (at most 32 MiB, a picture commonly 0.1).

    `calls` is above the sum of the gateway's threads and waiting places (144), so that these refuse a burst, with the reason of
    the wait. `silence_s` is the time for a whole message to come, and for an answer to be read.
    """

    arriving: int = 1000
    calls: int = 192
    streams: int = 128
    uploads: int = 64
    watches: int = 32
    silence_s: float = 60.0

    @property
    def together(self) -> int:
        return self.arriving + self.calls + self.streams + self.uploads + self.watches


class Peers:
    """The places of one server."""

    def __init__(self, bounds: PeerBounds) -> None:
        patience_s = min(1.0, bounds.silence_s / 4)
        self.silence_s = bounds.silence_s
        self.arriving = Places(bounds.arriving, "too many requests are on their way; try again", patience_s=0.0)
        self.watches = Places(bounds.watches, "too many watches of health are under way; try again")
        self._calls, self._streams, self._uploads = (
            Places(limit, f"too many {kind} are under way; try again", patience_s=patience_s)
            for kind, limit in (("calls", bounds.calls), ("streams", bounds.streams), ("uploads", bounds.uploads))
        )

    def places_for(self, *, request_streaming: bool, response_streaming: bool) -> Places:
        return self._uploads if request_streaming else self._streams if response_streaming else self._calls

    @property
    def at_work(self) -> int:
        """The number of calls that a handler has taken in and that have not ended."""
        return sum(places.held for places in (self.watches, self._calls, self._streams, self._uploads))

    def silent(self, since_s: float) -> int:
        """The number of calls whose request has been missing for that long."""
        return self.arriving.waiting(since_s)

    def end_overdue(self) -> None:
        for places in (self.arriving, self.watches, self._calls, self._streams, self._uploads):
            places.end_overdue(self.silence_s)

    @property
    def _interval_s(self) -> float:
        return min(self.silence_s / _SWEEPS, _LONGEST_SWEEP_S)

    async def watch(self) -> None:
        """End overdue calls, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self.end_overdue()

    def watch_in_thread(self, stop: threading.Event) -> None:
        """As `watch`, in a thread, until `stop`."""

        def watch() -> None:
            while not stop.wait(self._interval_s):
                self.end_overdue()

        threading.Thread(target=watch, name="peers", daemon=True).start()


class RpcTasks:
    """Ends a call of grpc.aio from outside, whatever the call waits for; the library has no public way to do it.

    The end of a handler would leave the call to a peer that does not read. When the task that holds the call ends, gRPC's core
    cancels the call and frees its messages.
    """

    def __init__(self) -> None:
        self._holding: dict[asyncio.Task[Any], asyncio.Task[Any]] = {}

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note which task holds which call, from now on."""
        loop.set_task_factory(cast("Any", self._made))

    def ending(self) -> Callable[[], None]:
        """A function that ends the call that this task handles."""
        handling = asyncio.current_task()
        assert handling is not None, "a handler runs in a task"  # noqa: S101 - grpc.aio's own way
        holding = self._holding.get(handling)
        return _Ending(handling) if holding is None else _Ending(holding, handling)

    def _made(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        if getattr(coro, "__name__", "") == _RPC_COROUTINE and (holding := asyncio.current_task(loop)) is not None:
            self._holding[task] = holding
            task.add_done_callback(self._holding.pop)
        return task


class _Ending:
    """Cancels tasks once, and drops them: a circle of references to a call would keep its messages for a while."""

    __slots__ = ("_tasks",)

    def __init__(self, *tasks: asyncio.Task[Any]) -> None:
        self._tasks = tasks

    def __call__(self) -> None:
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.add_done_callback(_let_go)
            task.cancel()


def _let_go(task: asyncio.Task[Any]) -> None:
    """Read the error of a cancelled task, which keeps it, with all its frames, until it is read."""
    with suppress(asyncio.CancelledError):
        task.exception()
