"""A Redis that fails over: two servers, and a Sentinel that watches them. Needs Debian's redis-server.

One Sentinel decides alone and after a second, so that tests are quick. The real thing has three.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.servers import processes
from tests.servers.redis import NO_RETRY, RedisServer

SERVICE = "lookalike"
_DOWN_AFTER_MS = 1000
"""On a busy machine a process may well stand still for half of this."""
_CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {service} 127.0.0.1 {primary} 1
sentinel down-after-milliseconds {service} {down_after_ms}
sentinel failover-timeout {service} 3000
"""


class SentinelServer:
    """Watches the server on `primary_port` by its `password`, and asks for `own_password`, where they are given."""

    def __init__(
        self,
        folder: Path,
        primary_port: int,
        *,
        password: str = "",
        own_password: str = "",
        down_after_ms: int = _DOWN_AFTER_MS,
    ) -> None:
        if not shutil.which("redis-server"):
            pytest.skip("needs redis-server, which is its own Sentinel")
        self.port = processes.free_port()
        self._folder, self._own_password = folder, own_password
        self._process: subprocess.Popen[bytes] | None = None
        settings = _CONFIGURATION.format(
            port=self.port, folder=folder, service=SERVICE, primary=primary_port, down_after_ms=down_after_ms
        )
        if password:
            settings += f"sentinel auth-pass {SERVICE} {password}\n"
        if own_password:
            settings += f"requirepass {own_password}\n"
        # A Sentinel writes there what it learns.
        self._configuration = folder / "sentinel.conf"
        self._configuration.write_text(settings)

    def start(self) -> None:
        command = ["redis-server", str(self._configuration), "--sentinel"]
        self._process = processes.start(command, self._folder / "sentinel.log")
        processes.until(self._answers, "the Sentinel answers")

    def kill(self) -> None:
        if self._process is not None:
            processes.kill(self._process)

    def connect(self) -> redis.Redis:
        return redis.Redis(
            port=self.port, password=self._own_password or None, socket_timeout=5, retry=NO_RETRY, decode_responses=True
        )

    def primary_port(self) -> int:
        """As it sees it."""
        with self.connect() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def replicas(self) -> int:
        """As many as it has found."""
        with self.connect() as client:
            return len(client.execute_command("SENTINEL", "REPLICAS", SERVICE))

    def _answers(self) -> bool:
        try:
            with self.connect() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class WatchedRedis:
    """`primary` and `replica` keep their names when they change places. The servers ask for `password`, the Sentinel for
    `sentinel_password`, where they are given."""

    def __init__(self, folder: Path, *, password: str = "", sentinel_password: str = "") -> None:
        self._folder, self._password = folder, password
        self.primary = self._server("primary", {})
        self.replica = self._server("replica", {"replicaof": f"127.0.0.1 {self.primary.port}"})
        self.sentinel = SentinelServer(folder, self.primary.port, password=password, own_password=sentinel_password)

    @property
    def url(self) -> str:
        """As `LOOKALIKE_REDIS_URL` takes it, without passwords. The first of its Sentinels is away."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/{SERVICE}/0"

    def start(self) -> None:
        """Return when it could fail over without loss."""
        for server in (self.primary, self.replica, self.sentinel):
            server.start()
        processes.until(lambda: self.sentinel.replicas() == 1, "the Sentinel has found the replica")
        self.replicated()

    def replicated(self) -> None:
        """Return when the replica has all that the primary has: replication does not wait."""
        with self.connect(self.primary) as client:
            processes.until(lambda: client.execute_command("WAIT", 1, 1000) == 1, "the replica follows")

    def change_places(self) -> None:
        """As for maintenance. Return when the Sentinel names the other; the former primary hears of it ten seconds later."""
        with self.sentinel.connect() as client:
            # For a second the Sentinel knows too little of a replica that it has just found to take it.
            processes.until(lambda: _done(client, "SENTINEL", "FAILOVER", SERVICE), "the Sentinel would have the replica")
        processes.until(lambda: self.sentinel.primary_port() == self.replica.port, "they have changed places")

    def connect(self, server: RedisServer) -> redis.Redis:
        return redis.Redis(port=server.port, password=self._password or None, socket_timeout=5, decode_responses=True)

    def stop(self) -> None:
        for server in (self.sentinel, self.primary, self.replica):
            server.kill()

    def _server(self, name: str, more: dict[str, str]) -> RedisServer:
        folder = self._folder / name
        folder.mkdir()
        secrets = {"requirepass": self._password, "masterauth": self._password} if self._password else {}
        # By default a primary waits five seconds for more replicas to come.
        return RedisServer(folder, more={"repl-diskless-sync-delay": "0", **secrets, **more})


def _done(client: redis.Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except redis.ResponseError:
        return False
    return True


@contextmanager
def watched_redis(folder: Path, *, password: str = "", sentinel_password: str = "") -> Iterator[WatchedRedis]:
    folder.mkdir()
    watched = WatchedRedis(folder, password=password, sentinel_password=sentinel_password)
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()
