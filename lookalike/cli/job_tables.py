"""Tables of jobs and of what failed in one, which fit the terminal: `lookalike jobs list` and `jobs failures` fill them.

On a narrow terminal cells share columns, one under the other, so that an id stays on one line and can be copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lookalike.cli.terminal import table, time_text, visible

if TYPE_CHECKING:
    from rich.console import Console

    from lookalike.client import Failure, Job

_WIDE_JOBS, _WIDE_FAILURES = 110, 140
"""Columns from which every fact stands in a column of its own; a collection's name may be longer than most."""
_ID = 16
"""Characters of a job's id."""
_COUNTS = ("items", "indexed", "skipped", "failed")


def print_jobs(out: Console, jobs: Iterable[Job]) -> None:
    """One row for each of `jobs`."""
    wide = not out.is_terminal or out.width >= _WIDE_JOBS
    heads = ("job", "collection", "state", *_COUNTS, "created") if wide else ("job, collection", "state, created", *_COUNTS)
    rows = table(*heads, numbers=_COUNTS)
    rows.columns[0].min_width = _ID
    for job in jobs:
        counts = (job.counts.submitted, job.counts.indexed, job.counts.skipped, job.counts.failed)
        told, created = [f"{count:,}" for count in counts], time_text(job.created_at)
        if wide:
            rows.add_row(job.id, job.collection, job.standing, *told, created)
        else:
            rows.add_row(f"{job.id}\n{job.collection}", f"{job.standing}\n{created[: len('2026-11-25 19:58')]}", *told)
    out.print(rows)


def print_failures(out: Console, failures: Iterable[Failure]) -> bool:
    """One row for each of `failures`; False, and nothing, where there are none."""
    wide = not out.is_terminal or out.width >= _WIDE_FAILURES
    heads = ("position", "reason", "message", "id", "uri") if wide else ("position", "reason, message", "id, uri")
    rows = table(*heads, numbers=("position",))
    for failure in failures:
        reason, message, image_id, uri = map(visible, (failure.reason, failure.message, failure.id, failure.uri))
        if wide:
            rows.add_row(str(failure.position), reason, message, image_id, uri)
        else:
            rows.add_row(str(failure.position), f"{reason}\n{message}", "\n".join(part for part in (image_id, uri) if part))
    if not rows.rows:
        return False
    out.print(rows)
    return True
