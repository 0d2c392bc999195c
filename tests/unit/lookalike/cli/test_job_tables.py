"""What tables of jobs and failures look like on terminals of different widths."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from lookalike.cli.job_tables import print_failures, print_jobs
from lookalike.client import Counts, Failure, Job, JobState, UploadSource

ID = "a16801f6e1425098"
COLLECTION = "summer_shoes_of_last_year"
FAILURE = Failure("9f86d081884c7d65", "file:///shoes/1.png", "SOURCE_UNREADABLE", "cannot be read: Permission denied", 12)


def terminal(width: int, *, is_terminal: bool = True) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=width, force_terminal=is_terminal, color_system=None, markup=False), written


def lines(written: io.StringIO, width: int) -> list[str]:
    found = [line.rstrip() for line in written.getvalue().splitlines() if line.strip()]
    assert all(len(line) <= width for line in found)
    return found


def a_job() -> Job:
    return Job(
        id=ID,
        collection=COLLECTION,
        source=UploadSource("u"),
        state=JobState.SUCCEEDED,
        counts=Counts(1_234_567, 1_234_000, 67, 500),
        skip_reasons={},
        chunks_total=1,
        chunks_done=1,
        revision=1,
        request_id="",
        error="",
        end_time=None,
        create_time=datetime(2026, 11, 25, 19, 58, 42, tzinfo=UTC),
    )


def test_the_id_of_a_job_can_be_copied_from_a_narrow_terminal() -> None:
    out, written = terminal(80)
    print_jobs(out, [a_job()])
    header, _, first, *rest = lines(written, 80)
    assert header.split() == ["job,", "collection", "state,", "created", "items", "indexed", "skipped", "failed"]
    assert first.split() == [ID, "succeeded", "1,234,567", "1,234,000", "67", "500"]
    assert "".join(line.split()[0] for line in rest) == COLLECTION
    assert "2026-11-2" in rest[0]


def test_a_wide_terminal_or_none_shows_a_job_on_one_line() -> None:
    out, written = terminal(140)
    print_jobs(out, [a_job()])
    _, _, row = lines(written, 140)
    assert row.split()[:3] == [ID, COLLECTION, "succeeded"]
    out, written = terminal(60, is_terminal=False)
    print_jobs(out, [a_job()])
    _, row = lines(written, 140)
    assert row.split("\t")[:4] == [ID, COLLECTION, "succeeded", "1,234,567"]


def test_a_terminal_of_60_columns_shows_every_fact_of_a_job() -> None:
    out, written = terminal(60)
    print_jobs(out, [a_job()])
    shown = dict(line.split(maxsplit=1) for line in lines(written, 60))
    assert shown["job"] == ID
    assert [shown[name] for name in ("items", "indexed", "skipped", "failed")] == ["1,234,567", "1,234,000", "67", "500"]
    assert shown["created"].startswith("2026-11-2")


def test_a_failure_stays_readable_on_a_narrow_terminal() -> None:
    out, written = terminal(80)
    assert print_failures(out, [FAILURE])
    _, _, first, second, *_ = lines(written, 80)
    assert first.split() == ["12", FAILURE.reason, FAILURE.id]
    assert second.split() == [*FAILURE.message.split(), FAILURE.uri]


def test_no_failures_are_no_table() -> None:
    out, written = terminal(80)
    assert not print_failures(out, [])
    assert written.getvalue() == ""
