"""The lock under which a collection is written, and other named locks, in Redis. Called through `Ledger` and the reconciler.

The lock has a short life of its own, renewed by a thread while it is held: a killed holder holds up others for `ttl_s` at most.
"""

from __future__ import annotations

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


@contextmanager
def write_lock(connection: RedisConnection, name: str, *, timeout_s: float, ttl_s: float) -> Iterator[Callable[[], bool]]:
    """Hold lock `name`; yields a check whether it is held still. Raises `Unavailable` after `timeout_s` of waiting."""
    token = secrets.token_hex(8)
    deadline_s = time.monotonic() + timeout_s
    while not try_lock(connection, name, token, ttl_s=ttl_s):
        if time.monotonic() > deadline_s:
            raise Unavailable("write lock", f"{name} has been held by others for {timeout_s:g} s")
        time.sleep(random.uniform(*_POLL_S))  # noqa: S311 - not for secrecy
    done, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(connection, name, token, ttl_s, done, lost), daemon=True)
    renewer.start()
    try:
        yield lambda: not lost.is_set()
    finally:
        done.set()
        renewer.join()
        _unlock_quietly(connection, name, token)


def try_lock(connection: RedisConnection, name: str, token: str, *, ttl_s: float) -> bool:
    """Take or renew lock `name` for `ttl_s` if nobody else holds it; whether `token` holds it now."""
    return bool(connection.run("lock", name, token, int(ttl_s * 1000)))


def unlock(connection: RedisConnection, name: str, token: str) -> None:
    """Give lock `name` back, if `token` holds it."""
    connection.run("unlock", name, token)


def _renew(
    connection: RedisConnection, name: str, token: str, ttl_s: float, done: threading.Event, lost: threading.Event
) -> None:
    while not done.wait(ttl_s / 3):
        try:
            if not try_lock(connection, name, token, ttl_s=ttl_s):
                lost.set()
        except LookalikeError:
            # Perhaps Redis is restarting. Whether the lock outlives that is not known, so it counts as lost.
            lost.set()


def _unlock_quietly(connection: RedisConnection, name: str, token: str) -> None:
    try:
        unlock(connection, name, token)
    except LookalikeError:
        return  # Redis is away; the lock ends by itself after its time to live.
