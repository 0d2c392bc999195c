"""A bounded pool of threads for the calls that block: Milvus, Redis, artifacts. Called by the gateway's core only."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from lookalike.errors import DeadlineExceeded, Overloaded
from lookalike.runtime.call import Deadline

T = TypeVar("T")


class Threads:
    """Runs at most `workers` calls at once and lets at most `max_waiting` wait; more are refused at once.

    Used from one event loop. A call whose caller has gone is dropped if it still waits. A call that has begun keeps its thread
    until it ends; its own timeout ends it.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="gateway")
        self._limit = workers + max_waiting
        self._taken = 0

    async def run(self, call: Callable[[], T], deadline: Deadline) -> T:
        """What `call()` returns or raises. Raises `Overloaded`, or `DeadlineExceeded` when `deadline` passes first."""
        left_s = deadline.remaining_s()
        waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future = self.start(call, partial(_hand_over, waiting))
        try:
            async with asyncio.timeout(left_s):
                return await waiting
        except TimeoutError as error:
            raise DeadlineExceeded("the request's deadline has passed") from error
        finally:
            future.cancel()  # without effect on a call that has begun

    def start(self, call: Callable[[], T], ended: Callable[[Future[T]], None]) -> Future[T]:
        """Begin `call`, within the caller's trace. When it has ended, or was cancelled while it waited, `ended` gets its future
        in the loop's thread.

        Raises `Overloaded`.
        """
        if self._taken >= self._limit:
            raise Overloaded(f"{self._limit} calls are under way or waiting already; try again")
        loop = asyncio.get_running_loop()
        future = self._pool.submit(contextvars.copy_context().run, call)
        self._taken += 1
        # The place is freed when the thread is, not when the caller gives up: else abandoned calls could pile up unseen.
        future.add_done_callback(partial(self._schedule_end, loop, ended))
        return future

    def close(self) -> None:
        """Drop what waits; what has begun ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _schedule_end(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Future[T]], None], future: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end, ended, future)

    def _end(self, ended: Callable[[Future[T]], None], future: Future[T]) -> None:
        self._taken -= 1
        ended(future)


async def off_loop(call: Callable[[], T], large: bool) -> T:
    """What `call()` gives or raises, which does arithmetic and text and calls nothing. A `large` one runs in a thread. It waits
    for no place in `Threads`, since its request has been admitted already and others wait for Milvus there."""
    return await asyncio.to_thread(call) if large else call()


def _hand_over(waiting: asyncio.Future[T], future: Future[T]) -> None:
    if waiting.done():  # the caller has given up
        return
    if future.cancelled():
        waiting.cancel()
    elif (error := future.exception()) is not None:
        waiting.set_exception(error)
    else:
        waiting.set_result(future.result())
