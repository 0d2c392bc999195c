"""Whatever happens to workers, a job ends by itself, adds up, and every good image is in every space once.

Real processes throughout: Redis, milvus-lite's server, the embedder, and `python -m indexer`, which is what gets killed. The
worker that a test leaves goes on with the next test's job: a start costs more of the processor than such a job.
"""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
import redis
from celery import Celery
from PIL import Image

from lookalike import fashion_mnist
from lookalike.jobs.creation import create_ingest_job
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.uploads import Uploads
from lookalike.listing import list_folder
from lookalike.records.collection import Collection
from lookalike.records.job import Counts, CreateJob, Job
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource, ManifestSource
from lookalike.runtime.channels import open_channel
from lookalike.sources import Artifacts, Roots
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.v1 import embedder_service_pb2_grpc as embedder_grpc
from lookalike.wire.spaces import space_from
from tests.servers.processes import until
from tests.servers.redis import RedisServer
from tests.servers.worker import LEASE_S, EmbedderProcess, Worker

IMAGES = 600
CHUNKS = 3
"""A worker does them one after the other: while the second is worked on, the first is recorded and the third is queued."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 pictures as PNG files, in a folder for each class."""
    folder = tmp_path_factory.mktemp("data") / "images"
    split = fashion_mnist.load("test")
    for number in range(IMAGES):
        place = folder / f"class{split.labels[number]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.images[number]).save(place / f"{number:05d}.png")
    return folder


@dataclass
class System:
    """The running system as a test sees it."""

    ledger: Ledger
    queue: TaskQueue
    catalogue: MilvusCatalogue
    store: MilvusVectors
    collection: Collection
    worker: Worker

    def submit(self, kind: Literal["folder", "manifest"], path: Path, request_id: str = "") -> Job:
        artifacts = Artifacts(self.worker.artifacts_url)
        source = FolderSource(str(path), labels_from_folders=True) if kind == "folder" else ManifestSource(str(path))
        return create_ingest_job(
            self.ledger,
            lambda name: self.catalogue.get(name, fresh=True),
            self.queue,
            Uploads(artifacts),
            Roots([self.worker.folder]),
            CreateJob(self.collection.name, source, request_id),
        )

    def ended(self, job: Job, *, timeout_s: float) -> Job:
        until(lambda: self.ledger.get(job.id).state.ended, f"the job ends\n{self.log()}", timeout_s=timeout_s)
        return self.ledger.get(job.id)

    def chunks_done(self, job: Job) -> int:
        return self.ledger.get(job.id).chunks_done

    def ids(self) -> set[str]:
        """Ids of all images; asserts that each is there once, in every space."""
        found: list[str] = []
        while page := self.store.page(self.collection, after_id=found[-1] if found else "", limit=1000, timeout_s=30):
            found += [image.id for image in page]
        rows = self.store.get_everywhere(self.collection, found, timeout_s=30)
        assert {len(of_id) for of_id in rows.values()} <= {len(self.collection.spaces)}
        assert len(found) == len(set(found)) == self.store.count(self.collection, timeout_s=30)
        return set(found)

    def log(self) -> str:
        return self.worker.log.read_text(errors="replace")[-6000:] if self.worker.log.exists() else "no log"


@dataclass(frozen=True)
class Servers:
    """What the tests of this module share; the worker is as the last test left it."""

    redis: RedisServer
    milvus_uri: str
    worker: Worker


@pytest.fixture(scope="module")
def servers(
    milvus_lite_uri: str, shared_embedder: EmbedderProcess, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    one_by_one = {"INDEXER_CONCURRENCY": "1"}
    worker = Worker(f"{server.url}/0", milvus_lite_uri, shared_embedder.target, images.parent, more=one_by_one)
    try:
        yield Servers(server, milvus_lite_uri, worker)
    finally:
        worker.kill()
        server.stop()


@pytest.fixture
def system(servers: Servers) -> Iterator[System]:
    """A new collection, and a worker that runs."""
    worker = servers.worker
    connection = connect(servers.milvus_uri)
    catalogue = MilvusCatalogue(connection)
    collection = described(worker.embedder_target)
    catalogue.create(collection)
    ledger, queue = connect_ledger(worker.redis_url), TaskQueue(worker.redis_url)
    if not worker.runs:
        worker.start()
    try:
        yield System(ledger, queue, catalogue, MilvusVectors(connection), collection, worker)
    finally:
        queue.close()
        ledger.close()
        catalogue.delete(collection.name)
        connection.close()


def by_celery(system: System, manifest: Path) -> Job:
    """The job of a plain Celery producer, which sends its request twice."""
    producer = Celery(broker=system.worker.redis_url)
    producer.conf.broker_transport_options = {"global_keyprefix": "lookalike:celery:"}
    request = {"collection": system.collection.name, "request_id": "r1", "source": {"manifest": {"uri": str(manifest)}}}
    for _ in range(2):
        producer.send_task("lookalike.create_ingest_job", [request], queue="lookalike")
    producer.send_task("lookalike.create_ingest_job", [{**request, "request_id": ""}], queue="lookalike")
    until(lambda: system.ledger.list(system.collection.name, 10, "")[0], f"the job is made\n{system.log()}")
    (job,) = system.ledger.list(system.collection.name, 10, "")[0]
    return job


def described(target: str) -> Collection:
    """A new collection with the spaces that the embedder makes."""
    with open_channel(target) as channel:
        answer = embedder_grpc.EmbedderServiceStub(channel).DescribeSpaces(embedder_pb2.DescribeSpacesRequest())
    spaces = tuple(map(space_from, answer.spaces))
    name = f"killed_{secrets.token_hex(4)}".replace("_", "_x")
    return Collection(name, secrets.token_hex(8), "", spaces, 1, datetime.now(UTC))


def test_a_killed_workers_job_ends_within_lease_times_with_every_image_once(system: System, images: Path) -> None:
    job = system.submit("folder", images)
    until(lambda: system.chunks_done(job) >= 1, f"a chunk is recorded\n{system.log()}")
    system.worker.kill()
    done = system.chunks_done(job)
    assert done < CHUNKS, "killed too late to show anything"
    system.worker.start()
    job = system.ended(job, timeout_s=5 * LEASE_S + 10)
    assert job.state is JobState.SUCCEEDED
    assert job.counts == Counts(submitted=IMAGES, indexed=IMAGES)
    expected = {item.id for item in list_folder(images, labels_from_folders=True)}
    assert system.ids() == expected
    some = system.store.get(system.collection, sorted(expected)[:5], timeout_s=30)
    assert all(str(image.metadata["label"]) in image.uri for image in some.values())

    again = system.ended(system.submit("folder", images), timeout_s=60)
    assert again.counts == Counts(submitted=IMAGES, skipped=IMAGES)
    assert again.skip_reasons == {"unchanged": IMAGES}


def test_a_worker_killed_while_planning_loses_nothing(system: System, images: Path) -> None:
    lines = [json.dumps({"uri": item.uri, "n": item.position}) for item in list_folder(images, labels_from_folders=False)]
    repeated = 100
    manifest = images.parent / "long.jsonl"
    manifest.write_text("\n".join(lines[:100] * repeated), encoding="utf-8")
    job = system.submit("manifest", manifest)
    until(lambda: system.ledger.get(job.id).state is JobState.PLANNING, f"planning\n{system.log()}", poll_s=0.002)
    system.worker.kill()
    assert system.ledger.get(job.id).state is JobState.PLANNING, "killed too late to show anything"
    system.worker.start()
    job = system.ended(job, timeout_s=5 * LEASE_S + 20)
    assert job.counts == Counts(submitted=100 * repeated, indexed=100, skipped=100 * repeated - 100)
    assert job.skip_reasons == {"duplicate": 100 * repeated - 100}
    assert len(system.ids()) == 100
    plans = [path.name for path in (images.parent / "artifacts" / "jobs" / job.id).iterdir() if path.name[0] != "."]
    assert len([name for name in plans if name.startswith("manifest-")]) == 1


def test_two_workers_and_doubled_messages_count_everything_once(system: System, images: Path) -> None:
    second = Worker(
        system.worker.redis_url,
        system.worker.milvus_uri,
        system.worker.embedder_target,
        system.worker.folder,
        name="second",
        more=system.worker.more,
    )
    bad = images.parent / f"bad_{system.collection.name}.csv"
    rows = [f"{item.uri},good {item.position}" for item in list_folder(images, labels_from_folders=False)]
    (images.parent / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    rows[10:10] = ["broken.png,broken", "missing.png,missing", f"{'x' * 3000},long", "/etc/hostname,outside", "ftp://a/b,ftp"]
    rows[400:400] = [f"{item.uri},good 3 again" for item in list_folder(images, labels_from_folders=False)][3:4] * 7
    bad.write_text("uri,id\n" + "\n".join(rows), encoding="utf-8")
    second.start()
    try:
        until(lambda: "concurrency=1" in second.log.read_text(), "the second worker is ready")
        job = by_celery(system, bad)
        for chunk in (0, 1, 2) * 3:
            system.queue.send_chunk(job.id, chunk)
        system.queue.send_plan(job.id)
        until(lambda: system.chunks_done(job) >= 1, f"a chunk is recorded\n{system.log()}")
        for chunk in (0, 1, 2) * 3:
            system.queue.send_chunk(job.id, chunk)
        job = system.ended(job, timeout_s=60)
    finally:
        second.kill()
    assert job.counts == Counts(submitted=IMAGES + 12, indexed=IMAGES + 1, skipped=6, failed=5)
    failures, token = Outcomes(system.ledger, Artifacts(system.worker.artifacts_url)).page_failures(job.id, 100, "")
    assert token == ""
    assert [(failure.position, failure.id) for failure in failures] == [
        (10, "broken"),
        (11, "missing"),
        (12, "long"),
        (13, "outside"),
        (14, "ftp"),
    ]
    assert [failure.reason for failure in failures][1:] == [
        "SOURCE_NOT_FOUND",
        "ITEM_INVALID",
        "SOURCE_FORBIDDEN",
        "SOURCE_SCHEME_UNSUPPORTED",
    ]
    assert failures[0].reason.startswith("IMAGE_")
    assert len(system.ids()) == IMAGES + 1


def test_a_worker_asked_to_stop_gives_its_work_back_and_a_cancelled_job_adds_up(system: System, images: Path) -> None:
    said = len(system.worker.log.read_text())
    job = system.submit("folder", images)
    until(lambda: system.chunks_done(job) >= 1, f"a chunk is recorded\n{system.log()}")
    assert system.worker.process is not None
    system.worker.process.send_signal(signal.SIGTERM)
    assert system.worker.process.wait(20) == 0, system.log()
    assert "stopped" in system.worker.log.read_text()[said:], "Celery has silenced our log"
    before = system.ledger.get(job.id)
    assert before.chunks_done < CHUNKS, "stopped too late to show anything"
    with redis.Redis.from_url(system.worker.redis_url, decode_responses=True) as stored:
        units: dict[str, str] = stored.hgetall(f"lookalike:job:{job.id}:units")
    assert [unit for unit in units if unit.startswith("o:")] == [], "a lease is left"
    assert system.ledger.request_cancel(job.id).state is JobState.CANCELLING
    system.worker.start()
    job = system.ended(job, timeout_s=5 * LEASE_S + 10)
    assert job.state is JobState.CANCELLED
    assert job.counts.submitted == IMAGES == job.counts.indexed + job.counts.skipped
    assert job.skip_reasons == {"cancelled": job.counts.skipped}
    assert job.counts.skipped > 0
    assert len(system.ids()) == job.counts.indexed, "what is counted is what is there"


def test_a_redis_that_is_killed_and_comes_back_loses_nothing_acknowledged(
    system: System, servers: Servers, images: Path
) -> None:
    job = system.submit("folder", images)
    until(lambda: system.chunks_done(job) >= 1, f"a chunk is recorded\n{system.log()}")
    servers.redis.kill()
    servers.redis.start()
    done = system.ledger.get(job.id)
    assert 1 <= done.chunks_done < CHUNKS, "killed too late to show anything"
    job = system.ended(job, timeout_s=10 * LEASE_S)
    assert job.counts == Counts(submitted=IMAGES, indexed=IMAGES)
    assert len(system.ids()) == IMAGES
