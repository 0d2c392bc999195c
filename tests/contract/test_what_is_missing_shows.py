"""A service says in one line what it lacks, and shows it in its health and metrics. It goes on when that is there again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from celery import Celery

from lookalike.artifact_check import ArtifactCheck
from lookalike.artifacts import Artifacts
from lookalike.errors import Unavailable
from lookalike.jobs.queue import CREATE_TASK, QUEUE, transport_options
from lookalike.runtime.environment import read_secret
from lookalike.runtime.probe import problem
from lookalike.runtime.server import LIVENESS
from tests.servers import processes
from tests.servers.redis import RedisServer
from tests.servers.worker import EmbedderProcess, Worker

_NOWHERE = "127.0.0.1:1"


@pytest.fixture
def guarded(redis_url: str) -> Iterator[str]:
    """A Redis that lets in nobody without the password of the user `guarded`: "right"."""
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("guarded", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"], channels=["*"])
        yield redis_url.replace("//", "//guarded@") + "/0"
        client.acl_deluser("guarded")


def dependencies(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:  # a client of httpx takes longer than this
        lines = [line for line in answer.read().decode().splitlines() if "dependency_up{" in line]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_an_indexer_with_a_wrong_password_waits_says_so_once_and_goes_on_with_the_right_one(
    guarded: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    health, metrics = f"127.0.0.1:{processes.free_port()}", processes.free_port()
    more = {
        "REDIS_PASSWORD_FILE": str(password),
        "INDEXER_HEALTH_ADDRESS": health,
        "INDEXER_METRICS_PORT": str(metrics),
    }
    worker = Worker(guarded, f"http://{_NOWHERE}", _NOWHERE, tmp_path, more=more)
    worker.start()
    try:
        processes.until(lambda: "refuses the password" in worker.log.read_text(), "it says what is wrong", timeout_s=60)
        assert (problem(health, LIVENESS), problem(health)) == ("", f"{health} says NOT_SERVING")
        assert dependencies(f"127.0.0.1:{metrics}") == {"redis": 0.0}
        password.write_text("right\n")
        processes.until(
            lambda: dependencies(f"127.0.0.1:{metrics}") == {"redis": 1.0, "milvus": 0.0}, "it goes on", timeout_s=60
        )
        assert worker.log.read_text().count("refuses the password") == 1
        assert problem(health) == f"{health} says NOT_SERVING"
        assert "wrong" not in worker.log.read_text()
        assert worker.stop() == 0, "who waits can be asked to end, also as process 1, which no signal ends by itself"
    finally:
        worker.kill()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_a_gpu_that_is_asked_for_and_absent_is_said_once_and_seen(tmp_path: Path) -> None:
    health = f"127.0.0.1:{processes.free_port()}"
    embedder = EmbedderProcess(tmp_path, more={"EMBEDDER_DEVICE": "gpu", "EMBEDDER_HEALTH_ADDRESS": health})
    process = embedder.launch()
    log = tmp_path / "embedder.log"
    try:
        processes.until(lambda: "dependency=gpu" in log.read_text(), "it says what is missing", timeout_s=60)
        (line,) = (line for line in log.read_text().splitlines() if "dependency=gpu" in line)
        assert "a GPU is asked for, but TensorFlow sees none" in line
        assert (problem(health, LIVENESS), problem(health)) == ("", f"{health} says NOT_SERVING")
        assert dependencies(embedder.metrics_address) == {"gpu": 0.0}
        assert process.poll() is None
        assert embedder.stop() == 0
    finally:
        embedder.kill()


def test_a_wrong_setting_ends_each_service_with_one_line_that_names_it_its_source_and_what_is_allowed(tmp_path: Path) -> None:
    wrong = {"embedder": ("EMBEDDER_DEVICE", "tpu"), "indexer": ("INDEXER_CONCURRENCY", "0"), "gateway": ("REDIS_URL", "redis")}
    started = {
        service: _started(service, tmp_path / f"{service}.log", {setting: value}) for service, (setting, value) in wrong.items()
    }
    for service, (setting, value) in wrong.items():
        assert started[service].wait(60) == 2
        (line,) = (tmp_path / f"{service}.log").read_text().splitlines()
        assert line.startswith(f"lookalike: setting LOOKALIKE_{setting} (from the environment): ")
        assert repr(value) in line
        assert any(word in line for word in ("'auto', 'gpu' or 'cpu'", "greater than or equal to 1", "must be redis://"))


def test_a_secret_that_is_missing_or_empty_ends_it_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, setting = tmp_path / "log", "REDIS_PASSWORD_FILE"
    gateway = _started("gateway", log, {setting: str(tmp_path / "nowhere")})
    assert gateway.wait(60) == 2
    (line,) = log.read_text().splitlines()
    assert "LOOKALIKE_REDIS_PASSWORD_FILE" in line
    assert "cannot be read: No such file or directory" in line

    (tmp_path / "empty").touch()
    with pytest.raises(SystemExit) as ended:
        read_secret(tmp_path / "empty", setting)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "LOOKALIKE_REDIS_PASSWORD_FILE" in line
    assert "is empty" in line


def test_a_full_disk_shows_before_a_job_needs_it(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        check = ArtifactCheck(Artifacts((tmp_path / "artifacts").as_uri()))
        check()
        check = ArtifactCheck(Artifacts((tmp_path / "artifacts").as_uri()))
        _fill(tmp_path / "rest")
        with pytest.raises(Unavailable, match=r"artifacts.*No space left on device"):
            check()
        (tmp_path / "rest").unlink()
        check()
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        check = ArtifactCheck(Artifacts((tmp_path / "artifacts").as_uri()))
        with pytest.raises(Unavailable, match=r"artifacts.*Read-only file system"):
            check()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _started(service: str, log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    env = {**os.environ, **{f"LOOKALIKE_{name}": value for name, value in settings.items()}}
    return processes.start([sys.executable, "-m", service], log, env=env)


def _fill(path: Path) -> None:
    """Take all that the disk has left."""
    with suppress(OSError), path.open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))


def test_a_worker_outlives_a_redis_that_answers_with_errors(
    redis_server: RedisServer, milvus_lite_uri: str, tmp_path: Path
) -> None:
    worker = Worker(f"{redis_server.url}/0", milvus_lite_uri, _NOWHERE, tmp_path)
    worker.start()
    try:
        processes.until(lambda: "celery@" in worker.log.read_text(), "the worker consumes", timeout_s=60)
        with redis.Redis.from_url(redis_server.url) as client:
            # As after a failover; a worker that waits for a message notices.
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            processes.until(
                lambda: "Connection to broker lost" in worker.log.read_text(), "the worker has met it", timeout_s=30
            )
            client.execute_command("REPLICAOF", "NO", "ONE")
        with Celery(broker=f"{redis_server.url}/0", set_as_current=False) as producer:
            producer.conf.broker_transport_options = transport_options()
            producer.send_task("lookalike.create_ingest_jobs", [{"uri": "https://user:secret@host/x"}], queue=QUEUE)
            producer.send_task(CREATE_TASK, [{"request_id": "afterwards"}], queue=QUEUE)
        processes.until(lambda: "afterwards" in worker.log.read_text(), "messages come again", timeout_s=30)
        said = worker.log.read_text()
        assert "Received unregistered task of type 'lookalike.create_ingest_jobs'." in said
        assert "secret" not in said
        assert "Traceback" not in said
        assert worker.stop() == 0
    finally:
        worker.kill()


@pytest.mark.parametrize("service", ["gateway", "indexer", "embedder"])
def test_a_service_that_is_asked_to_stop_while_it_is_still_loading_does(service: str, tmp_path: Path) -> None:
    process = _started(service, tmp_path / "log", {})
    # Also as process 1, which the system spares every signal that it has not asked for: so it asks before it loads anything.
    processes.until(lambda: _catches(process.pid, signal.SIGTERM), "it listens to SIGTERM", timeout_s=60)
    process.terminate()
    assert process.wait(60) == 0
    assert "ready" not in (tmp_path / "log").read_text()


def test_an_embedder_that_is_asked_to_stop_while_it_warms_up_does_not_become_ready_first(tmp_path: Path) -> None:
    embedder = EmbedderProcess(tmp_path)
    process = embedder.launch()
    log = tmp_path / "embedder.log"
    try:
        processes.until(lambda: "warming up" in log.read_text(), "it warms up", timeout_s=120)
        process.terminate()
        assert process.wait(60) == 0
        assert "before=ready" in log.read_text()
        assert "models=['thin']" not in log.read_text(), "it never said that it is ready"
    finally:
        embedder.kill()


def test_artifacts_whose_folder_has_gone_are_missed_and_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    check = ArtifactCheck(Artifacts(folder.as_uri()))
    check()
    shutil.rmtree(folder)
    with pytest.raises(Unavailable, match="is the volume mounted"):
        check()
    assert not folder.exists()
    folder.mkdir()
    check()


def _catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)
