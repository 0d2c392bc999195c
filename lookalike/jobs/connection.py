"""The only importer of redis: connecting, running the scripts of `lua/`, and translating redis' errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, ConnectionError, RedisError, TimeoutError  # noqa: A004 - their names
from redis.retry import Retry

from lookalike.errors import Internal, Unavailable
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
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError)


class RedisAccessDenied(Unavailable):
    """Redis refuses the password. While a service runs this may pass, as when passwords are changed; `connect_ledger` ends."""

    reason = "REDIS_ACCESS_DENIED"


class RedisConnection:
    """A pool of connections to one Redis. Thread-safe. Every method raises `Unavailable` where Redis does not answer."""

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
        with _translated():
            if script not in self._scripts:
                self._scripts[script] = self._redis.register_script(_source(script))
            return self._scripts[script](args=list(arguments))

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """The redis client, for reads of one key; its errors are translated."""
        with _translated():
            yield self._redis

    def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers."""
        with self.commands() as client:
            client.ping()

    def close(self) -> None:
        self._redis.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise RedisAccessDenied("redis", "it refuses the password; see LOOKALIKE_REDIS_PASSWORD_FILE") from error
    except _AWAY as error:
        raise Unavailable("redis", _one_line(error)) from error
    except RedisError as error:
        # A script that breaks, a user without the right, a full memory: the text names commands and keys, never values.
        raise Internal(f"redis refused: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@cache
def _source(script: str) -> str:
    folder = resources.files(__package__) / "lua"
    text = "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", script))
    for name, value in _SHARED.items():
        text = text.replace(f"@{name}@", value)
    return text
