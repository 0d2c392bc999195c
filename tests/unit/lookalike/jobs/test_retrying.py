"""Which jobs can be tried again, and what the new job asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.jobs.leases import FINISH, PLAN, ChunkCounts, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.retrying import retry_failures
from lookalike.records.job import Job, JobOptions, NearDuplicatePolicy
from lookalike.records.source import CollectionSource, FailuresSource, FolderSource, JobSource
from tests.unit.indexer.fakes import a_collection

SOURCE = FolderSource("/data/products")


class Queue:
    def __init__(self) -> None:
        self.plans: list[str] = []

    def send_plan(self, job_id: str) -> None:
        self.plans.append(job_id)


@pytest.fixture
def ledger(redis_db: str) -> Iterator[Ledger]:
    ledger = connect_ledger(redis_db)
    yield ledger
    ledger.close()


def ended(ledger: Ledger, failed: int, source: JobSource = SOURCE, options: JobOptions | None = None) -> Job:
    job, _ = ledger.create("products", "uid 1", source, f"first {source.kind} {failed}", options or JobOptions())
    leases = Leases(ledger, LeaseSettings())
    plan = leases.take(job.id, PLAN)
    assert plan is not None
    leases.planned(plan, "m", submitted=9, duplicates=0, chunks=1)
    leases.due(job.id)
    lease = leases.take(job.id, "0")
    assert lease is not None
    leases.record(lease, ChunkCounts(9 - failed, failed, {}))
    if FINISH in leases.due(job.id).units:
        last = leases.take(job.id, FINISH)
        assert last is not None
        leases.finished(last)
    leases.close(job.id)
    return ledger.get(job.id)


def retry(ledger: Ledger, job: Job, request_id: str = "again", uid: str = "uid 1") -> tuple[Job, list[str]]:
    queue = Queue()
    made = retry_failures(ledger, lambda name: a_collection(name, uid), queue, job.id, request_id)  # type: ignore[arg-type]
    return made, queue.plans


def test_the_new_job_is_over_the_failures_with_the_old_ones_options(ledger: Ledger) -> None:
    old = ended(ledger, 3, options=JobOptions(near_duplicates=NearDuplicatePolicy.SKIP, threshold=0.9, mirror=True))
    job, sent = retry(ledger, old)
    assert job.source == FailuresSource(old.id)
    assert job.options == JobOptions(near_duplicates=NearDuplicatePolicy.SKIP, threshold=0.9), (
        "a mirror of the failures would delete the rest"
    )
    assert job.revision > old.revision
    assert sent == [job.id]
    assert retry(ledger, old) == (job, []), "the same request gives the same job"
    assert retry(ledger, old, "another")[0].id != job.id


@pytest.mark.parametrize(
    ("failed", "source", "uid", "reason"),
    [
        (0, SOURCE, "uid 1", "NOTHING_FAILED"),
        (3, CollectionSource(2), "uid 1", "NOT_RETRIABLE"),
        (3, SOURCE, "uid 2", "COLLECTION_GONE"),
    ],
)
def test_what_cannot_be_tried_again_is_refused(ledger: Ledger, failed: int, source: JobSource, uid: str, reason: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        retry(ledger, ended(ledger, failed, source), uid=uid)
    assert refused.value.reason == reason


def test_a_job_under_way_or_unknown_is_refused(ledger: Ledger) -> None:
    job, _ = ledger.create("products", "uid 1", SOURCE, "r")
    with pytest.raises(FailedPrecondition, match="has not ended") as refused:
        retry(ledger, job)
    assert refused.value.reason == "JOB_NOT_ENDED"
    with pytest.raises(InvalidArgument, match="request_id"):
        retry(ledger, job, "not an id")
    with pytest.raises(NotFound):
        retry_failures(ledger, a_collection, Queue(), "nope", "r2")  # type: ignore[arg-type]


def test_a_removed_collection_is_said_to_be(ledger: Ledger) -> None:
    def gone(name: str) -> tuple[str, str]:
        raise NotFound("collection", name)

    with pytest.raises(FailedPrecondition, match="was deleted") as refused:
        retry_failures(ledger, gone, Queue(), ended(ledger, 3).id, "r2")  # type: ignore[arg-type]
    assert refused.value.reason == "COLLECTION_GONE"
