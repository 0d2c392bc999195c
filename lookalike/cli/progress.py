"""Watching a job: a progress bar on a terminal, a line now and then elsewhere; and the lines that describe a job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lookalike.cli import exits
from lookalike.cli.terminal import bytes_text, console, count_text, duration_text, note, time_text, visible
from lookalike.client import JobState

if TYPE_CHECKING:
    from rich.progress import Progress, Task

    from lookalike.client import Client, Comparison, Counts, Forecast, Job

_LINE_EVERY_S = 5.0
_SHOWN_FAILURES = 5


def bar(unit: str = "images") -> Progress:
    """A progress bar on standard error with count, rate (`unit`/s) and time left; not drawn where that is no terminal."""
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="cyan")

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else ""))

    out = console(err=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        Count(),
        Rate(),
        TimeRemainingColumn(compact=True),
        console=out,
        disable=not out.is_terminal,
        transient=True,
    )


def follow(client: Client, job_id: str) -> Job:
    """Watch a job until it ends or is held; the job at that time. Ctrl-C stops the watching, not the job."""
    last: Job | None = None
    noted_s = time.monotonic()
    with bar() as progress:
        task = progress.add_task("ingesting", total=None)
        try:
            for job in client.watch_job(job_id):
                last = job
                counts = job.counts
                done, total = (counts.done + job.worked, counts.submitted) if counts.submitted else (job.listed, 0)
                progress.update(task, description=job.standing, total=total or None, completed=done)
                if progress.disable and time.monotonic() - noted_s > _LINE_EVERY_S:
                    noted_s = time.monotonic()
                    note(f"{job.standing}: {done:,} of {total:,}" if total else f"{job.standing}: {done:,} listed")
                if job.held:
                    break
        except KeyboardInterrupt:
            note(
                f"job {job_id} continues; `lookalike jobs watch {job_id}` follows it, `lookalike jobs cancel {job_id}` stops it"
            )
            raise
    return last if last is not None else client.get_job(job_id)


def print_job(client: Client, job: Job, *, indent: str = "") -> None:
    """Print a job: counts, time, rate, the reasons of skipped items, and the first failures."""
    out = console()
    for line in _lines(client, job):
        out.print(visible(f"{indent}{line}"), soft_wrap=True)


def _lines(client: Client, job: Job) -> Iterator[str]:
    took = ""
    if job.create_time and job.end_time:
        took_s = max((job.end_time - job.create_time).total_seconds(), 1e-3)
        took = f" in {took_s:.1f} s ({job.counts.indexed / took_s:,.0f} images/s)"
    yield f"job {job.id} {job.standing}; {counts_text(job.counts)}{took}"
    for reason, count in job.skip_reasons.items():
        yield f"  skipped, {reason.lower()}: {count:,}"
    if job.deleted:
        yield f"  deleted, not in the source: {job.deleted:,}"
    if job.forecast:
        yield from (f"  {line}" for line in forecast_lines(job.forecast))
    if job.comparison:
        yield f"  {comparison_text(job.comparison)}"
    if job.held:
        yield f"  held: {job.held}"
        yield f"  (`lookalike jobs resume {job.id}` or `lookalike jobs cancel {job.id}`)"
    if job.undo:
        yield f"  undone {time_text(job.undo.undo_time)}: {count_text(job.undo.deleted, 'image')} deleted"
    if job.error:
        yield f"  {job.error}"
    if job.counts.failed:
        failures = list(itertools.islice(client.list_failures(job.id, page_size=_SHOWN_FAILURES), _SHOWN_FAILURES))
        for failure in failures:
            name = failure.uri or failure.id or f"item {failure.position}"
            yield f"  failed: {name}: {failure.message} ({failure.reason})"
        if (rest := job.counts.failed - len(failures)) > 0:
            yield f"  ... and {rest:,} more: `lookalike jobs failures {job.id}`"


def counts_text(counts: Counts) -> str:
    """`3 items: 2 indexed, 0 skipped, 1 failed`."""
    ended = f"{counts.indexed:,} indexed, {counts.skipped:,} skipped, {counts.failed:,} failed"
    return f"{count_text(counts.submitted, 'item')}: {ended}"


def forecast_lines(forecast: Forecast) -> list[str]:
    """The findings of a dry run and the forecast for the job, a line each."""
    tried = f"tried {count_text(forecast.sampled, 'item')}: {forecast.unchanged:,} unchanged, {forecast.sample_failed:,} failed"
    lines = [tried + (f"; {count_text(forecast.broken, 'item')} broken in the source" if forecast.broken else "")]
    lines += [f"  {reason}: {count:,}" for reason, count in sorted(forecast.reasons.items())]
    for_good, passing = bytes_text(forecast.disk_bytes), bytes_text(forecast.passing_disk_bytes)
    duration = duration_text(forecast.duration.total_seconds())
    lines.append(
        f"the job would take about {duration}, {bytes_text(forecast.memory_bytes)} of Milvus' memory "
        f"and {for_good} of its disk, and {passing} more for some days; about {count_text(forecast.failed, 'item')} would fail"
    )
    if forecast.deleted:
        lines.append(f"{count_text(forecast.deleted, 'image')} not in the source would be deleted")
    return lines


def comparison_text(compared: Comparison) -> str:
    """`200 images searched for in siamese: 84.1% of their 10 nearest are the same; with the same label 91.2% before, 93.4%
    after`."""
    where = f" in {compared.space}" if compared.space else ""
    text = (
        f"{count_text(compared.queries, 'image')} searched for{where}: "
        f"{compared.overlap:.1%} of their {compared.k} nearest are the same"
    )
    if compared.precision_before is None or compared.precision_after is None:
        return text
    return f"{text}; with the same label {compared.precision_before:.1%} before, {compared.precision_after:.1%} after"


def exit_code_of(job: Job) -> int:
    """0 for a job that has succeeded without a failed item, 4 for a job that is held, else 6."""
    if job.held:
        return exits.WRONG_STATE
    good = job.state is JobState.SUCCEEDED and job.counts.failed == 0
    return exits.OK if good else exits.ITEMS_FAILED
