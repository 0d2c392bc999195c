"""Milvus for tests, twice: milvus-lite's server, and the real Milvus 2.3.5 of PyPI's package `milvus`.

`milvus_lite_uri`, `milvus_uri` and `store_uri` (each test once on both) start a server on first use; it ends with the test
run, also when the run is killed. Tests that reach the real one get the marker `milvus`, and are skipped where it cannot run.

The real server is started without the package's own launcher: that one leaves the server behind when it is killed itself,
unpacks 200 MB anew for every data folder, and lets the embedded etcd listen on port 2380, so that only one server fits into a
network namespace. With an etcd configuration of its own every port is a free one, and test runs do not meet. (No setting makes
it listen on the loopback only.)
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from lookalike.errors import LookalikeError
from lookalike.local.milvus_lite import lite_server_command
from tests.servers import starts
from tests.servers.processes import free_port, start, stop, until

_UNPACKED = Path(__file__).parents[2] / "build" / "milvus-2.3.5"
_START_TIMEOUT_S = 120.0
_STARTS = 3

_QUICKER = {
    # How often the query coordinator looks for work. An index is in use about 12 s after a flush in place of 17; nothing else
    # that a test could observe changes.
    "  checkInterval: 1000\n": "  checkInterval: 100\n  updateNextTargetInterval: 1\n",
    "  distPullInterval: 500\n": "  distPullInterval: 100\n",
    "  checkHandoffInterval: 5000\n": "  checkHandoffInterval: 500\n",
    # As `deploy/` sets it: after a SIGTERM the one query node waits this long for another to take its segments. There is none,
    # no read is answered meanwhile, and the default is half an hour.
    "  gracefulStopTimeout: 1800 ": "  gracefulStopTimeout: 5 ",
}
_EAGER = {
    # A collection is made in 1-2 s in place of 3.5: the channels of a new one are looked for at once, and 0.2 s after they are
    # found it counts as loaded. An index is looked for at once too, where it was every 10 s.
    "  updateNextTargetInterval: 1\n": "  updateNextTargetInterval: 0.2\n"
    "  checkChannelInterval: 100\n  checkSegmentInterval: 100\n  checkIndexInterval: 200\n",
    "\nindexCoord:\n": "\nindexCoord:\n  scheduler:\n    interval: 100\n",
    # A Strong read waits for the next tick: 0.1 s in place of 0.3. Ticks take 3 % of a core.
    "  timeTickInterval: 200 ": "  timeTickInterval: 100 ",
    # A flush closes no segment before the proxy's leave to write to it has expired: 0.5-1 s in place of 3.
    "    assignmentExpiration: 2000\n": "    assignmentExpiration: 200\n",
}
ETCD = """\
name: default
data-dir: {folder}/data/etcd.data
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
logger: zap
log-outputs: [{folder}/logs/etcd.log]
"""


@dataclass(slots=True)
class LiteServer:
    """A milvus-lite server that a test may stop and start."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = start(lite_server_command(self.folder / "data", self.port), self.folder / "server.log")
        wait_until_it_answers(self.uri, self.process, self.folder / "server.log")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGSTOP:  # which the kernel carries out a moment later, for each thread
            until(lambda: _stands(self.process), "milvus-lite stands still")
        if number == signal.SIGKILL:
            self.process.wait(10)


@pytest.fixture(scope="session")
def milvus_lite_uri() -> Iterator[str]:
    """milvus-lite's server, one for the whole run."""
    with ExitStack() as open_:
        with starts.once("milvus-lite"):
            server = open_.enter_context(lite_server())
        yield server.uri


@pytest.fixture(scope="session")
def lite_to_stop() -> Iterator[LiteServer]:
    """A milvus-lite server that tests stop and start; each leaves it running."""
    with lite_server() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_uri() -> Iterator[str]:
    """The real Milvus 2.3.5, one for the whole run. Ready 3-18 s after its first use."""
    reason = why_no_milvus()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="lookalike-milvus-"))
    server = RealServer(folder)
    try:
        with starts.once("milvus"):
            server.start()
        yield server.uri
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=["lite", pytest.param("milvus", marks=pytest.mark.milvus)])
def store_uri(request: pytest.FixtureRequest) -> str:
    """Each server in turn."""
    uri: str = request.getfixturevalue("milvus_lite_uri" if request.param == "lite" else "milvus_uri")
    return uri


@contextmanager
def lite_server() -> Iterator[LiteServer]:
    """A milvus-lite server of one's own, to stop and start at will."""
    folder = Path(tempfile.mkdtemp(prefix="lookalike-milvus-lite-"))
    server = LiteServer(folder, free_port())
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.process.kill()
            server.process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for the real server by name; `store_uri` marks its own half."""
    for item in items:
        if "milvus_uri" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.milvus)


def why_no_milvus() -> str:
    """Why the real server cannot run here; "" when it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the package milvus has a server for Linux on x86-64 only"
    if importlib.util.find_spec("milvus") is None:
        return "the package milvus (extra [dev]) is not installed"
    return ""


@dataclass(slots=True)
class RealServer:
    """The real Milvus with its data in `folder`; it may be killed, and started again on what it had."""

    folder: Path
    eager: bool = True
    """Whether it looks for work so often that tests wait less (`_EAGER`). Measurements take its own intervals."""
    uri: str = ""
    process: subprocess.Popen[bytes] | None = None
    _run: Path | None = None
    _health_port: int = 0

    def start(self) -> None:
        """Return when it answers. The first start chooses its ports, every later one keeps them."""
        if self._run is not None:
            self._launch()
            return
        for attempt in range(_STARTS):
            self._run = self.folder / str(attempt)
            self._run.mkdir()
            port, self._health_port = _configure(self._run, _QUICKER | _EAGER if self.eager else _QUICKER)
            self.uri = f"http://127.0.0.1:{port}"
            with suppress(ServerDied):  # another process took one of its ports in between
                self._launch()
                return
        raise ServerDied(f"milvus ended {_STARTS} times while starting; its last words:\n{_tail(self._log)}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, timeout_s=60.0)

    @property
    def _log(self) -> Path:
        assert self._run is not None
        return self._run / "logs" / "server.log"

    def _launch(self) -> None:
        binaries = _unpacked()
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health_port),
            "MILVUS_RUN_DIR": str(self._log.parents[1] / "run"),
            "LD_LIBRARY_PATH": str(binaries),
        }
        command = [str(binaries / "milvus"), "run", "standalone"]
        self.process = start(command, self._log, env=environment, folder=self._run)
        try:
            _wait_until_healthy(self._health_port, self.process)
            wait_until_it_answers(self.uri, self.process, self._log)
        except BaseException:
            self.process.kill()
            raise


class ServerDied(Exception):
    """A server process ended before it answered."""


def wait_until_it_answers(uri: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Return when the server at `uri` answers; raise with the end of its log when it has died."""
    from lookalike.store.milvus.connection import connect  # here, so that a run that needs no Milvus does not pay for pymilvus

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            connect(uri, timeout_s=1.0).close()
            return
        except LookalikeError:
            if process.poll() is not None:
                raise ServerDied(_tail(log_path)) from None
            if time.monotonic() > deadline:
                raise


def _stands(process: subprocess.Popen[bytes] | None) -> bool:
    assert process is not None
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return all(thread.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def _unpacked() -> Path:
    """The folder of the server's binaries, unpacked once per checkout: it takes 6 s."""
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    with (_UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        importlib.import_module("milvus")._initialize_data_files(str(_UNPACKED))
    return _UNPACKED / "bin"


def _configure(folder: Path, changes: Mapping[str, str]) -> tuple[int, int]:
    """Write the server's configuration, with these `changes` of its text, below `folder`; its port and the one that shows its
    health."""
    config = importlib.import_module("milvus").MilvusServerConfig(data_dir=str(folder))
    config.update(**{key: free_port() for key in config.configurable_items if key.endswith("_port")})
    config.resolve()
    configs = folder / "configs"
    (configs / "etcd.yaml").write_text(ETCD.format(folder=folder, peer=free_port(), client=config.get("etcd_port")))
    text = (configs / "milvus.yaml").read_text()
    for there, ours in {
        "  data:\n    dir:": f"  config:\n    path: {configs / 'etcd.yaml'}\n  data:\n    dir:",
        **changes,
    }.items():
        assert text.count(there) == 1, f"the configuration template of the package milvus has changed: {there!r}"
        text = text.replace(there, ours)
    (configs / "milvus.yaml").write_text(text)
    return int(config.get("proxy_port")), free_port()


def _wait_until_healthy(health_port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{health_port}/healthz", timeout=5) as answer:
                if b"OK" in answer.read():
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"milvus was not healthy within {_START_TIMEOUT_S:g} s")
        time.sleep(0.1)
    raise ServerDied(f"milvus ended with {process.returncode}")


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:])
