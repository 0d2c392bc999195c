"""A bounded pool of threads for the calls that block: Milvus, Redis, artifacts. Called by the gateway's core only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gateway.deadlines import Deadline
from lookalike.errors import DeadlineExceeded, Overloaded

T = TypeVar("T")


class Threads:
    """Runs at most `workers` calls at once and lets at most `max_waiting` wait; whatever comes beyond is refused at once.

    Used from one event loop. A call whose caller has gone is dropped if it still waits; one that has begun keeps its thread
    until it ends, which its own timeout sees to.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="gateway")
        self._limit = workers + max_waiting
        self._taken = 0

    async def run(self, call: Callable[[], T], deadline: Deadline) -> T:
        """What `call()` returns or raises. Raises `Overloaded`, or `DeadlineExceeded` when `deadline` passes first."""
        left_s = deadline.remaining_s()
        if self._taken >= self._limit:
            raise Overloaded(f"{self._limit} calls are under way or waiting already; try again")
        loop = asyncio.get_running_loop()
        future = self._pool.submit(call)
        self._taken += 1
        # Freed when the thread is, not when the caller gives up: else abandoned calls could pile up unseen.
        future.add_done_callback(lambda done: self._schedule_free(loop, done))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), left_s)
        except TimeoutError as error:
            raise DeadlineExceeded("the request's deadline has passed") from error

    def close(self) -> None:
        """Drop what waits; what has begun ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _schedule_free(self, loop: asyncio.AbstractEventLoop, _done: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free)

    def _free(self) -> None:
        self._taken -= 1
