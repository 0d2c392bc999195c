"""Tables of jobs and of the failures of a job, which fit the terminal. `lookalike jobs list` and `jobs failures` fill them.

On a narrow terminal cells share columns, one under the other, so that an id stays on one line and can be copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lookalike.cli.fitting import put
from lookalike.cli.terminal import table, time_text, visible

if TYPE_CHECKING:
    from rich.console import Console

    from lookalike.client import Failure, Job

_ID = 16
"""Characters of a job's id."""
_READABLE = 40
"""Columns that a message or a URI needs at least to stand beside the rest; longer ones are folded."""
_COUNTS = ("items", "indexed", "skipped", "failed")


def print_jobs(out: Console, jobs: Iterable[Job]) -> None:
    """Print one row for each of `jobs`."""
    wide = table("job", "collection", "state", *_COUNTS, "created", numbers=("job", *_COUNTS, "created"))
    narrow = table("job, collection", "state, created", *_COUNTS, numbers=_COUNTS)
    wide.columns[0].justify = wide.columns[-1].justify = "left"
    narrow.columns[0].min_width = narrow.columns[1].min_width = _ID
    for job in jobs:
        counts = (job.counts.submitted, job.counts.indexed, job.counts.skipped, job.counts.failed)
        cells, created = [f"{count:,}" for count in counts], time_text(job.create_time)
        wide.add_row(job.id, job.collection, job.standing, *cells, created)
        narrow.add_row(f"{job.id}\n{job.collection}", f"{job.standing}\n{created[: len('2026-11-25 19:58')]}", *cells)
    put(out, wide, narrow=narrow, listing=True)


def print_failures(out: Console, failures: Iterable[Failure]) -> bool:
    """Print one row for each of `failures`; for none, print nothing and return False."""
    wide = table("position", "reason", "message", "id", "uri", numbers=("position", "reason"))
    narrow = table("position", "reason, message", "id, uri", numbers=("position",))
    wide.columns[1].justify = "left"
    wide.columns[2].min_width = wide.columns[4].min_width = _READABLE
    narrow.columns[1].min_width = narrow.columns[2].min_width = _READABLE // 2
    for failure in failures:
        reason, message, image_id, uri = map(visible, (failure.reason, failure.message, failure.id, failure.uri))
        wide.add_row(str(failure.position), reason, message, image_id, uri)
        narrow.add_row(str(failure.position), f"{reason}\n{message}", "\n".join(part for part in (image_id, uri) if part))
    if not wide.rows:
        return False
    put(out, wide, narrow=narrow, listing=True)
    return True
