"""The life of the embedder's process: a start that cannot succeed, warming up, serving, and a request to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
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
from tests.servers.processes import free_port, kill, start, stop, until

TIMEOUT_S = 30.0


def process(bundle: Path, **settings: str) -> subprocess.Popen[bytes]:
    """It writes to `said(bundle)`."""
    settings = {"models": str(bundle), **settings}
    environment = {f"LOOKALIKE_EMBEDDER_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "embedder"]
    return start(command, _log(bundle), env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": "-1"})


def said(bundle: Path) -> str:
    return _log(bundle).read_text()


def _log(bundle: Path) -> Path:
    return bundle.with_name("embedder.log")


@pytest.mark.parametrize("damage", ["missing", "weights cut short"])
def test_a_start_that_cannot_succeed_ends_with_one_clear_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "bundle"
    if damage != "missing":
        bundles.save(random_bundle("small"), folder)
    if damage == "weights cut short":
        weights = folder / "weights.npz"
        weights.write_bytes(weights.read_bytes()[:2000])
    assert process(folder, address="127.0.0.1:0").wait(60) == 2
    (line,) = [line for line in said(folder).splitlines() if line.startswith("lookalike:")]
    assert str(folder) in line
    assert "Traceback" not in said(folder)


def test_an_engine_that_is_not_installed_ends_the_start_with_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    bundles.save(random_bundle("small"), bundle)
    (tmp_path / "openvino.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert process(bundle, address="127.0.0.1:0", engine="openvino").wait(60) == 2
    (line,) = [line for line in said(bundle).splitlines() if line.startswith("lookalike:")]
    assert "lookalike[embedder,openvino]" in line
    assert "Traceback" not in said(bundle)


def test_openvino_serves_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: `make test-openvino`")
    bundle = tmp_path / "bundle"
    bundles.save(random_bundle("small"), bundle)
    port, metrics_port = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    server = process(bundle, address=address, metrics_port=str(metrics_port), engine="openvino")
    try:
        with open_channel(address) as channel:
            until_serving(channel)
            stub = rpc.EmbedderServiceStub(channel)
            listed = stub.ListModels(messages.ListModelsRequest(), timeout=TIMEOUT_S)
            request = messages.EmbedRequest(images=[encoded(noise(16, 16))])
            (result,) = stub.Embed(request, timeout=TIMEOUT_S).results
        assert (listed.device, listed.engine) == ("CPU", "openvino")
        assert [len(vector) for vector in result.vectors] == [4 * 256, 4 * 8]
        assert 'lookalike_embedder_engine_info{name="openvino"} 1.0' in metrics(metrics_port)
        assert stop(server) == 0
    finally:
        kill(server)
    assert said(bundle).count('"engine": "openvino"') == 2  # warming up, and ready


def test_asked_to_stop_it_answers_what_it_has_admitted_and_ends_well(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundles.save(random_bundle("small"), bundle)
    port, metrics_port = free_port(), free_port()
    server = process(bundle, address=f"127.0.0.1:{port}", metrics_port=str(metrics_port), batch_images="1")
    try:
        with open_channel(f"127.0.0.1:{port}") as channel:
            until_serving(channel)
            loaded = Path(f"/proc/{server.pid}/maps").read_text()
            assert "/tensorflow/" in loaded
            assert not re.search("/(jaxlib|pandas)/", loaded), "packages that TensorFlow would import, and nothing here uses"
            stub = rpc.EmbedderServiceStub(channel)
            request = messages.EmbedRequest(images=[encoded(noise(16, 16))] * 32, lane=messages.LANE_BULK)
            calls = [stub.Embed.future(request, timeout=TIMEOUT_S) for _ in range(24)]
            until(lambda: admitted(metrics_port) >= 10 * 32, "ten calls are admitted", poll_s=0.01)
            server.send_signal(signal.SIGTERM)
            answered = [call for call in calls if call.exception() is None]
            assert len(answered) >= 10
            # What was on the wire but not yet begun is turned away: by us, or by gRPC itself as CANCELLED.
            turned_away = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            assert {call.code() for call in calls} - {grpc.StatusCode.OK} <= turned_away
            assert server.wait(30) == 0
    finally:
        kill(server)
    events = re.findall(r'"event": "([^"]+)"', said(bundle))
    assert events == ["warming up", "ready", "stopping", "stopped"]
    assert '"device": "CPU"' in said(bundle)


def until_serving(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def serving_now() -> bool:
        try:
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True).status
        except grpc.RpcError:
            return False
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    until(serving_now, "the embedder serves", timeout_s=60)


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
