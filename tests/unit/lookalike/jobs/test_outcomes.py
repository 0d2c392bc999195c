"""What became of items, in files in the artifacts, and which of them the ledger counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lookalike.errors import Internal, InvalidArgument, NotFound
from lookalike.jobs.leases import PLAN, ChunkCounts, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.outcomes import ItemOutcome, Outcomes
from lookalike.records.job import Failure, Job
from lookalike.records.source import FolderSource
from lookalike.sources import Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path.as_uri())


@pytest.fixture
def ledger(redis_db: str) -> Iterator[Ledger]:
    ledger = connect_ledger(redis_db)
    yield ledger
    ledger.close()


def planned(ledger: Ledger, leases: Leases, chunks: int) -> Job:
    job, _ = ledger.create("c", "u", FolderSource("/x"), "r")
    plan = leases.take(job.id, PLAN)
    assert plan is not None
    leases.planned(plan, "m", submitted=10 * chunks, duplicates=0, chunks=chunks)
    return ledger.get(job.id)


def record(outcomes: Outcomes, leases: Leases, job: Job, chunk: int, failed: int) -> list[Failure]:
    """Record ten items of a chunk, the first `failed` of which failed; another worker's file lies beside."""
    lease = leases.take(job.id, str(chunk))
    assert lease is not None
    written = [
        ItemOutcome(chunk * 10 + n, f"{chunk}/{n}", "file:///x", "failed", "R", "m")
        if n < failed
        else ItemOutcome(chunk * 10 + n, f"{chunk}/{n}", "file:///x", "indexed")
        for n in range(10)
    ]
    outcomes.write(job.id, chunk, "loser", [ItemOutcome(0, "never", "", "failed", "X", "recorded")])
    outcomes.write(job.id, chunk, lease.owner, written)
    assert leases.record(lease, ChunkCounts(10 - failed, failed, {}))
    return [Failure(one.id, one.uri, one.reason, one.message, one.position) for one in written[:failed]]


def pages(outcomes: Outcomes, job: Job, size: int) -> list[Failure]:
    found: list[Failure] = []
    token = ""
    while True:
        page, token = outcomes.page_failures(job.id, size, token)
        assert len(page) <= size
        found += page
        if not token:
            return found


def test_failures_come_page_by_page_in_order_and_only_where_recorded(artifacts: Artifacts, ledger: Ledger) -> None:
    outcomes, leases = Outcomes(ledger, artifacts), Leases(ledger, LeaseSettings())
    job = planned(ledger, leases, 4)
    assert pages(outcomes, job, 5) == []
    leases.due(job.id)
    expected = [
        one for chunk, failed in ((2, 3), (0, 5), (3, 4), (1, 0)) for one in record(outcomes, leases, job, chunk, failed)
    ]
    expected.sort(key=lambda failure: failure.position)
    for size in (1, 2, 5, 7, 12, 100):
        assert pages(outcomes, job, size) == expected, size
    assert [chunk for chunk, _ in outcomes.failures_by_chunk(job.id)] == [0, 2, 3]


def test_the_failures_of_a_long_job_are_found_wherever_they_are(artifacts: Artifacts, ledger: Ledger) -> None:
    outcomes, leases = Outcomes(ledger, artifacts), Leases(ledger, LeaseSettings(window_chunks=450, window_total_chunks=450))
    job = planned(ledger, leases, 450)
    leases.due(job.id)
    expected = [one for chunk in (0, 99, 100, 449) for one in record(outcomes, leases, job, chunk, 2)]
    for size in (1, 3, 100):
        assert pages(outcomes, job, size) == expected, size


def test_a_file_says_of_every_item_what_became_of_it_and_when(artifacts: Artifacts, ledger: Ledger, tmp_path: Path) -> None:
    outcomes = Outcomes(ledger, artifacts)
    written = [
        ItemOutcome(0, "a", "file:///a", "indexed"),
        ItemOutcome(1, "b", "file:///b", "skipped", "unchanged"),
        ItemOutcome(2, "", "ü", "failed", "IMAGE_EMPTY", "is empty"),
    ]
    outcomes.write("j", 7, "me", written)
    rows = pq.read_table(tmp_path / "jobs" / "j" / "outcomes" / "0000007-me.parquet").to_pylist()
    assert all(timedelta() <= datetime.now(UTC) - row.pop("time") < timedelta(minutes=1) for row in rows)
    assert [ItemOutcome(**row) for row in rows] == written


def test_files_that_are_gone_are_said_to_be(artifacts: Artifacts, ledger: Ledger) -> None:
    outcomes, leases = Outcomes(ledger, artifacts), Leases(ledger, LeaseSettings())
    job = planned(ledger, leases, 1)
    leases.due(job.id)
    record(outcomes, leases, job, 0, 1)
    artifacts.delete_tree(f"jobs/{job.id}")
    with pytest.raises(Internal, match=r"chunk 0 .* are gone"):
        outcomes.page_failures(job.id, 10, "")


def test_bad_pages_and_unknown_jobs_are_refused(artifacts: Artifacts, ledger: Ledger) -> None:
    outcomes = Outcomes(ledger, artifacts)
    with pytest.raises(NotFound):
        outcomes.page_failures("none", 10, "")
    for size, token in ((0, ""), (1001, ""), (10, "x"), (10, "1"), (10, "-1:0"), (10, "1:")):
        with pytest.raises(InvalidArgument):
            outcomes.page_failures("none", size, token)
