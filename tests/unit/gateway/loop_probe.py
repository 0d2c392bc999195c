"""Measures how long an event loop was held: by a callback of its own, or by another thread that kept Python's lock.

A busy machine makes everything late, so waiting for a processor does not count. Of a callback the processor time of its thread
counts; of what keeps the loop from its turn, that of Python's threads, where the loop was late by as much although a processor
was free for it (Linux knows how long a thread that could run had none). gRPC's own threads need no lock of Python's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

_BEAT_S = 0.002


class LoopProbe:
    """Installed on the running loop by `start`."""

    def __init__(self) -> None:
        self._held_s, self._by = 0.0, ""

    async def taken(self) -> tuple[float, str]:
        """How long the loop was held at the most since the last time, and by what."""
        await asyncio.sleep(3 * _BEAT_S)  # the beat that is under way belongs to what has been
        taken = (self._held_s, self._by)
        self._held_s, self._by = 0.0, ""
        return taken

    def start(self) -> None:
        run = asyncio.Handle._run

        def timed(handle: Any) -> None:
            began_s = time.thread_time()
            run(handle)
            self._note(time.thread_time() - began_s, getattr(handle._callback, "__self__", handle._callback))

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            began_s, waited_s, used = time.monotonic(), self._waited_s(), _used_by_threads()
            await asyncio.sleep(_BEAT_S)
            late_s = time.monotonic() - began_s - _BEAT_S - (self._waited_s() - waited_s)
            used_s = sum(now_s - used.get(thread, 0.0) for thread, now_s in _used_by_threads().items())
            self._note(min(late_s, used_s), "another thread, or several callbacks in a row")

    def _waited_s(self) -> float:
        """How long the loop's thread has waited for a processor since it began, in seconds."""
        return int(self._schedule.read_text().split()[1]) / 1e9

    def _note(self, held_s: float, by: Any) -> None:
        if held_s > self._held_s:
            # Not its `repr`: that of a task shows its result, a thousand images perhaps, and would be what holds the loop.
            name = by if isinstance(by, str) else type(by).__name__
            if isinstance(by, asyncio.Task):
                name = getattr(by.get_coro(), "__qualname__", name)
            self._held_s, self._by = held_s, name


def _used_by_threads() -> dict[int, float]:
    """Processor time of each of Python's threads in seconds, by its id."""
    alive = [thread.ident for thread in threading.enumerate() if thread.ident is not None]
    return {ident: time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in alive}
