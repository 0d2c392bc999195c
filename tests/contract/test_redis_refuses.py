"""A Redis that answers and takes no writes, or goes away at a bad moment: said in one line, waited for, and nothing hangs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lookalike.errors import Internal, Unavailable
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.queue import TaskQueue
from tests.servers import processes
from tests.servers.redis import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as opened:
        yield opened


@pytest.fixture
def ledger(redis_server: RedisServer) -> Iterator[Ledger]:
    opened = connect_ledger(redis_server.url)
    yield opened
    opened.close()


@pytest.fixture
def queue(redis_server: RedisServer) -> Iterator[TaskQueue]:
    opened = TaskQueue(redis_server.url)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("refuse", "relent", "said"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", r"its memory is full, so it takes no writes.*\(OOM\)"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", r"fewer replicas .* \(NOREPLICAS\)"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", r"it is a replica .* \(READONLY\)"),
    ],
)
def test_a_redis_that_takes_no_writes_is_unavailable_and_not_ready_until_it_does(
    client: redis.Redis, ledger: Ledger, queue: TaskQueue, refuse: str, relent: str, said: str
) -> None:
    calls = (lambda: ledger.take_revision("products"), ledger.ping, lambda: queue.send_plan("job"))
    for call in calls:
        call()
    client.execute_command(*refuse.split())  # type: ignore[no-untyped-call]
    for call in calls:
        with pytest.raises(Unavailable, match=said) as refused:
            call()
        assert "\n" not in refused.value.message
    client.execute_command(*relent.split())  # type: ignore[no-untyped-call]
    for call in calls:
        call()


@pytest.mark.parametrize("code", ["BUSY", "LOADING", "MASTERDOWN", "MISCONF", "UNBLOCKED"])
def test_what_passes_by_itself_or_is_fixed_outside_is_unavailable(ledger: Ledger, code: str) -> None:
    with pytest.raises(Unavailable, match=rf"^redis is unavailable: .*\({code}\)$"), ledger.connection.commands() as client:
        client.eval(f"return redis.error_reply('{code} Redis said something long')", 0)
    ledger.ping()


def test_what_no_wait_fixes_is_a_defect(ledger: Ledger) -> None:
    with ledger.connection.commands() as client:
        client.set("text", "x")
    with pytest.raises(Internal, match="WRONGTYPE"), ledger.connection.commands() as client:
        client.lpush("text", "x")


def test_a_connection_to_what_has_become_a_replica_is_not_kept(client: redis.Redis, ledger: Ledger) -> None:
    before = _connections(client)
    client.replicaof("127.0.0.1", "1")
    with pytest.raises(Unavailable):
        ledger.take_revision("products")
    assert len(_connections(client) & before) == len(before) - 1


@pytest.fixture
def noting(redis_server: RedisServer, client: redis.Redis, queue: TaskQueue, tmp_path: Path) -> Iterator[Path]:
    """The log of a worker of two threads, which has noted "before plan"."""
    log = tmp_path / "noting.log"
    worker = processes.start([sys.executable, "-m", "tests.servers.noting_worker", redis_server.url, "2"], log)
    queue.send_plan("before")
    processes.until(lambda: client.llen("noted"), "the worker consumes")
    yield log
    ended = worker.poll()
    processes.kill(worker)
    assert ended is None, "it is the same process"


def test_a_worker_that_cannot_acknowledge_what_it_did_gets_messages_again(
    redis_server: RedisServer, client: redis.Redis, queue: TaskQueue, noting: Path
) -> None:
    for thread in "ab":
        queue.send_finish(thread)
    processes.until(lambda: client.llen("noted") == 3, "every thread is at work")
    redis_server.kill()
    processes.until(lambda: noting.read_text().count("Couldn't ack") == 2, "no acknowledgement went through")
    redis_server.start()
    queue.send_plan("after")
    processes.until(lambda: "after plan" in client.lrange("noted", 0, -1), "it consumes again")


def _connections(client: redis.Redis) -> set[str]:
    return {connection["id"] for connection in client.client_list()}
