"""The lock under which a collection is written, and other named locks, in Redis. `ledger`, `suspects`, `worker`, `reconciler`
and `sweeper` take them.

A lock expires soon, and a thread renews it while it is held: a killed holder delays others for `ttl_s` at most. A holder that
was stopped for longer, or whose renewal does not return, knows by its own clock that the lock has expired.
"""

from __future__ import annotations

import math
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lookalike.errors import LookalikeError, Unavailable
from lookalike.jobs.connection import RedisConnection

_POLL_S = (0.005, 0.025)
"""The time between two tries; random, so that waiting workers do not try in step."""


class _Life:
    """The expiry of a lock by its holder's own clock. One thread prolongs it, other threads read it."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self.ttl_s, self._clock = ttl_s, clock
        self._until_s = math.inf
        self._lost = False

    def lasts(self) -> bool:
        # An expired lock stays expired, also where a late renewal finds it free: another process may have held it in between.
        if self._clock() > self._until_s:
            self._lost = True
        return not self._lost

    def now_s(self) -> float:
        return self._clock()

    def prolong(self, asked_s: float) -> None:
        """Redis has granted the request of `asked_s`. It began to count later than that, so the holder stops earlier."""
        if self.lasts():
            self._until_s = asked_s + self.ttl_s

    def end(self) -> None:
        self._lost = True


@contextmanager
def write_lock(
    connection: RedisConnection, name: str, *, timeout_s: float, ttl_s: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[], bool]]:
    """Hold lock `name`; yields a check whether it is still held, without a round trip. `clock` counts seconds.

    Raises `Unavailable` after `timeout_s` of waiting.
    """
    token, life = secrets.token_hex(8), _Life(ttl_s, clock)
    deadline_s = time.monotonic() + timeout_s
    while True:
        asked_s = clock()
        if try_lock(connection, name, token, ttl_s=ttl_s):
            break
        if time.monotonic() > deadline_s:
            raise Unavailable("write lock", f"{name} has been held by others for {timeout_s:g} s")
        time.sleep(random.uniform(*_POLL_S))  # noqa: S311 - not for secrecy
    life.prolong(asked_s)
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(connection, name, token, life, done), daemon=True)
    renewer.start()
    try:
        yield life.lasts
    finally:
        done.set()
        renewer.join()
        _unlock_quietly(connection, name, token)


def try_lock(connection: RedisConnection, name: str, token: str, *, ttl_s: float) -> bool:
    """Take or renew lock `name` for `ttl_s` unless another token holds it; whether `token` holds it now."""
    return bool(connection.run("lock", name, token, int(ttl_s * 1000)))


def unlock(connection: RedisConnection, name: str, token: str) -> None:
    """Release lock `name`, if `token` holds it."""
    connection.run("unlock", name, token)


def _renew(connection: RedisConnection, name: str, token: str, life: _Life, done: threading.Event) -> None:
    while not done.wait(life.ttl_s / 3):
        asked_s = life.now_s()
        try:
            if try_lock(connection, name, token, ttl_s=life.ttl_s):
                life.prolong(asked_s)
            else:
                life.end()
        except LookalikeError:
            # Redis may be restarting. The lock may not survive that, so it counts as lost.
            life.end()


def _unlock_quietly(connection: RedisConnection, name: str, token: str) -> None:
    try:
        unlock(connection, name, token)
    except LookalikeError:
        return  # Redis is away; the lock ends by itself after its time to live.
