"""Jobs for tests of the ledger: planned ones, leases of their chunks, outcomes; settings that are quick or never run out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lookalike.jobs.leases import PLAN, ChunkCounts, Lease, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.job import Job
from lookalike.records.source import FolderSource

SOURCE = FolderSource("/data/products", labels_from_folders=True)
QUICK = LeaseSettings(lease_s=0.2, heartbeat_s=0.05, send_grace_s=0.2, retry_base_s=0.05, retry_cap_s=0.2, window_chunks=3)
LONG = LeaseSettings(lease_s=60, heartbeat_s=20, send_grace_s=60, retry_base_s=60, retry_cap_s=60, window_chunks=3)


def planned(ledger: Ledger, leases: Leases, *, submitted: int, chunks: int, duplicates: int = 0, collection: str = "c") -> Job:
    job, _ = ledger.create(collection, "uid", SOURCE, f"request-{time.monotonic_ns()}")
    lease = leases.take(job.id, PLAN)
    assert lease is not None
    assert leases.planned(lease, "manifest", submitted=submitted, duplicates=duplicates, chunks=chunks)
    return ledger.get(job.id)


def taken(leases: Leases, job: Job, chunk: int) -> Lease:
    lease = leases.take(job.id, str(chunk))
    assert lease is not None
    return lease


def indexed(count: int, *, failed: int = 0, **skipped: int) -> ChunkCounts:
    return ChunkCounts(count, failed, skipped)


def adds_up(job: Job) -> bool:
    counts = job.counts
    return counts.submitted == counts.indexed + counts.skipped + counts.failed and counts.skipped == sum(
        job.skip_reasons.values()
    )


@pytest.fixture
def ledger(redis_db: str) -> Iterator[Ledger]:
    ledger = connect_ledger(redis_db)
    yield ledger
    ledger.close()
