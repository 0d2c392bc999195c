"""The life of the embedder's process: a start that cannot succeed, warming up, serving, and being told to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedder.models import bundle as bundles
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from tests.pictures.made_pictures import encoded, noise
from tests.servers.embedder import random_bundle

TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def process(models: str, **settings: str) -> subprocess.Popen[str]:
    environment = {f"LOOKALIKE_EMBEDDER_{name.upper()}": value for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "embedder"],
        env={**os.environ, **environment, "LOOKALIKE_EMBEDDER_MODELS": models, "CUDA_VISIBLE_DEVICES": "-1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("damage", ["missing", "weights cut short"])
def test_a_start_that_cannot_succeed_ends_with_one_clear_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "bundle"
    if damage != "missing":
        bundles.save(random_bundle("small"), folder)
    if damage == "weights cut short":
        weights = folder / "weights.npz"
        weights.write_bytes(weights.read_bytes()[:2000])
    server = process(str(folder), address="127.0.0.1:0")
    _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    (line,) = [line for line in said.splitlines() if line.startswith("lookalike:")]
    assert str(folder) in line
    assert "Traceback" not in said


def test_an_engine_that_is_not_installed_ends_the_start_with_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.save(random_bundle("small"), tmp_path / "bundle")
    (tmp_path / "openvino.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    server = process(str(tmp_path / "bundle"), address="127.0.0.1:0", engine="openvino")
    _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    (line,) = [line for line in said.splitlines() if line.startswith("lookalike:")]
    assert "lookalike[embedder,openvino]" in line
    assert "Traceback" not in said


def test_openvino_serves_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: `make test-openvino`")
    bundles.save(random_bundle("small"), tmp_path / "bundle")
    port, metrics_port = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    server = process(str(tmp_path / "bundle"), address=address, metrics_port=str(metrics_port), engine="openvino")
    try:
        with open_channel(address) as channel:
            until_serving(channel)
            stub = rpc.EmbedderServiceStub(channel)
            listed = stub.ListModels(messages.ListModelsRequest(), timeout=TIMEOUT_S)
            request = messages.EmbedRequest(model="small", images=[encoded(noise(16, 16))])
            (result,) = stub.Embed(request, timeout=TIMEOUT_S).results
        assert (listed.device, listed.engine) == ("CPU", "openvino")
        assert [len(vector) for vector in result.vectors] == [4 * 256, 4 * 8]
        assert 'lookalike_embedder_engine_info{name="openvino"} 1.0' in metrics(metrics_port)
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0
    assert said.count('"engine": "openvino"') == 2  # warming up, and ready


def test_told_to_stop_it_answers_what_it_has_admitted_and_ends_well(tmp_path: Path) -> None:
    bundles.save(random_bundle("small"), tmp_path / "bundle")
    port, metrics_port = free_port(), free_port()
    server = process(str(tmp_path / "bundle"), address=f"127.0.0.1:{port}", metrics_port=str(metrics_port), batch_images="1")
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(server.stderr or ()))
    reader.start()
    try:
        with open_channel(f"127.0.0.1:{port}") as channel:
            until_serving(channel)
            stub = rpc.EmbedderServiceStub(channel)
            request = messages.EmbedRequest(model="small", images=[encoded(noise(16, 16))] * 32, lane=messages.LANE_BULK)
            calls = [stub.Embed.future(request, timeout=TIMEOUT_S) for _ in range(24)]
            poll(lambda: admitted(metrics_port) >= 10 * 32)
            server.send_signal(signal.SIGTERM)
            answered = [call for call in calls if call.exception() is None]
            assert len(answered) >= 10
            # What was on the wire but not yet begun is turned away: by us, or by gRPC itself as CANCELLED.
            turned_away = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            assert {call.code() for call in calls} - {grpc.StatusCode.OK} <= turned_away
            assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
        reader.join()
    events = re.findall(r'"event": "([^"]+)"', "".join(log))
    assert events == ["warming up", "ready", "stopping", "stopped"]
    assert '"device": "CPU"' in "".join(log)


def until_serving(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def serving_now() -> bool:
        try:
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True).status
        except grpc.RpcError:
            return False
        return status == health_pb2.HealthCheckResponse.SERVING

    poll(serving_now)


def admitted(metrics_port: int) -> float:
    text = metrics(metrics_port)
    assert 'lookalike_embedder_device_info{kind="CPU",name="CPU"} 1.0' in text
    assert 'lookalike_embedder_engine_info{name="tensorflow"} 1.0' in text
    found = re.search(r'lookalike_embedder_admitted_images\{lane="bulk"\} (\S+)', text)
    return float(found[1]) if found else 0.0


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def poll(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s, "did not happen in time"
        threading.Event().wait(0.01)
