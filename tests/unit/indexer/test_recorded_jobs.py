"""A worker of this release goes on with jobs that the last release made, planned and began, by the messages that it sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from celery import Celery
from celery.worker.request import Request

from indexer.tasks import build_app
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import FIRST_QUEUE, QUEUE
from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from lookalike.store.memory.tables import Tables
from tests import recorded
from tests.unit.indexer.conftest import made_bench
from tests.unit.indexer.fakes import WorkerCatalogue, WorkerVectors

JOBS = recorded.FOLDER / "jobs"


def restore(ledger: Ledger) -> None:
    """Put every recorded key back."""
    with ledger.connection.commands() as client:
        for key, stored in json.loads((JOBS / "keys.json").read_text()).items():
            match stored:
                case {"hash": value}:
                    client.hset(key, mapping=value)
                case {"zset": value}:
                    client.zadd(key, value)
                case {"set": value}:
                    client.sadd(key, *value)
                case {"list": value}:
                    client.rpush(key, *value)
                case {"string": value}:
                    client.set(key, value)


def take_messages(app: Celery) -> list[str]:
    """Run the task of every message in the queues, as a worker does; the tasks' names."""
    done = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        for name in (FIRST_QUEUE, QUEUE):
            while (message := app.amqp.queues[name](channel).get()) is not None:
                Request(message, app=app, on_ack=lambda *_, message=message: message.ack()).execute()
                done.append(message.headers["task"])
    return done


def test_a_worker_goes_on_with_jobs_and_messages_of_the_last_release(redis_db: str, tmp_path: Path) -> None:
    shutil.copytree(JOBS / "artifacts", tmp_path / "artifacts")
    tables = Tables()
    with made_bench(redis_db, tmp_path, WorkerCatalogue(tables), WorkerVectors(tables)) as bench:
        restore(bench.ledger)
        before = {job.request_id: job for job in bench.ledger.list(None, 10, "")[0]}
        assert {name: (job.state, job.counts) for name, job in before.items()} == {
            "waiting": (JobState.PENDING, Counts()),
            "begun": (JobState.RUNNING, Counts(258, 256)),
            "tried": (JobState.RUNNING, Counts(2)),
        }
        assert sorted(take_messages(build_app(redis_db, bench.worker))) == [
            "lookalike.create_ingest_job",
            "lookalike.finish",
            "lookalike.ingest_chunk",
            "lookalike.plan",
        ]
        while bench.deliver():
            pass
        after: dict[str, Any] = {job.request_id: job for job in bench.ledger.list(None, 10, "")[0]}
        assert {name: (job.state, job.counts) for name, job in after.items()} == {
            "waiting": (JobState.SUCCEEDED, Counts(3, 2, 0, 1)),
            "begun": (JobState.SUCCEEDED, Counts(258, 257, 0, 1)),
            "tried": (JobState.SUCCEEDED, Counts(2, 0, 2)),
            "asked": (JobState.SUCCEEDED, Counts(2, 1, 0, 1)),
        }
        # Chunk 0 of `begun` was written before.
        assert bench.store.ids() == {"waiting-000", "waiting-001", "begun-256", "asked-000"}
        image = bench.store.rows["siamese"]["begun-256"]
        assert image.metadata == {"label": "begun", "number": 9007199254740993}
        assert (image.revision, image.uri) == (before["begun"].revision, "file:///pictures/256.png")
        assert bench.store.rows["siamese"]["waiting-001"].metadata["near_duplicate_of"] == "waiting-000"
        assert after["tried"].forecast is not None
        assert [failure.reason for failure in bench.failures(after["begun"])] == ["IMAGE_FORMAT_UNKNOWN"]
        waiting = before["waiting"]
        assert waiting.source is not None
        repeated, new = bench.ledger.create("products", "uid 1", waiting.source, "waiting", waiting.options)
        assert (repeated.id, new) == (waiting.id, False), "the request that made it, sent again"
