"""Records what this release sends and stores, for the tests of the next one: `make recorded`, at a release."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from lookalike.jobs.leases import Leases, LeaseSettings
from lookalike.jobs.queue import CREATE_TASK, KEY_PREFIX, QUEUE, TaskQueue
from lookalike.jobs.uploads import Uploads
from lookalike.records.job import JobOptions, NearDuplicatePolicy
from lookalike.records.source import UploadItem, UploadSource
from lookalike.runtime.channels import open_channel
from lookalike.store.memory.tables import Tables
from tests.recorded import FOLDER, Exchange, answering, call_everything, exchanged, write_exchanges
from tests.servers.embedder import models, serving
from tests.servers.redis import RedisServer
from tests.unit.indexer.conftest import Bench, made_bench
from tests.unit.indexer.fakes import WorkerCatalogue, WorkerVectors

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
TWO_CHUNKS = 258


def record_calls() -> None:
    """Write calls.json: what passes between the real services."""
    fingerprint, passed = models()[0].bundle.fingerprint, list[Exchange]()
    with serving() as target, open_channel(target) as channel:

        def noted(method: str, request: bytes) -> Exchange:
            passed.append(exchanged(channel, "gateway" if len(passed) < 5 else "indexer", method, request))
            return passed[-1]

        with answering(noted) as between:
            call_everything(between, fingerprint)
    write_exchanges(passed, fingerprint)


def record_jobs() -> None:
    """Write jobs/: a job that waits for its plan, one with a chunk left that a worker held, one with its last unit left, and a
    message that asks for a fourth."""
    shutil.rmtree(FOLDER / "jobs", ignore_errors=True)
    with tempfile.TemporaryDirectory() as made:
        folder, tables = Path(made), Tables()
        server = RedisServer(folder)
        server.start()
        try:
            url = f"{server.url}/0"
            with made_bench(url, folder, WorkerCatalogue(tables), WorkerVectors(tables)) as bench:
                begin_jobs(bench, url)
            with redis.Redis.from_url(url) as client:
                keys = {key.decode(): value_of(client, key) for key in sorted(client.keys())}
            # Celery names the process that sent a message.
            text = re.sub(r'gen\d+@[^\\"]+', "gen1@gateway", json.dumps(keys, indent=1))
            shutil.copytree(folder / "artifacts", FOLDER / "jobs" / "artifacts")
            (FOLDER / "jobs" / "keys.json").write_text(text + "\n", encoding="utf-8")
        finally:
            server.stop()


def begin_jobs(bench: Bench, url: str) -> None:
    tasks = TaskQueue(url)
    options = JobOptions(near_duplicates=NearDuplicatePolicy.LINK, threshold=0.5)
    waiting, _ = bench.ledger.create("products", "uid 1", uploaded(bench, 3, "waiting"), "waiting", options, trace="")
    tasks.send_plan(waiting.id)
    upload = uploaded(bench, TWO_CHUNKS, "begun")
    begun, _ = bench.ledger.create("products", "uid 1", upload, "begun")
    bench.worker.plan(begun.id)
    bench.worker.ingest_chunk(begun.id, 0)
    tasks.send_chunk(begun.id, 1)
    # Held by a worker that does not come back; its lease ends at once.
    assert Leases(bench.ledger, LeaseSettings(lease_s=0.001)).take(begun.id, "1") is not None
    forecast, _ = bench.ledger.create("products", "uid 1", uploaded(bench, 2, "tried"), "tried", JobOptions(dry_run=True))
    bench.worker.plan(forecast.id)
    tasks.send_finish(forecast.id)
    tasks.close()
    # A job that is planned reads its manifest alone.
    bench.artifacts.delete_tree(f"uploads/{upload.upload_id}")
    producer = Celery(broker=url, set_as_current=False)
    producer.conf.broker_transport_options = {"global_keyprefix": KEY_PREFIX}
    upload = uploaded(bench, 2, "asked")
    request = {"collection": "products", "request_id": "asked", "source": {"upload": {"upload_id": upload.upload_id}}}
    producer.send_task(CREATE_TASK, [request], queue=QUEUE)
    producer.close()


def uploaded(bench: Bench, count: int, name: str) -> UploadSource:
    """Of `count` items with one picture, the last of which cannot be used."""
    upload = Uploads(bench.artifacts).begin("products")
    for number in range(count):
        content = b"bad bytes" if number == count - 1 else b"picture"
        metadata = {"label": name, "number": 9007199254740993}
        upload.add(UploadItem(f"{name}-{number:03d}", f"file:///pictures/{number:03d}.png", content, metadata))
    return UploadSource(upload.finish().id)


def value_of(client: Any, key: bytes) -> dict[str, Any]:
    """The type of a key, and its value."""
    match kind := client.type(key).decode():
        case "hash":
            return {kind: {name.decode(): value.decode() for name, value in sorted(client.hgetall(key).items())}}
        case "zset":
            return {kind: {member.decode(): score for member, score in client.zrange(key, 0, -1, withscores=True)}}
        case "set":
            return {kind: sorted(member.decode() for member in client.smembers(key))}
        case "list":
            return {kind: [entry.decode() for entry in client.lrange(key, 0, -1)]}
        case _:
            return {kind: client.get(key).decode()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    version = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]
    (FOLDER / "VERSION").write_text(f"{version}\n", encoding="utf-8")
    record_calls()
    record_jobs()
