"""`python -m gateway` as a process: what it says while nothing it needs is there, how it ends, how it refuses to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike.runtime.channels import open_channel
from lookalike.runtime.probe import problem
from lookalike.runtime.server import LIVENESS
from tests.servers.processes import free_port, kill, start, stop, until

NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Alone:
    """A gateway whose Milvus, Redis and embedder do not exist."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    grpc_target: str
    log: Path


def environment(folder: Path, **settings: str) -> dict[str, str]:
    ours = {
        "LOOKALIKE_MILVUS_URI": f"http://{NOWHERE}",
        "LOOKALIKE_REDIS_URL": f"redis://{NOWHERE}/0",
        "LOOKALIKE_EMBEDDER_TARGET": NOWHERE,
        "LOOKALIKE_ARTIFACTS_URL": (folder / "artifacts").as_uri(),
        "LOOKALIKE_GATEWAY_READY_INTERVAL_S": "0.2",
        **settings,
    }
    return {**os.environ, **ours}


@contextmanager
def running(folder: Path) -> Iterator[Alone]:
    (folder / "artifacts").write_text("a file in the folder's place")
    grpc_target, http_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {"LOOKALIKE_GATEWAY_GRPC_ADDRESS": grpc_target, "LOOKALIKE_GATEWAY_HTTP_ADDRESS": http_address}
    log = folder / "gateway.log"
    process = start([sys.executable, "-m", "gateway"], log, env=environment(folder, **settings))
    try:
        with httpx.Client(base_url=f"http://{http_address}", timeout=10.0) as client:
            until(lambda: _lives(client), "the gateway answers /healthz", timeout_s=120)
            yield Alone(process, client, grpc_target, log)
    finally:
        kill(process)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """A gateway for tests that leave it as it is, and for the last one, which ends it."""
    with running(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


# First, since the gateway looks for its Milvus meanwhile.
def test_a_port_in_use_is_one_clear_line(alone: Alone, tmp_path: Path) -> None:
    settings = {"LOOKALIKE_GATEWAY_GRPC_ADDRESS": alone.grpc_target, "LOOKALIKE_GATEWAY_HTTP_ADDRESS": "127.0.0.1:0"}
    second = subprocess.run(
        [sys.executable, "-m", "gateway"], env=environment(tmp_path, **settings), capture_output=True, timeout=60, check=False
    )
    assert second.returncode == 1
    assert alone.grpc_target.encode() in second.stderr
    assert b"Traceback" not in second.stderr


def test_the_gateway_lives_but_is_not_ready_and_names_what_is_missing(alone: Alone) -> None:
    def all_looked_at() -> bool:
        missing = alone.http.get("/readyz").json()["missing"]
        return set(missing) == parts and "not looked at yet" not in missing.values()

    parts = {"milvus", "redis", "embedder", "artifacts"}
    until(all_looked_at, "all four are named as missing")
    lines = alone.http.get("/metrics").text.splitlines()
    up = {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines if "dependency_up{" in line}
    assert up == dict.fromkeys(parts, 0.0)
    assert problem(alone.grpc_target, LIVENESS) == ""
    assert alone.http.get("/readyz").status_code == 503
    with open_channel(alone.grpc_target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10.0)
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_what_cannot_be_done_is_unavailable_with_a_time_to_come_back(alone: Alone) -> None:
    response = alone.http.get("/v1/collections")
    error = response.json()["error"]
    assert (response.status_code, error["status"], error["metadata"]["dependency"]) == (503, "UNAVAILABLE", "milvus")
    assert int(response.headers["retry-after"]) >= 1
    assert alone.http.get("/v1/ingest-jobs").json()["error"]["metadata"]["dependency"] == "redis"


def test_sigterm_ends_it_in_order(alone: Alone) -> None:
    alone.process.send_signal(signal.SIGTERM)
    assert stop(alone.process) == 0
    assert "Traceback" not in alone.log.read_text()


def _lives(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False
