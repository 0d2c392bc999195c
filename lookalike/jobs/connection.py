"""The only importer of redis: connecting, running the scripts of `lua/`, and translating redis' errors into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError  # noqa: A004 - their names
from redis.retry import Retry

from lookalike.errors import Internal, LookalikeError, Unavailable
from lookalike.jobs import job
from lookalike.jobs.states import moves_as_lua

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
"""A script takes well under a millisecond; what takes longer than this is a Redis that hangs."""
_RETRIES = 2
"""Safe, since every script gives the same end state when it runs twice."""
_SHARED = {
    "MOVES": moves_as_lua(),
    "SKIPPED_CANCELLED": job.SKIPPED_CANCELLED,
    "SKIPPED_DUPLICATE": job.SKIPPED_DUPLICATE,
    "SKIPPED_NOT_ATTEMPTED": job.SKIPPED_NOT_ATTEMPTED,
    "CHUNKS_TOGETHER": str(job.CHUNKS_TOGETHER),
    "STRETCHES": str(job.STRETCHES),
    "FIRST_STRETCH_MS": str(job.FIRST_STRETCH_MS),
}
"""What the scripts name `@NAME@`, so that it is written down once."""
_REFUSES = {
    "BUSY": "a script of somebody's runs and runs",
    "LOADING": "it reads its data from its disk",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "MISCONF": "it cannot write its data to its disk, and takes no writes until it can (its log says why)",
    "NOREPLICAS": "fewer replicas follow it than its min-replicas-to-write, so it takes no writes",
    "OOM": "its memory is full, so it takes no writes; raise its maxmemory",
    "READONLY": "it is a replica and takes no writes",
    "UNBLOCKED": "it became a replica",
}
"""What passes, or is mended outside, by the first word of Redis' error. None of these commands has done anything."""
_NOT_PRIMARY = ("MASTERDOWN", "NOREPLICAS", "READONLY", "UNBLOCKED")
"""Said by a server that is no longer the primary. One that does not know yet has lost its replicas."""
_CODE = re.compile(r"(?:^|pipeline caused error: )([A-Z]+) ")
_PING_KEY, _PING_KEPT_S = "lookalike:ping", 60


class RedisAccessDenied(Unavailable):
    """Redis refuses the password. While a service runs this may pass, as when passwords are changed; `connect_ledger` ends."""

    reason = "REDIS_ACCESS_DENIED"


class RedisConnection:
    """A pool of connections to one Redis. Thread-safe. Every method raises `Unavailable` where Redis does not answer, or takes
    no writes."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=COMMAND_TIMEOUT_S,
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES),
            retry_on_error=[ConnectionError, TimeoutError],
        )
        self._scripts: dict[str, Any] = {}

    def run(self, script: str, *arguments: str | int | float) -> Any:
        """Run `lua/{script}.lua` as one transaction and return what it returns."""
        with self.commands() as client:
            if script not in self._scripts:
                self._scripts[script] = client.register_script(_source(script))
            return self._scripts[script](args=list(arguments))

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """The redis client, for reads of one key; its errors are translated."""
        try:
            yield self._redis
        except RedisError as error:
            if _code(error) in _NOT_PRIMARY:
                # Its name, or a proxy, leads to the new primary; a connection that is kept does not.
                self._redis.connection_pool.disconnect(inuse_connections=False)
            raise as_ours(error, "redis") or error from error

    def ping(self) -> None:
        """Raise `Unavailable` unless Redis takes writes: a replica answers too, and so does one whose memory is full."""
        with self.commands() as client:
            client.set(_PING_KEY, "", ex=_PING_KEPT_S)

    def close(self) -> None:
        self._redis.close()


def as_ours(error: BaseException | None, dependency: str) -> LookalikeError | None:
    """What one of redis' errors is among ours; None where it is none of redis'."""
    if isinstance(error, AuthenticationError):
        return RedisAccessDenied(dependency, "it refuses the password; see LOOKALIKE_REDIS_PASSWORD_FILE")
    if not isinstance(error, RedisError):
        return None
    if (code := _code(error)) in _REFUSES:
        return Unavailable(dependency, f"{_REFUSES[code]} ({code})")
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Unavailable(dependency, _one_line(error))
    # A script that breaks, a user without the right: the text names commands and keys, never values.
    return Internal(f"{dependency} refused: {_one_line(error)}")


def _code(error: RedisError) -> str:
    """The first word of what Redis said, which redis-py keeps apart where it knows it; a transaction puts more before it."""
    known = getattr(error, "status_code", None)
    found = _CODE.search(str(error))
    return known or (found[1] if found else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@cache
def _source(script: str) -> str:
    folder = resources.files(__package__) / "lua"
    text = "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", script))
    for name, value in _SHARED.items():
        text = text.replace(f"@{name}@", value)
    return text
