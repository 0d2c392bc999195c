"""`lookalike jobs`: list, show, watch, pause, resume, cancel, retry, undo, report, failures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import AsJson, AsJsonLines, RequestId, Yes, connect
from lookalike.cli.job_tables import print_failures, print_jobs
from lookalike.cli.pages import Commands
from lookalike.cli.terminal import (
    MOST_LISTED,
    confirm,
    console,
    count_text,
    emit_csv_line,
    emit_json,
    emit_json_line,
    note,
    time_text,
)
from lookalike.errors import InvalidArgument

if TYPE_CHECKING:
    from lookalike.client import Client, Failure, Job, JobState

app = Commands(help="List, watch, pause, cancel and retry ingest jobs.", no_args_is_help=True)

UNDO_TIMEOUT_S = 65.0
"""Bounds an undo, above the 60 s after which the gateway ends any call; a job of many images is undone in several calls."""

_SHOWN = 50
"""Bounds the failures in a table, which people read. JSON and CSV have all of them."""

_NONE_FAILED = "no item of this job has failed"

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    collection: Annotated[str, typer.Option("--collection", "-C", help="Only jobs of this collection.")] = "",
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state", metavar="STATE", help="Only jobs in this state: running, failed ... (repeatable).", show_default=False
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only jobs created at this local day or time, such as 2026-11-23, or later.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only jobs created before this day or time.")] = "",
    search: Annotated[str, typer.Option(metavar="TEXT", help="Only jobs with TEXT in their id, request id or source.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_LISTED, help="List at most N.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first. Jobs are kept for 30 days after their end."""
    with connect(context) as client:
        jobs = client.list_jobs(
            collection,
            states=states_of(states or ()),
            created_after=moment_of("--since", since),
            created_before=moment_of("--until", until),
            text=search,
            page_size=min(limit, 1000),
        )
        found = list(itertools.islice(jobs, limit))
    if as_json:
        emit_json(found)
    elif found:
        print_jobs(console(), found)
    elif collection or states or since or until or search:
        note("no such jobs")
    else:
        note("no jobs; `lookalike ingest SOURCE --collection NAME` starts one")


def states_of(names: Sequence[str]) -> list[JobState]:
    """The states that the command line names. Raises `InvalidArgument`."""
    from lookalike.client import JobState

    known = {state.value: state for state in JobState}
    for name in names:
        if name.lower() not in known:
            raise InvalidArgument("--state", f"{name!r} is not one of {', '.join(known)}")
    return [known[name.lower()] for name in names]


def moment_of(option: str, text: str) -> datetime | None:
    """`2026-11-23`, `2026-11-23T12:00` or `2026-11-23T12:00Z`; local without a time zone. None for no text.

    Raises `InvalidArgument`.
    """
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InvalidArgument(option, f"{text!r} is not a day or a time such as 2026-11-23 or 2026-11-23T12:00") from None


@app.command("show")
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job: its state, its counts and its first failures."""
    with connect(context) as client:
        _show(client, client.get_job(job_id), as_json=as_json)


@app.command("watch")
def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Follow a job to its end. Exits with 0 if every item is in the collection, with 4 if the job is held, else with 6."""
    from lookalike.cli.progress import exit_code_of, follow

    with connect(context) as client:
        job = follow(client, job_id)
        _show(client, job, as_json=as_json)
    raise typer.Exit(exit_code_of(job))


@app.command("cancel")
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job. Indexed items stay; the rest counts as skipped."""
    with connect(context) as client:
        job = client.cancel_job(job_id)
    _say(job, as_json=as_json)


@app.command("pause")
def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job. Chunks under way are finished; no other begins until the job is resumed."""
    with connect(context) as client:
        job = client.pause_job(job_id)
    _say(job, as_json=as_json)


@app.command("resume")
def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Resume a job that was paused or is held."""
    with connect(context) as client:
        job = client.resume_job(job_id)
    _say(job, as_json=as_json)


@app.command("retry")
def retry(
    context: typer.Context,
    job_id: JobId,
    follow_it: Annotated[bool, typer.Option("--watch", "-w", help="Follow the new job to its end.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Retry the failed items of an ended job, by a new job with the same options."""
    from lookalike.cli.progress import exit_code_of, follow

    with connect(context) as client:
        job = client.retry_failures(job_id, request_id=request_id)
        if follow_it:
            job = follow(client, job.id)
            _show(client, job, as_json=as_json)
            raise typer.Exit(exit_code_of(job))
    if as_json:
        emit_json(job)
    else:
        typer.echo(job.id)
        note(f"job {job.id} retries the failed items of {job_id}; `lookalike jobs watch {job.id}` follows it")


@app.command("undo")
def undo(context: typer.Context, job_id: JobId, yes: Yes = False) -> None:
    """Delete the images that an ended job wrote, except those written again since. Images that it replaced do not come back."""
    with connect(context) as client:
        job = client.get_job(job_id)
        confirm(f"Delete what job {job_id} wrote to collection {job.collection}?", yes=yes)
        done = client.undo_job(job_id, timeout_s=UNDO_TIMEOUT_S)
    note(f"deleted {count_text(done.deleted, 'image')}")
    if done.before is not None:
        before = f"{time_text(done.before.undo_time)}: {count_text(done.before.deleted, 'image')} deleted then"
        note(f"job {job_id} was undone before, {before}")


@app.command("report")
def report(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show where the time of a job went: totals, share of each stage, rate over time. The job may still be running."""
    from lookalike.cli.reporting import print_report

    with connect(context) as client:
        found = client.get_report(job_id)
    if as_json:
        emit_json(found)
    else:
        print_report(found)


@app.command("failures")
def failures(
    context: typer.Context,
    job_id: JobId,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            max=MOST_LISTED,
            help="List at most N; 0 lists all.",
            show_default="50 in a table, all as JSON or CSV",
        ),
    ] = None,
    as_json: AsJsonLines = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """List the failed items of a job, each with its reason."""
    if as_json and as_csv:
        raise InvalidArgument("--csv", "cannot be given with --json")
    with connect(context) as client:
        if as_json or as_csv:
            _emit_failures(itertools.islice(client.list_failures(job_id), limit or None), as_csv=as_csv)
        else:
            _print_failures(client.list_failures(job_id), _SHOWN if limit is None else limit)


def _emit_failures(found: Iterator[Failure], *, as_csv: bool) -> None:
    from lookalike.client import Failure

    first = next(found, None)
    if as_csv:
        emit_csv_line(field.name for field in fields(Failure))
    if first is None:
        note(_NONE_FAILED)
        return
    for failure in itertools.chain((first,), found):
        if as_csv:
            emit_csv_line(astuple(failure))
        else:
            emit_json_line(failure)


def _print_failures(found: Iterator[Failure], limit: int) -> None:
    if not print_failures(console(), itertools.islice(found, limit or None)):
        note(_NONE_FAILED)
        return
    if next(found, None) is not None:
        note("there are more; --limit 0 lists all")


def _say(job: Job, *, as_json: bool) -> None:
    if as_json:
        emit_json(job)
    else:
        note(f"job {job.id} is {job.standing}")


def _show(client: Client, job: Job, *, as_json: bool) -> None:
    if as_json:
        emit_json(job)
        return
    from lookalike.cli.progress import print_job

    print_job(client, job)
