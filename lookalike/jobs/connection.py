"""The only importer of redis: connections, the scripts of `lua/`, and the translation of redis' errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError  # noqa: A004 - their names
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedConnection

from lookalike.errors import Internal, LookalikeError, Unavailable, one_line
from lookalike.jobs.stored_job import CHUNKS_TOGETHER, FIRST_STRETCH_MS, STRETCHES, moves_as_lua
from lookalike.records.job import SKIPPED_CANCELLED, SKIPPED_NOT_ATTEMPTED
from lookalike.runtime.redis_access import RedisAccess, Sentinels

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
"""Bounds a script, which takes well under a millisecond; a Redis that takes longer hangs."""
SENTINEL_TIMEOUT_S = 1.0
"""Bounds the time in which a Sentinel must accept a connection, and answer; a slower one is passed over for the next."""
_RETRIES = 2
"""Retries are safe, since every script gives the same end state when it runs twice."""
_SHARED = {
    "MOVES": moves_as_lua(),
    "SKIPPED_CANCELLED": SKIPPED_CANCELLED,
    "SKIPPED_NOT_ATTEMPTED": SKIPPED_NOT_ATTEMPTED,
    "CHUNKS_TOGETHER": str(CHUNKS_TOGETHER),
    "STRETCHES": str(STRETCHES),
    "FIRST_STRETCH_MS": str(FIRST_STRETCH_MS),
}
"""The values of `@NAME@` in the scripts, so that each is defined once."""
_REFUSES = {
    "BUSY": "a foreign script runs without end",
    "LOADING": "it reads its data from its disk",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "MISCONF": "it cannot write its data to its disk, and takes no writes until it can (its log says why)",
    "NOREPLICAS": "fewer replicas follow it than its min-replicas-to-write, so it takes no writes",
    "OOM": "its memory is full, so it takes no writes; raise its maxmemory",
    "READONLY": "it is a replica and takes no writes",
    "UNBLOCKED": "it became a replica",
}
"""Errors that pass, or that an operator fixes, by the first word of Redis' text. A command with such an error had no effect."""
_NOT_PRIMARY = ("MASTERDOWN", "NOREPLICAS", "READONLY", "UNBLOCKED")
"""Errors of a server that is no longer the primary; a server that does not know it yet has lost its replicas."""
_CODE = re.compile(r"(?:^|pipeline caused error: )([A-Z]+) ")
_PING_KEY, _PING_KEPT_S = "lookalike:ping", 60


class RedisAccessDenied(Unavailable):
    """Redis refuses the password. The refusal passes, as when passwords are changed."""

    reason = "REDIS_ACCESS_DENIED"


class RedisConnection:
    """A pool of connections to one Redis, or to the server that the Sentinels call the primary. Thread-safe. Every method
    raises `Unavailable` where Redis does not answer, or takes no writes."""

    def __init__(self, access: RedisAccess) -> None:
        options: dict[str, Any] = {
            "decode_responses": True,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": COMMAND_TIMEOUT_S,
            "health_check_interval": 30,
            "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES),
            "retry_on_error": [ConnectionError, TimeoutError],
        }
        self._sentinel: Sentinel | None = None
        if isinstance(access, str):
            self._redis = redis.Redis.from_url(access, **options)
        else:
            self._sentinel = _AskedSentinels(access.addresses, sentinel_kwargs=sentinel_options(access))  # type: ignore[no-untyped-call]
            options.update(db=access.database, username=access.username or None, password=access.password)
            options.update(connection_class=_Following)
            if access.tls:
                options.update(connection_class=_FollowingByTls, **certificate_options(access))
            self._redis = self._sentinel.master_for(access.service, **options)  # type: ignore[no-untyped-call]
        self._scripts: dict[str, Any] = {}

    def run(self, script: str, *arguments: str | int | float) -> Any:
        """Run `lua/{script}.lua` as one transaction and return its result."""
        with self.commands() as client:
            if script not in self._scripts:
                self._scripts[script] = client.register_script(_source(script))
            return self._scripts[script](args=list(arguments))

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """The redis client, for reads of one key. Its errors are translated."""
        try:
            yield self._redis
        except RedisError as error:
            if _code(error) in _NOT_PRIMARY:
                # The Sentinels, the server's name or a proxy lead to the new primary; a kept connection does not.
                self._redis.connection_pool.disconnect(inuse_connections=False)
            raise as_ours(error, "redis") or error from error

    def ping(self) -> None:
        """Raise `Unavailable` unless Redis takes writes: a replica answers too, and so does one whose memory is full."""
        with self.commands() as client:
            client.set(_PING_KEY, "", ex=_PING_KEPT_S)

    def close(self) -> None:
        self._redis.close()
        if self._sentinel is not None:
            self._sentinel.close()


class _AskedSentinels(Sentinel):
    """redis-py's Sentinel, with the reason why there is no primary in one line. It distinguishes a wrong password from a
    Sentinel that is away."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """The primary's host and port, from the first Sentinel that knows it. Raises `MasterNotFoundError`."""
        problems: dict[str, str] = {}
        denied = False
        for client in (asked := tuple(self.sentinels)):
            where = "{host}:{port}".format_map(client.connection_pool.connection_kwargs)
            try:
                state = cast("dict[str, dict[str, Any]]", client.sentinel_masters()).get(service_name)
            except AuthenticationError:
                denied, problems[where] = True, "refuses the password"
            except RedisError as error:
                problems[where] = one_line(error)
            else:
                if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                    # This Sentinel is asked first after this. Other threads still go over the old list.
                    self.sentinels = [client, *(other for other in asked if other is not client)]
                    return state["ip"], state["port"]
                problems[where] = "sees the primary down" if state else "watches no such service"
        said = f"no Sentinel names a primary of {service_name!r}: " + "; ".join(
            f"{where} {problem}" for where, problem in problems.items()
        )
        raise _SentinelsDeny(said) if denied else MasterNotFoundError(said)


class _SentinelsDeny(AuthenticationError):
    """A Sentinel refuses the password; that of the data servers may be right."""


class _Following(SentinelManagedConnection):
    """redis-py's pool, which asks the Sentinels again within one command, and does not return to its old server."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._sock:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class _FollowingByTls(_Following, SSLConnection):
    pass


def sentinel_options(access: Sentinels) -> dict[str, Any]:
    """The options by which redis-py, and Celery through it, connects to a Sentinel. None is tried twice: the next is asked."""
    return {
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "password": access.sentinel_password,
        **({"ssl": True, **certificate_options(access)} if access.tls else {}),
    }


def certificate_options(access: Sentinels) -> dict[str, Any]:
    """The options that make Celery check certificates. Without them it accepts any."""
    return {"ssl_cert_reqs": "required", **({"ssl_ca_certs": str(access.ca_file)} if access.ca_file else {})}


def as_ours(error: BaseException | None, dependency: str) -> LookalikeError | None:
    """The translation of an error of redis; None for another error."""
    if isinstance(error, _SentinelsDeny):
        return RedisAccessDenied(dependency, f"{one_line(error)}; see LOOKALIKE_REDIS_SENTINEL_PASSWORD_FILE")
    if isinstance(error, AuthenticationError):
        return RedisAccessDenied(dependency, "it refuses the password; see LOOKALIKE_REDIS_PASSWORD_FILE")
    if not isinstance(error, RedisError):
        return None
    if (code := _code(error)) in _REFUSES:
        return Unavailable(dependency, f"{_REFUSES[code]} ({code})")
    if isinstance(error, MasterNotFoundError):
        # After " : " redis-py lists each Sentinel's Python objects. The class above, which the ledger uses, says it better.
        return Unavailable(dependency, one_line(error).partition(" : ")[0])
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Unavailable(dependency, one_line(error))
    # A broken script, or a user without the right. The text names commands and keys, never values.
    return Internal(f"{dependency} refused: {one_line(error)}")


def _code(error: RedisError) -> str:
    """The first word of Redis' text. redis-py keeps known words apart, and a transaction puts a text before the word."""
    known = getattr(error, "status_code", None)
    found = _CODE.search(str(error))
    return known or (found[1] if found else "")


@cache
def _source(script: str) -> str:
    folder = resources.files(__package__) / "lua"
    text = "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", script))
    for name, value in _SHARED.items():
        text = text.replace(f"@{name}@", value)
    return text
