"""Rows of a start: how long until READY and how much memory, beside a process that only imports TensorFlow and loads the tower.

Both are started in turn, each in a process of its own, with the photo tower alone. The memory is resident memory at the moment
of READY, when every batch size has been run, and of the other process when its tower is loaded.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedder.models.bundle import SHIPPED
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from tests.bench import callers
from tests.bench.inputs import photographs
from tests.bench.rows import Findings
from tests.bench.scales import Scale
from tests.messages import asked_spaces
from tests.servers import processes
from tests.servers.worker import EmbedderProcess

PHOTO = SHIPPED / "photo"
_READY_TIMEOUT_S = 180.0
_POLL_S = 0.01
_MIB = 2**20

_ALONE = """
import os, signal, sys
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from pathlib import Path
import tensorflow
from embedder.models.bundle import load
from tests.messages import asked_spaces
from embedder.models.model import Model
model = Model(load(Path(sys.argv[1])))
Path(sys.argv[2]).touch()
signal.pause()
"""


def measure(scale: Scale, findings: Findings) -> None:
    ours: list[tuple[float, float]] = []
    limit: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as name:
        for number in range(scale.starts):
            ours.append(start_embedder(Path(name), findings if number == scale.starts - 1 else None))
            limit.append(load_alone(Path(name) / f"loaded-{number}"))
    findings.add("ready", (start[0] for start in ours), (start[0] for start in limit))
    findings.add("memory", (start[1] for start in ours), (start[1] for start in limit))


def start_embedder(folder: Path, findings: Findings | None) -> tuple[float, float]:
    """Seconds from its start to READY, and MiB then. With `findings` it is also asked for full batches, and noted what it takes
    after that."""
    embedder = EmbedderProcess(folder, models=(PHOTO,))
    begun_s = time.perf_counter()
    process = embedder.launch()
    try:
        # A channel that was refused once waits before it tries again: that would count as ours.
        processes.until(lambda: _listens(embedder.target, process), "it listens", timeout_s=_READY_TIMEOUT_S, poll_s=_POLL_S)
        with open_channel(embedder.target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            processes.until(lambda: _serves(health), "READY", timeout_s=_READY_TIMEOUT_S, poll_s=_POLL_S)
        ready_s = time.perf_counter() - begun_s
        ready_mib = psutil.Process(process.pid).memory_info().rss / _MIB
        if findings is not None:
            busy_mib = _after_work_mib(embedder.target, process.pid)
            findings.note(f"embedder's resident memory: {ready_mib:.0f} MiB at READY, {busy_mib:.0f} MiB after full batches")
        return ready_s, ready_mib
    finally:
        embedder.kill()


def load_alone(loaded: Path) -> tuple[float, float]:
    """Seconds from the start of a process until TensorFlow is imported and the tower loaded, and MiB then."""
    begun_s = time.perf_counter()
    process = processes.start([sys.executable, "-c", _ALONE, str(PHOTO), str(loaded)], loaded.with_suffix(".log"))
    try:
        processes.until(loaded.exists, "the tower is loaded", timeout_s=_READY_TIMEOUT_S, poll_s=_POLL_S)
        return time.perf_counter() - begun_s, psutil.Process(process.pid).memory_info().rss / _MIB
    finally:
        processes.kill(process)


def _after_work_mib(target: str, pid: int) -> float:
    request = embedder_pb2.EmbedRequest(
        spaces=asked_spaces(model="photo"), images=photographs(32, 640, 480)
    ).SerializeToString()
    with callers.raw(target, callers.EMBED) as embed:
        for _ in range(4):
            embed(request)
    return float(psutil.Process(pid).memory_info().rss) / _MIB


def _listens(target: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the embedder ended while it was starting"
    host, _, port = target.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _serves(health: health_pb2_grpc.HealthStub) -> bool:
    status = health.Check(health_pb2.HealthCheckRequest(), timeout=5.0, wait_for_ready=True).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)
