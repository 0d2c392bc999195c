"""Sweeps again and again, in one worker at a time, where anything has changed since the last time. Started by
`indexer.__main__`."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from indexer.sweeping.sweep import Swept
from lookalike.errors import LookalikeError, Unavailable
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.locks import write_lock

_LOCK, _LOCK_S = "sweep", 60.0
_LOOK_S = 60.0
"""The longest time between two looks whether a sweep is due."""


class Sweeper:
    """A thread from `start` to `stop`. `sweep` does one sweep, and is given a callback that says whether to go on. `every_s` is
    the time from the end of a sweep to the beginning of the next, by whichever worker."""

    def __init__(
        self,
        ledger: Ledger,
        sweep: Callable[[Callable[[], bool]], Swept],
        what_is_there: Callable[[], object],
        *,
        every_s: float,
    ) -> None:
        self._ledger, self._sweep, self._what_is_there, self._every_s = ledger, sweep, what_is_there, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=10.0)

    def round(self) -> bool:
        """Sweep if a sweep is due, anything has changed, and no other worker is at it; whether a sweep was done."""
        swept_at_s, known = self._ledger.last_sweep()
        if time.time() - swept_at_s < self._every_s:
            return False
        now = self._state()
        if now == known:
            return False
        with suppress(Unavailable), write_lock(self._ledger.connection, _LOCK, timeout_s=0.0, ttl_s=_LOCK_S) as held:
            began_s = time.monotonic()
            swept = self._sweep(lambda: held() and not self._stopping.is_set())
            self._ledger.note_sweep(time.time(), "" if swept.some_too_young else now)
            seconds = round(time.monotonic() - began_s, 1)
            self._log.info("swept", seconds=seconds, **{f"{kind}s": count for kind, count in swept.removed.items()})
            return True
        return False

    def _state(self) -> str:
        """A digest that changes whenever a file may have become useless."""
        return hashlib.sha256(json.dumps(self._what_is_there(), sort_keys=True, default=str).encode()).hexdigest()

    def _run(self) -> None:
        while not self._stopping.wait(min(_LOOK_S, self._every_s)):
            try:
                self.round()
            except LookalikeError as error:
                self._log.warning("sweep given up; the next one begins anew", problem=error.message)
            except Exception:  # noqa: BLE001 - the edge: without this thread nothing is removed any more
                self._log.exception("sweep failed")
