"""Searching among the jobs that are kept, on a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.pages import MOST_LOOKED_AT
from lookalike.records.job import Job, JobFilter
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource
from tests.contract.ledger_jobs import LONG, SOURCE, ledger, planned

__all__ = ["ledger"]


def every(ledger: Ledger, only: JobFilter, *, collection: str | None = None, page_size: int = 2) -> list[str]:
    """Ids over all pages."""
    ids, token = [], ""
    while True:
        page, token = ledger.list(collection, page_size, token, only)
        assert len(page) <= page_size
        ids += [job.id for job in page]
        if not token:
            return ids


def made(ledger: Ledger, number: int, uri: str = "/data/products", collection: str = "c") -> Job:
    return ledger.create(collection, "u", FolderSource(uri), f"Nightly-{number}")[0]


def test_only_jobs_in_one_of_the_states_are_listed(ledger: Ledger) -> None:
    running = planned(ledger, Leases(ledger, LONG), submitted=4, chunks=2)
    cancelled = [ledger.request_cancel(made(ledger, number).id) for number in range(3)]
    pending = [made(ledger, number) for number in range(3, 6)]
    states = {JobState.RUNNING, JobState.CANCELLED}
    assert every(ledger, JobFilter(frozenset(states))) == [*(job.id for job in reversed(cancelled)), running.id]
    assert every(ledger, JobFilter(frozenset({JobState.PENDING}))) == [job.id for job in reversed(pending)]
    assert every(ledger, JobFilter(frozenset({JobState.FAILED}))) == []


def test_only_jobs_of_a_stretch_of_time_are_listed_its_end_left_out(ledger: Ledger) -> None:
    jobs = [made(ledger, number) for number in range(6)]
    assert len({job.create_time for job in jobs}) == 6
    stretch = JobFilter(created_after=jobs[1].create_time, created_before=jobs[4].create_time)
    assert every(ledger, stretch) == [jobs[3].id, jobs[2].id, jobs[1].id]
    after_by_a_little = jobs[1].create_time + timedelta(microseconds=1)
    assert every(ledger, JobFilter(created_after=after_by_a_little)) == [job.id for job in reversed(jobs[2:])]
    assert every(ledger, JobFilter(created_before=after_by_a_little)) == [jobs[1].id, jobs[0].id]
    assert every(ledger, JobFilter(created_after=jobs[4].create_time, created_before=jobs[1].create_time)) == []
    ages_ago, ages_on = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    assert len(every(ledger, JobFilter(created_after=ages_ago, created_before=ages_on))) == 6


def test_a_text_is_found_in_id_request_and_source_whatever_its_case(ledger: Ledger) -> None:
    straight = made(ledger, 1, "/data/Straße")
    bucket = made(ledger, 2, "s3://Photos/2026/")
    assert every(ledger, JobFilter(text="STRASSE")) == [straight.id]
    assert every(ledger, JobFilter(text="photos/2026")) == [bucket.id]
    assert every(ledger, JobFilter(text="nightly-1")) == [straight.id]
    assert every(ledger, JobFilter(text=bucket.id[:9].upper())) == [bucket.id]
    assert every(ledger, JobFilter(text="labels_from_folders")) == [], "not in what only looks like its source"


def test_everything_asked_for_must_fit_and_a_collection_too(ledger: Ledger) -> None:
    jobs = [made(ledger, number, collection="ab"[number % 2]) for number in range(8)]
    for job in jobs[:6]:
        ledger.request_cancel(job.id)
    only = JobFilter(frozenset({JobState.CANCELLED}), created_after=jobs[2].create_time, text="nightly")
    assert every(ledger, only, collection="a", page_size=1) == [jobs[4].id, jobs[2].id]
    assert every(ledger, only, page_size=4) == [job.id for job in reversed(jobs[2:6])]


@pytest.mark.parametrize("page_size", [1, 3, 4, 1000])
def test_a_full_last_page_has_no_token(ledger: Ledger, page_size: int) -> None:
    jobs = [made(ledger, number) for number in range(8)]
    for job in jobs[::2]:
        ledger.request_cancel(job.id)
    only = JobFilter(frozenset({JobState.CANCELLED}))
    assert every(ledger, only, page_size=page_size) == [job.id for job in reversed(jobs[::2])]
    page, token = ledger.list(None, 4, "", only)
    assert (len(page), token) == (4, "")


def test_a_call_looks_at_a_bounded_number_of_jobs_and_the_next_goes_on(ledger: Ledger) -> None:
    oldest = made(ledger, 0)
    with ledger.connection.commands() as client, client.pipeline(transaction=False) as pipeline:
        fields = client.hgetall(f"lookalike:job:{oldest.id}")
        created = int(fields["created_ms"])
        for number in range(1, MOST_LOOKED_AT + 100):
            copy = {**fields, "created_ms": created + number, "request_id": f"other-{number}"}
            pipeline.hset(f"lookalike:job:copy{number}", mapping=copy)
            pipeline.zadd("lookalike:jobs", {f"copy{number}": created + number})
        pipeline.execute()
    only = JobFilter(text="nightly-0")
    page, token = ledger.list(None, 10, "", only)
    assert (page, bool(token)) == ([], True)
    page, token = ledger.list(None, 10, token, only)
    assert ([job.id for job in page], token) == ([oldest.id], "")


def test_jobs_that_are_no_longer_kept_are_passed_over(ledger: Ledger) -> None:
    kept = ledger.create("c", "u", SOURCE, "kept")[0]
    gone = [made(ledger, number) for number in range(3)]
    with ledger.connection.commands() as client:
        client.delete(*(f"lookalike:job:{job.id}" for job in gone))
    assert every(ledger, JobFilter(frozenset({JobState.PENDING}))) == [kept.id]
