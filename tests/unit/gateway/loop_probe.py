"""Measures how long an event loop was held: by a callback of its own, or by another thread that kept Python's lock.

In processor time, since a busy machine makes everything late: of a callback that of its thread; of what keeps the loop from its
turn, that of the process, where it was late by as much.
"""

from __future__ import annotations

import asyncio
import time
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

        def timed(handle: asyncio.Handle) -> None:
            began_s = time.thread_time()
            run(handle)
            self._note(time.thread_time() - began_s, handle)

        asyncio.Handle._run = timed  # type: ignore[method-assign]
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            began_s, used_s = time.monotonic(), time.process_time()
            await asyncio.sleep(_BEAT_S)
            late_s = time.monotonic() - began_s - _BEAT_S
            self._note(min(late_s, time.process_time() - used_s), "another thread, or several callbacks in a row")

    def _note(self, held_s: float, by: Any) -> None:
        if held_s > self._held_s:
            self._held_s, self._by = held_s, str(by)
