"""What a service lacks is said in one line, and seen in its health and metrics: it waits, and goes on when it is mended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis

from lookalike.artifact_check import ArtifactCheck
from lookalike.artifacts import Artifacts
from lookalike.errors import Unavailable
from lookalike.jobs.ledger import connect_ledger
from lookalike.runtime.probe import problem
from lookalike.runtime.server import LIVENESS
from tests.servers import processes
from tests.servers.fleet import GatewayProcess
from tests.servers.redis import _program
from tests.servers.worker import Worker

_NOWHERE = "127.0.0.1:1"


@pytest.fixture
def guarded(redis_url: str) -> Iterator[str]:
    """A Redis that lets in nobody without the password of the user `guarded`: "right"."""
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("guarded", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"], channels=["*"])
        yield redis_url.replace("//", "//guarded@") + "/0"
        client.acl_deluser("guarded")


def dependencies(address: str) -> dict[str, float]:
    lines = [line for line in httpx.get(f"http://{address}/metrics").text.splitlines() if "dependency_up{" in line]
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


def test_a_gateway_with_nothing_that_it_needs_lives_and_names_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file in the folder's place")
    gateway = GatewayProcess(f"redis://{_NOWHERE}/0", f"http://{_NOWHERE}", _NOWHERE, tmp_path)
    gateway.start()
    try:
        parts = {"redis", "milvus", "embedder", "artifacts"}
        processes.until(
            lambda: dependencies(gateway.http_address) == dict.fromkeys(parts, 0.0), "it has looked at all", timeout_s=60
        )
        answer = httpx.get(f"{gateway.http_url}/readyz")
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert all(part in answer.text for part in parts)
        assert (problem(gateway.target, LIVENESS), problem(gateway.target)) == ("", f"{gateway.target} says NOT_SERVING")
    finally:
        gateway.kill()


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


def test_a_secret_that_is_missing_or_empty_ends_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    wrong = {"nowhere": "cannot be read: No such file or directory", "empty": "is empty"}
    started = {
        name: _started("gateway", tmp_path / f"{name}.log", {"REDIS_PASSWORD_FILE": str(tmp_path / name)}) for name in wrong
    }
    for name, said in wrong.items():
        assert started[name].wait(60) == 2
        (line,) = (tmp_path / f"{name}.log").read_text().splitlines()
        assert "LOOKALIKE_REDIS_PASSWORD_FILE" in line
        assert said in line


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


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A Redis with TLS whose certificate has expired: its port, and the authority that signed it."""
    folder = tmp_path / "ca"
    folder.mkdir()
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01\n")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=it\n[it]\ndatabase={folder}/index.txt\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        "default_md=sha256\npolicy=any\nx509_extensions=host\n[any]\ncommonName=supplied\n[host]\nsubjectAltName=IP:127.0.0.1\n"
    )
    ca = ["-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=a test's authority", "-days", "2"]
    key = ["-keyout", folder / "key.pem", "-out", folder / "request.pem", "-subj", "/CN=127.0.0.1"]
    sign = [
        "-startdate",
        "20200101000000Z",
        "-enddate",
        "20200201000000Z",
        "-in",
        folder / "request.pem",
        "-out",
        folder / "cert.pem",
    ]
    for command in (
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *ca],
        ["openssl", "req", "-newkey", "rsa:2048", "-nodes", *key],
        [
            "openssl",
            "ca",
            "-batch",
            "-config",
            folder / "ca.cnf",
            "-cert",
            folder / "ca.pem",
            "-keyfile",
            folder / "ca.key",
            *sign,
        ],
    ):
        subprocess.run(command, check=True, capture_output=True)
    port = processes.free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", folder / "cert.pem", "--tls-key-file", folder / "key.pem"]
    options = ["--port", "0", "--bind", "127.0.0.1", "--tls-ca-cert-file", folder / "ca.pem", "--tls-auth-clients", "no"]
    server = processes.start([str(part) for part in (_program(), *tls, *options)], tmp_path / "redis.log")
    processes.until(lambda: "Ready to accept" in (tmp_path / "redis.log").read_text(), "Redis listens")
    yield port, folder / "ca.pem"
    processes.stop(server)


def test_an_expired_certificate_is_named_in_one_line(expired: tuple[int, Path]) -> None:
    port, authority = expired
    with pytest.raises(Unavailable, match=r"redis.*certificate has expired") as refused:
        connect_ledger(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")
    assert "\n" not in refused.value.message
