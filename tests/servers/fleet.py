"""The whole system as separate processes that a test may kill and start again: Redis, Milvus, embedder, workers, gateway.

Unlike `stack`, nothing watches over the parts: what a test kills stays dead until it starts it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol

from lookalike.client import Client
from tests.servers import processes
from tests.servers.redis import RedisServer
from tests.servers.worker import EmbedderProcess, Worker


class Part(Protocol):
    """What can be ended and started again."""

    def start(self) -> None:
        """Return when it can be used."""

    def kill(self) -> None:
        """SIGKILL."""

    def stop(self) -> object:
        """SIGTERM, and wait for its end."""


@dataclass(slots=True)
class GatewayProcess:
    """`python -m gateway` on two ports of its own."""

    redis_url: str
    milvus_uri: str
    embedder_target: str
    folder: Path
    """Artifacts and images of the test; also the only root."""
    target: str = field(default_factory=lambda: f"127.0.0.1:{processes.free_port()}")
    http_address: str = field(default_factory=lambda: f"127.0.0.1:{processes.free_port()}")
    process: subprocess.Popen[bytes] | None = None
    name: str = "gateway"
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics_address(self) -> str:
        return self.http_address

    @property
    def http_url(self) -> str:
        return f"http://{self.http_address}"

    def launch(self) -> None:
        """Return at once."""
        settings = {
            "REDIS_URL": self.redis_url,
            "MILVUS_URI": self.milvus_uri,
            "EMBEDDER_TARGET": self.embedder_target,
            "ARTIFACTS_URL": (self.folder / "artifacts").as_uri(),
            "SOURCE_ROOTS": str(self.folder),
            "GATEWAY_GRPC_ADDRESS": self.target,
            "GATEWAY_HTTP_ADDRESS": self.http_address,
            "LOG_FORMAT": "text",
            **self.more,
        }
        env = {**os.environ, **{f"LOOKALIKE_{name}": value for name, value in settings.items()}}
        self.process = processes.start([sys.executable, "-m", "gateway"], self.folder / f"{self.name}.log", env=env)

    def start(self) -> None:
        """Return once it answers; what it needs may be away still."""
        if self.process is None or self.process.poll() is not None:
            self.launch()
        processes.until(lambda: self.answers("/healthz"), "the gateway answers /healthz", timeout_s=120)

    def kill(self) -> None:
        if self.process is not None:
            processes.kill(self.process)

    def stop(self) -> int:
        return processes.stop(self.process) if self.process is not None else 0

    def answers(self, probe: str) -> bool:
        """Whether the gateway answers /healthz or /readyz with yes."""
        with closing(HTTPConnection(self.http_address, timeout=5.0)) as connection:  # httpx takes 25 ms to be made, each time
            try:
                connection.request("GET", probe)
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False


@dataclass(frozen=True)
class Fleet:
    """Everything running; `folder` holds artifacts, images and logs, and jobs may read from it."""

    folder: Path
    milvus_uri: str
    redis: RedisServer
    embedders: tuple[EmbedderProcess, ...]
    gateways: tuple[GatewayProcess, ...]
    workers: tuple[Worker, ...]

    @property
    def embedder(self) -> EmbedderProcess:
        return self.embedders[0]

    @property
    def gateway(self) -> GatewayProcess:
        return self.gateways[0]

    def client(self) -> Client:
        """A client of all gateways; close it."""
        return Client(together(gateway.target for gateway in self.gateways))

    def log(self) -> str:
        """The end of every part's log."""
        parts = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in parts)


@contextmanager
def fleet(
    folder: Path,
    milvus_uri: str,
    *,
    workers: int = 1,
    embedders: int = 1,
    gateways: int = 1,
    shared: EmbedderProcess | None = None,
    models: tuple[Path, ...] = (),
    worker_settings: Mapping[str, str] | None = None,
    launched: Callable[[int], object] = lambda _: None,
) -> Iterator[Fleet]:
    """A fleet in `folder` on a Milvus that runs already, and a Redis that forces every write to the disk.

    `shared` takes the place of embedders of the fleet's own, and is alive afterwards. Without `models` they have a thin one.
    `worker_settings` go before what `Worker` sets for tests, in which everything is to happen soon.
    `launched` hears of each embedder's process, by its id, before it holds much memory.
    """
    (folder / "redis").mkdir(parents=True)
    redis = RedisServer(folder / "redis", fsync="always")
    own = () if shared else tuple(EmbedderProcess(folder, models=models, name=name) for name in _names("embedder", embedders))
    eyes = (shared,) if shared else own
    url, target = f"{redis.url}/0", together(eye.target for eye in eyes)
    doors = tuple(GatewayProcess(url, milvus_uri, target, folder, name=name) for name in _names("gateway", gateways))
    more = dict(worker_settings or {})
    hands = tuple(Worker(url, milvus_uri, target, folder, f"worker{n}", more) for n in range(1, workers + 1))
    with ExitStack() as started:
        parts: tuple[Part, ...] = (redis, *own, *doors, *hands)
        for part in parts:
            started.callback(part.kill)
        for eye in own:
            launched(eye.launch().pid)  # side by side: it takes them most of the time
        redis.start()
        for hand in hands:
            hand.start()
        for door in doors:
            door.launch()
        for eye in own:
            eye.start()
        for door in doors:
            door.start()
        for door in doors:
            processes.until(partial(door.answers, "/readyz"), f"{door.name} has reached all that it needs", timeout_s=120)
        yield Fleet(folder, milvus_uri, redis, eyes, doors, hands)


def together(targets: Iterable[str]) -> str:
    """One gRPC target for several `127.0.0.1:PORT`; clients spread calls over them as over the addresses of a DNS name."""
    several = list(targets)
    return several[0] if len(several) == 1 else f"ipv4:{','.join(several)}"


def _names(part: str, count: int) -> list[str]:
    return [part] if count == 1 else [f"{part}{number}" for number in range(1, count + 1)]
