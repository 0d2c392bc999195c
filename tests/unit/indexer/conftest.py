"""A worker on a real Redis and real files, with the store in memory, the embedder and the sending of tasks faked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from indexer.chunk.embed_batches import EmbedBatches
from indexer.chunk.fetching import Fetcher
from indexer.chunk.pipeline import ChunkParts, Pipeline
from indexer.finishing.forecast import Forecaster
from indexer.finishing.mirror import Mirror
from indexer.reembedding import make_reembedding
from indexer.worker import Parts, Worker
from lookalike.jobs.leases import FINISH, PLAN, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.suspects import Suspects
from lookalike.jobs.uploads import Uploads
from lookalike.listing import list_folder
from lookalike.records.job import DEFAULTS, Failure, Job, JobOptions
from lookalike.records.source import FolderSource, JobSource
from lookalike.sources import Artifacts, Reader
from lookalike.store.memory.tables import Tables
from lookalike.writes import Writes
from tests.unit.indexer.fakes import FakeEmbedder, WorkerCatalogue, WorkerVectors


@dataclass
class SentTasks:
    """Takes the place of the broker: what was sent waits here until a test delivers it."""

    sent: list[tuple[str, str]] = field(default_factory=list)

    def send_plan(self, job_id: str) -> None:
        self.sent.append((job_id, PLAN))

    def send_finish(self, job_id: str) -> None:
        self.sent.append((job_id, FINISH))

    def send_chunk(self, job_id: str, chunk: int) -> None:
        self.sent.append((job_id, str(chunk)))


@dataclass
class Bench:
    """What the tests of the indexer work with."""

    folder: Path
    ledger: Ledger
    leases: Leases
    catalogue: WorkerCatalogue
    store: WorkerVectors
    embedder: FakeEmbedder
    queue: SentTasks
    artifacts: Artifacts
    worker: Worker
    made: int = 0
    collection: str = "products"

    def put(self, name: str, content: bytes = b"") -> Path:
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or f"picture {name}".encode())
        return path

    def fill(self, count: int) -> list[str]:
        """Put `count` pictures into the folder; their ids in order."""
        for number in range(count):
            self.put(f"{number:04d}.png")
        return [item.id for item in list_folder(self.folder / "data", labels_from_folders=False)]

    def create(self, source: JobSource | None = None, *, uid: str = "uid 1", options: JobOptions = DEFAULTS) -> Job:
        self.made += 1
        source = source or FolderSource(str(self.folder / "data"))
        job, _ = self.ledger.create(self.collection, uid, source, f"request-{self.made}", options)
        self.queue.send_plan(job.id)
        return job

    def deliver(self) -> bool:
        """Do the next sent task; False where there is none."""
        if not self.queue.sent:
            return False
        job_id, unit = self.queue.sent.pop(0)
        if unit == PLAN:
            self.worker.plan(job_id)
        elif unit == FINISH:
            self.worker.finish(job_id)
        else:
            self.worker.ingest_chunk(job_id, int(unit))
        return True

    def run(self, job: Job) -> Job:
        """Deliver until nothing is left; the job as it is then."""
        while self.deliver():
            pass
        return self.ledger.get(job.id)

    def failures(self, job: Job) -> list[Failure]:
        return Outcomes(self.ledger, self.artifacts).page_failures(job.id, 1000, "")[0]


@pytest.fixture
def bench(redis_db: str, tmp_path: Path) -> Iterator[Bench]:
    tables = Tables()
    with made_bench(redis_db, tmp_path, WorkerCatalogue(tables), WorkerVectors(tables)) as made:
        yield made


@contextmanager
def made_bench(redis_db: str, folder: Path, catalogue: Any, store: Any, embedder: Any = None) -> Iterator[Bench]:
    """A bench over this catalogue, store and embedder, which may be real ones."""
    (folder / "data").mkdir()
    ledger = connect_ledger(redis_db)
    # Long times: in these tests nothing happens by the clock, unless a test makes its own leases.
    leases = Leases(
        ledger,
        LeaseSettings(lease_s=60, heartbeat_s=20, send_grace_s=60, retry_base_s=0.001, retry_cap_s=0.01, window_chunks=2),
    )
    writes = Writes(ledger, catalogue, store, leases)
    embedder, queue = embedder or FakeEmbedder(), SentTasks()
    artifacts = Artifacts((folder / "artifacts").as_uri())
    reader = Reader(artifacts, [folder / "data"])
    batches = EmbedBatches(Suspects(ledger.connection), concurrency=2, in_flight=2, turn_s=0.05, apart_s=0.0)
    fetcher = Fetcher(reader, threads=4, timeout_s=20)
    chunk_parts = ChunkParts(writes, store, fetcher, cast("Any", embedder), batches, store_timeout_s=20)
    pipeline = Pipeline(ledger, chunk_parts)
    mirror = Mirror(ledger, leases, writes, store, reader, store_timeout_s=20)
    parts = Parts(
        ledger,
        leases,
        cast("Any", queue),
        catalogue,
        store,
        reader,
        uploads=Uploads(artifacts),
        outcomes=Outcomes(ledger, artifacts),
        pipeline=pipeline,
        reembedding=make_reembedding(ledger, leases, catalogue, chunk_parts),
        mirror=mirror,
        forecaster=Forecaster(ledger, leases, pipeline, mirror, artifacts),
    )
    worker = Worker(parts, max_attempts=3, chunk_deadline_s=60)
    yield Bench(folder, ledger, leases, catalogue, store, embedder, queue, artifacts, worker)
    batches.close()
    ledger.close()
