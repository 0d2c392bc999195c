"""`python -m indexer` and `python -m embedder` as processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import pytest

from embedder.models import bundle as bundles
from embedder.models.bundle import SHIPPED
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.v1 import embedder_service_pb2_grpc as embedder_grpc
from tests.messages import asked_spaces
from tests.servers import processes, starts

LEASE_S = 3.0


@dataclass(slots=True)
class Worker:
    """One worker: `start` it, `kill` it, `start` it again."""

    redis_url: str
    milvus_uri: str
    embedder_target: str
    folder: Path
    """Artifacts, images and logs of the test; also the only root."""
    name: str = "worker"
    more: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def artifacts_url(self) -> str:
        return (self.folder / "artifacts").as_uri()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        settings = {
            "REDIS_URL": self.redis_url,
            "MILVUS_URI": self.milvus_uri,
            "EMBEDDER_TARGET": self.embedder_target,
            "ARTIFACTS_URL": self.artifacts_url,
            "SOURCE_ROOTS": str(self.folder),
            "LOG_FORMAT": "text",
            "INDEXER_LEASE_S": str(LEASE_S),
            "INDEXER_HEARTBEAT_S": "1",
            "INDEXER_TICK_S": "0.3",
            "INDEXER_DRAIN_S": "0.2",
            # Half of what it is in production, so that a job of a few chunks is not done before a test has done all to it.
            "INDEXER_CONCURRENCY": "2",
            **self.more,
        }
        env = {**os.environ, **{f"LOOKALIKE_{name}": value for name, value in settings.items()}}
        self.process = processes.start([sys.executable, "-m", "indexer"], self.log, env=env)

    def kill(self) -> None:
        if self.process is not None:
            processes.kill(self.process)

    def stop(self) -> int:
        return processes.stop(self.process) if self.process is not None else 0


@dataclass(slots=True)
class EmbedderProcess:
    """The real embedder with `models`, on a port of its own: `start` it, `kill` it, `start` it again."""

    folder: Path
    target: str = field(default_factory=lambda: f"127.0.0.1:{processes.free_port()}")
    process: subprocess.Popen[bytes] | None = None
    models: tuple[Path, ...] = ()
    """None: a thin one."""
    more: dict[str, str] = field(default_factory=dict)
    name: str = "embedder"
    metrics_port: int = field(default_factory=processes.free_port)

    @property
    def metrics_address(self) -> str:
        return f"127.0.0.1:{self.metrics_port}"

    def launch(self) -> subprocess.Popen[bytes]:
        """Return at once."""
        settings = {
            "LOG_FORMAT": "text",
            "EMBEDDER_ADDRESS": self.target,
            "EMBEDDER_METRICS_PORT": str(self.metrics_port),
            "EMBEDDER_MODELS": os.pathsep.join(map(str, self.models or (thin_model(self.folder),))),
            **self.more,
        }
        env = {**os.environ, **{f"LOOKALIKE_{name}": value for name, value in settings.items()}}
        self.process = processes.start([sys.executable, "-m", "embedder"], self.folder / f"{self.name}.log", env=env)
        return self.process

    def start(self) -> None:
        """Return once it is warm."""
        if self.process is None or self.process.poll() is not None:
            self.launch()
        with open_channel(self.target) as channel:
            processes.until(lambda: _embeds(channel), "the embedder is warm", timeout_s=120, poll_s=0.2)

    def kill(self) -> None:
        if self.process is not None:
            processes.kill(self.process)

    def stop(self) -> int:
        return processes.stop(self.process) if self.process is not None else 0


_THINNER = {64: 8, 256: 16, 2048: 8 * 16 + 2 * (16 + 16)}
"""Sizes of `fashion`'s weights: filters of its stages, and what the head joins (16 cells of the first, two figures of each)."""


def thin_model(folder: Path) -> Path:
    """The model `thin`, saved below `folder`: `fashion` with few of its filters, for tests that ask for vectors of the usual
    length and not for good ones. A picture costs 0.3 ms of the processor in place of 6."""
    fashion = bundles.load(SHIPPED / "fashion")
    weights = tuple(array[tuple(slice(_THINNER.get(size, size)) for size in array.shape)] for array in fashion.weights)
    tower = replace(fashion.tower, widths=tuple(_THINNER[width] for width in fashion.tower.widths))
    thin = replace(fashion, name="thin", tower=tower, input=replace(fashion.input, mirror=False), weights=weights, metrics={})
    bundles.save(thin, folder / thin.name)
    return folder / thin.name


@pytest.fixture(scope="session")
def shared_embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedderProcess]:
    """A warm embedder for all tests that leave it alive and as it is."""
    embedder = EmbedderProcess(tmp_path_factory.mktemp("embedder"))
    try:
        with starts.once("embedder"):
            embedder.start()
        yield embedder
    finally:
        embedder.stop()


def _embeds(channel: grpc.Channel) -> bool:
    request = embedder_pb2.EmbedRequest(spaces=asked_spaces("histogram"), images=[b"not a picture"])
    try:
        embedder_grpc.EmbedderServiceStub(channel).Embed(request, timeout=5)
    except grpc.RpcError:
        return False
    return True
