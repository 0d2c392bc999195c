"""A Redis that Sentinels watch over fails over by itself: ledger, producers and workers follow the primary."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from lookalike.errors import Unavailable
from lookalike.jobs.connection import RedisAccessDenied
from lookalike.jobs.ledger import connect_ledger
from lookalike.jobs.queue import CREATE_TASK, PLAN_TASK, QUEUE, TaskQueue, broker_settings
from lookalike.runtime.redis_access import Sentinels, read_sentinel_url
from lookalike.runtime.settings import RedisSettings
from tests.contract.ledger_jobs import SOURCE
from tests.servers import processes
from tests.servers.sentinel import SERVICE, SentinelServer, WatchedRedis, watched_redis
from tests.servers.tls import behind_tls, certificate
from tests.servers.worker import Worker

_NOWHERE = "127.0.0.1:1"
_PASSWORD = "p@ss;word/"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    with watched_redis(tmp_path / "redis") as started:
        yield started


def test_the_ledger_and_its_messages_go_on_at_the_new_primary_after_the_old_one_was_killed(watched: WatchedRedis) -> None:
    access = read_sentinel_url(watched.url)
    ledger, queue = connect_ledger(access), TaskQueue(access)
    job, _ = ledger.create("products", "uid", SOURCE, "before")
    queue.send_plan("before")
    watched.replicated()
    watched.primary.kill()
    refused = _until_it_goes_on(lambda: ledger.create("products", "uid", SOURCE, "after"))
    assert refused, "somebody notices"
    assert ledger.get(job.id) == job
    _until_it_goes_on(lambda: queue.send_plan("after"))
    with watched.connect(watched.replica) as client:
        assert client.llen("lookalike:celery:lookalike.first") == 2
    queue.close()
    ledger.close()


def test_a_frozen_primary_is_left_too(watched: WatchedRedis) -> None:
    ledger = connect_ledger(read_sentinel_url(watched.url))
    os.kill(watched.primary.pid, signal.SIGSTOP)
    _until_it_goes_on(lambda: ledger.take_revision("products"))
    ledger.close()


def test_a_primary_that_has_lost_its_place_is_left_before_it_knows(watched: WatchedRedis) -> None:
    access = read_sentinel_url(watched.url)
    ledger, queue = connect_ledger(access), TaskQueue(access)
    queue.send_plan("before")
    watched.replicated()
    with watched.connect(watched.primary) as client:
        client.config_set("min-replicas-to-write", 1)
    watched.change_places()
    _until_it_goes_on(lambda: ledger.create("products", "uid", SOURCE, "after"))
    _until_it_goes_on(lambda: queue.send_plan("after"))
    with watched.connect(watched.replica) as client:
        assert client.exists("lookalike:request:after")
        assert client.llen("lookalike:celery:lookalike.first") == 2
    queue.close()
    ledger.close()


def test_a_worker_waits_for_a_sentinel_and_gets_its_messages_at_the_new_primary(
    watched: WatchedRedis, milvus_lite_uri: str, tmp_path: Path
) -> None:
    watched.sentinel.kill()
    worker = Worker(watched.url, milvus_lite_uri, _NOWHERE, tmp_path)
    worker.start()
    try:
        processes.until(lambda: "no Sentinel names a primary" in worker.log.read_text(), "it says what it lacks", timeout_s=60)
        (line,) = (line for line in worker.log.read_text().splitlines() if "waiting" in line)
        assert "dependency=redis" in line
        watched.sentinel.start()
        processes.until(lambda: "concurrency=" in worker.log.read_text(), "it works", timeout_s=60)
        _send_until_it_comes(watched, worker, "before-the-failover")
        watched.primary.kill()
        _send_until_it_comes(watched, worker, "after-the-failover")
        assert worker.process is not None
        assert worker.process.poll() is None, "it is the same process"
    finally:
        worker.kill()


class TestWithPasswords:
    @pytest.fixture(scope="class")
    def guarded(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRedis]:
        with watched_redis(tmp_path_factory.mktemp("guarded") / "redis", password=_PASSWORD, sentinel_password="s") as started:
            yield started

    @staticmethod
    def access(guarded: WatchedRedis, folder: Path, password: str, sentinel_password: str) -> Sentinels:
        files = {"redis_password_file": password, "redis_sentinel_password_file": sentinel_password}
        for name, content in files.items():
            (folder / name).write_text(content)
        given: dict[str, Any] = {name: folder / name for name in files}
        access = RedisSettings(redis_url=guarded.url, **given).redis_access
        assert isinstance(access, Sentinels)
        return access

    def test_redis_and_the_sentinels_have_one_each(self, guarded: WatchedRedis, tmp_path: Path) -> None:
        access = self.access(guarded, tmp_path, _PASSWORD, "s")
        ledger, queue = connect_ledger(access), TaskQueue(access)
        ledger.take_revision("products")
        queue.send_plan("job")
        queue.close()
        ledger.close()

    @pytest.mark.parametrize(
        ("password", "sentinel_password", "named"),
        [("wrong", "s", "LOOKALIKE_REDIS_PASSWORD_FILE"), (_PASSWORD, "wrong", "LOOKALIKE_REDIS_SENTINEL_PASSWORD_FILE")],
    )
    def test_a_wrong_one_is_named(
        self, guarded: WatchedRedis, tmp_path: Path, password: str, sentinel_password: str, named: str
    ) -> None:
        access = self.access(guarded, tmp_path, password, sentinel_password)
        with pytest.raises(RedisAccessDenied, match=f"refuses the password.*see {named}") as refused:
            connect_ledger(access)
        assert refused.value.reason == "REDIS_ACCESS_DENIED"
        assert "wrong" not in refused.value.message

    def test_a_service_that_no_sentinel_watches_is_said(self, guarded: WatchedRedis, tmp_path: Path) -> None:
        access = replace(self.access(guarded, tmp_path, _PASSWORD, "s"), service="another")
        with pytest.raises(Unavailable, match=f"127.0.0.1:{guarded.sentinel.port} watches no such service"):
            connect_ledger(access)
        with pytest.raises(Unavailable, match=r"broker is unavailable: No master found for 'another'$"):
            TaskQueue(access).send_plan("job")


def test_by_tls_redis_and_the_sentinels_are_believed_from_the_named_authority_only(redis_url: str, tmp_path: Path) -> None:
    own = certificate(tmp_path)
    with behind_tls(urlsplit(redis_url).port or 0, own) as redis_port:
        # The Sentinel speaks no TLS itself, and so must not find out that its primary does.
        sentinel = SentinelServer(tmp_path, redis_port, down_after_ms=600_000)
        sentinel.start()
        try:
            with behind_tls(sentinel.port, own) as sentinel_port:
                url = f"rediss+sentinel://127.0.0.1:{sentinel_port}/{SERVICE}/0"
                access = RedisSettings(redis_url=url, redis_ca_file=own.authority).redis_access
                connect_ledger(access).close()
                with Celery(set_as_current=False) as app:
                    app.conf.update(broker_settings(access))
                    app.send_task(PLAN_TASK, ["by-tls"], queue="by-tls")
                    with app.connection_for_read() as connection, connection.SimpleQueue("by-tls") as queue:
                        assert queue.get(timeout=5).payload[0] == ["by-tls"]
                unknown = RedisSettings(redis_url=url).redis_access
                with pytest.raises(Unavailable, match=r"no Sentinel names a primary.*local issuer"):
                    connect_ledger(unknown)
                with pytest.raises(Unavailable, match="No master found"):
                    TaskQueue(unknown).send_plan("job")
        finally:
            sentinel.kill()


def _until_it_goes_on(call: Callable[[], object], *, timeout_s: float = 30.0) -> bool:
    """Call until nothing is unavailable any more; whether something was. Anything else fails the test."""
    deadline_s, refused = time.monotonic() + timeout_s, False
    while True:
        try:
            call()
        except Unavailable:
            refused = True
            assert time.monotonic() < deadline_s
        else:
            return refused


def _send_until_it_comes(watched: WatchedRedis, worker: Worker, request_id: str) -> None:
    """As a Celery application of somebody else's, whose request is refused with a line in the log."""
    with Celery(set_as_current=False) as app:
        app.conf.update(broker_settings(read_sentinel_url(watched.url)))
        queue = TaskQueue(read_sentinel_url(watched.url))
        _until_it_goes_on(lambda: queue.send_plan("nobody's"))
        queue.close()
        app.send_task(CREATE_TASK, [{"request_id": request_id}], queue=QUEUE)
    processes.until(lambda: request_id in worker.log.read_text(), f"{request_id} has come", timeout_s=30)
