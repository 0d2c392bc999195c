"""A Redis that answers and takes no writes, or goes away at a bad moment: said in one line, waited for, and nothing hangs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lookalike.jobs.queue import TaskQueue
from tests.servers import processes
from tests.servers.redis import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as opened:
        yield opened


@pytest.fixture
def queue(redis_server: RedisServer) -> Iterator[TaskQueue]:
    opened = TaskQueue(redis_server.url)
    yield opened
    opened.close()


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
