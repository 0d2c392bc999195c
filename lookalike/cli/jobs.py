"""`lookalike jobs`: list, show, watch, pause, resume, cancel, retry, undo, report, failures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import connect
from lookalike.cli.terminal import confirm, console, count_text, emit_json, emit_json_line, note, table, time_text

if TYPE_CHECKING:
    from lookalike.client import Client, Job

app = typer.Typer(help="List, watch, pause, cancel and retry ingest jobs.", no_args_is_help=True)

UNDO_TIMEOUT_S = 65.0
"""Above the 60 s that the gateway gives any call; a job of more images is undone in several calls."""

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    collection: Annotated[str, typer.Option("--collection", "-C", help="Only jobs of this collection.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect(context) as client:
        found = list(itertools.islice(client.list_jobs(collection, page_size=min(limit, 1000)), limit))
    if as_json:
        emit_json(found)
        return
    numbers = ("items", "indexed", "skipped", "failed")
    rows = table("job", "collection", "state", *numbers, "created", numbers=numbers)
    for job in found:
        counts = (job.counts.submitted, job.counts.indexed, job.counts.skipped, job.counts.failed)
        rows.add_row(job.id, job.collection, job.standing, *(f"{count:,}" for count in counts), time_text(job.created_at))
    if found:
        console().print(rows)
    else:
        note("no jobs; `lookalike ingest SOURCE --collection NAME` starts one")


@app.command("show")
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job: its state, its counts and its first failures."""
    with connect(context) as client:
        _tell(client, client.get_job(job_id), as_json=as_json)


@app.command("watch")
def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Follow a job to its end. Exits with 0 if every item is in the collection, else with 6."""
    from lookalike.cli.progress import exit_code_of, follow

    with connect(context) as client:
        job = follow(client, job_id)
        _tell(client, job, as_json=as_json)
    raise typer.Exit(exit_code_of(job))


@app.command("cancel")
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job. What is indexed stays; the rest counts as skipped."""
    with connect(context) as client:
        job = client.cancel_job(job_id)
    _say(job, as_json=as_json)


@app.command("pause")
def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Begin no further chunk of a job until it is resumed. What is under way is finished."""
    with connect(context) as client:
        job = client.pause_job(job_id)
    _say(job, as_json=as_json)


@app.command("resume")
def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    with connect(context) as client:
        job = client.resume_job(job_id)
    _say(job, as_json=as_json)


@app.command("retry")
def retry(
    context: typer.Context,
    job_id: JobId,
    follow_it: Annotated[bool, typer.Option("--watch", "-w", help="Follow the new job to its end.")] = False,
    request_id: Annotated[
        str, typer.Option(help="Your id for this request: the same one again gives the same job.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Try the items of an ended job that failed once more, as a new job with the same options."""
    from lookalike.cli.progress import exit_code_of, follow

    with connect(context) as client:
        job = client.retry_failures(job_id, request_id=request_id)
        if follow_it:
            job = follow(client, job.id)
            _tell(client, job, as_json=as_json)
            raise typer.Exit(exit_code_of(job))
    if as_json:
        emit_json(job)
    else:
        typer.echo(job.id)
        note(f"job {job.id} tries again what failed in {job_id}; `lookalike jobs watch {job.id}` follows it")


@app.command("undo")
def undo(
    context: typer.Context,
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the images that an ended job wrote and nobody has written since. What it replaced does not come back."""
    with connect(context) as client:
        job = client.get_job(job_id)
        confirm(f"Delete what job {job_id} wrote to collection {job.collection}?", yes=yes)
        deleted = client.undo_job(job_id, timeout_s=UNDO_TIMEOUT_S).deleted
    note(f"deleted {count_text(deleted, 'image')}")


@app.command("report")
def report(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show where the time of a job went: rate over time, share of each stage, totals. Also while it runs."""
    from lookalike.cli.reporting import tell_report

    with connect(context) as client:
        found = client.get_report(job_id)
    if as_json:
        emit_json(found)
    else:
        tell_report(found)


@app.command("failures")
def failures(
    context: typer.Context,
    job_id: JobId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="List at most so many; 0 lists all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List the items of a job that failed, each with its reason."""
    rows = table("position", "reason", "message", "id", "uri", numbers=("position",))
    shown = 0
    with connect(context) as client:
        for failure in itertools.islice(client.list_failures(job_id), limit or None):
            shown += 1
            if as_json:
                emit_json_line(failure)
            else:
                rows.add_row(str(failure.position), failure.reason, failure.message, failure.id, failure.uri)
    if not as_json and shown:
        console().print(rows, markup=False)
    if not shown:
        note("no item of this job has failed")


def _say(job: Job, *, as_json: bool) -> None:
    if as_json:
        emit_json(job)
    else:
        note(f"job {job.id} is {job.standing}")


def _tell(client: Client, job: Job, *, as_json: bool) -> None:
    if as_json:
        emit_json(job)
        return
    from lookalike.cli.progress import tell

    tell(client, job)
