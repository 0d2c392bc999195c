"""Redis and Milvus behind TLS, with a private authority's certificates: used on every path, or what is wrong is said."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery

from lookalike.errors import Unavailable
from lookalike.jobs.ledger import connect_ledger
from lookalike.jobs.queue import CREATE_TASK, QUEUE, TaskQueue, transport_options
from lookalike.runtime.settings import RedisSettings
from lookalike.store.milvus.connection import connect
from tests.servers import processes
from tests.servers.fleet import GatewayProcess
from tests.servers.tls import Certificate, behind_tls, certificate
from tests.servers.worker import Worker

_NOWHERE = "127.0.0.1:1"


@pytest.fixture
def good(tmp_path: Path) -> Certificate:
    return certificate(_folder(tmp_path / "good"))


@pytest.fixture
def expired(tmp_path: Path) -> Certificate:
    return certificate(_folder(tmp_path / "expired"), expired=True)


@pytest.fixture
def tls_settings(redis_db: str, milvus_lite_uri: str, good: Certificate) -> Iterator[dict[str, str]]:
    """Settings for both stores behind TLS."""
    redis, milvus = urlsplit(redis_db), urlsplit(milvus_lite_uri)
    with behind_tls(redis.port or 0, good) as redis_port, behind_tls(milvus.port or 0, good) as milvus_port:
        yield {
            "REDIS_URL": f"rediss://127.0.0.1:{redis_port}{redis.path}",
            "REDIS_CA_FILE": str(good.authority),
            "MILVUS_URI": f"https://127.0.0.1:{milvus_port}",
            "MILVUS_CA_FILE": str(good.authority),
        }


def up(address: str) -> dict[str, float]:
    """`lookalike_dependency_up` by dependency."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:  # a client of httpx takes longer than this
        lines = [line for line in answer.read().decode().splitlines() if "dependency_up{" in line]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_worker_reaches_both_by_tls_and_gets_its_messages(tls_settings: dict[str, str], tmp_path: Path) -> None:
    metrics = processes.free_port()
    worker = Worker("", "", _NOWHERE, tmp_path, more={**tls_settings, "INDEXER_METRICS_PORT": str(metrics)})
    worker.start()
    try:
        processes.until(lambda: "ready" in worker.log.read_text(), "the worker consumes", timeout_s=60)
        settings = RedisSettings(redis_url=tls_settings["REDIS_URL"], redis_ca_file=Path(tls_settings["REDIS_CA_FILE"]))
        with Celery(broker=settings.redis_access, set_as_current=False) as producer:
            producer.conf.broker_transport_options = transport_options()
            producer.send_task(CREATE_TASK, [{"request_id": "by-tls"}], queue=QUEUE)
        processes.until(lambda: "by-tls" in worker.log.read_text(), "the message has come", timeout_s=30)
        assert up(f"127.0.0.1:{metrics}") == {"redis": 1, "milvus": 1, "embedder": 0, "artifacts": 1}
    finally:
        worker.kill()


def test_a_gateway_reaches_both_by_tls(tls_settings: dict[str, str], tmp_path: Path) -> None:
    gateway = GatewayProcess("", "", _NOWHERE, tmp_path, more=tls_settings)
    gateway.start()
    try:
        expected = {"redis": 1, "milvus": 1, "embedder": 0, "artifacts": 1}
        processes.until(lambda: up(gateway.http_address) == expected, "it has looked at all", timeout_s=60)
    finally:
        gateway.kill()


def test_a_worker_waits_while_a_certificate_has_expired_and_says_so(
    redis_db: str, milvus_lite_uri: str, expired: Certificate, tmp_path: Path
) -> None:
    metrics = processes.free_port()
    with behind_tls(urlsplit(milvus_lite_uri).port or 0, expired) as port:
        more = {"MILVUS_CA_FILE": str(expired.authority), "INDEXER_METRICS_PORT": str(metrics)}
        worker = Worker(redis_db, f"https://127.0.0.1:{port}", _NOWHERE, tmp_path, more=more)
        worker.start()
        try:
            processes.until(lambda: "waiting" in worker.log.read_text(), "it says what is wrong", timeout_s=60)
            (line,) = (line for line in worker.log.read_text().splitlines() if "waiting" in line)
            assert f"https://127.0.0.1:{port}: its certificate is not trusted: certificate has expired" in line
            assert up(f"127.0.0.1:{metrics}") == {"redis": 1, "milvus": 0}
            assert worker.process is not None
            assert worker.process.poll() is None
        finally:
            worker.kill()


def test_an_expired_certificate_of_redis_is_named_in_one_line(redis_db: str, expired: Certificate) -> None:
    redis = urlsplit(redis_db)
    with behind_tls(redis.port or 0, expired) as port:
        settings = RedisSettings(redis_url=f"rediss://127.0.0.1:{port}{redis.path}", redis_ca_file=expired.authority)
        with pytest.raises(Unavailable, match=r"redis.*certificate has expired") as refused:
            connect_ledger(settings.redis_access)
    assert "\n" not in refused.value.message


def test_an_authority_that_is_not_named_is_not_believed(redis_db: str, milvus_lite_uri: str, good: Certificate) -> None:
    redis, milvus = urlsplit(redis_db), urlsplit(milvus_lite_uri)
    with behind_tls(redis.port or 0, good) as redis_port, behind_tls(milvus.port or 0, good) as milvus_port:
        settings = RedisSettings(redis_url=f"rediss://127.0.0.1:{redis_port}{redis.path}")
        with pytest.raises(Unavailable, match=r"redis.*local issuer"):
            connect_ledger(settings.redis_access)
        with pytest.raises(Unavailable, match=r"broker.*local issuer"):
            TaskQueue(settings.redis_access).send_plan("job")
        with pytest.raises(Unavailable, match=r"milvus.*local issuer"):
            connect(f"https://127.0.0.1:{milvus_port}", timeout_s=5)


def test_a_milvus_that_speaks_no_tls_differs_from_one_that_is_down(milvus_lite_uri: str) -> None:
    with pytest.raises(Unavailable, match="does not speak TLS"):
        connect(milvus_lite_uri.replace("http:", "https:"), timeout_s=5)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
