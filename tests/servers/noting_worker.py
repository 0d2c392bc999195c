"""`python -m tests.servers.noting_worker REDIS_URL CONCURRENCY`: the real Celery app and worker over a stand-in that only notes
what came, in order, in the Redis list `noted`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import cast

import redis

from indexer.tasks import build_app, run_worker
from indexer.worker import Worker


class Noting:
    """In the place of the worker. Every task takes a moment, so that several workers get some."""

    def __init__(self, url: str) -> None:
        self._url, self._redis = url, redis.Redis.from_url(url)
        self.draining = threading.Event()
        self._seen: set[str] = set()

    def plan(self, job_id: str) -> None:
        self._note(f"{job_id} plan")

    def ingest_chunk(self, job_id: str, chunk: int) -> None:
        self._note(f"{job_id} {chunk}")

    def finish(self, job_id: str) -> None:
        """Lasts until Redis is away. Has nothing to do when it comes again."""
        if job_id not in self._seen:
            self._seen.add(job_id)
            self._note(f"{job_id} finish")
            while self._answers():
                threading.Event().wait(0.02)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self._url, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _note(self, text: str) -> None:
        self._redis.rpush("noted", text)
        self._redis.hincrby("workers", str(os.getpid()), 1)
        threading.Event().wait(0.002)


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")  # As with ours, Celery's own lines are to be seen.
    noting = cast("Worker", Noting(sys.argv[1]))
    sys.exit(run_worker(build_app(sys.argv[1], noting), concurrency=int(sys.argv[2]), on_stopping=lambda: None))
