"""The jobs that are kept, newest first, a page at a time. Called by `Ledger.list`.

Redis knows jobs by their creation only. What else is asked for is looked up in job after job, a bounded number in one call, so
that a search among very many takes several calls and not one long one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from lookalike.errors import InvalidArgument
from lookalike.jobs.connection import RedisConnection
from lookalike.names import check_page_size
from lookalike.records.job import Job, JobFilter

MOST_LOOKED_AT = 5000
"""Jobs that one call looks at: a fraction of a second."""
_AT_ONCE = 500
"""Jobs read from Redis at a time while searching, some 500 KB."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


def page_of_jobs(
    connection: RedisConnection,
    read: Callable[[Sequence[str]], Sequence[Job | None]],
    index: str,
    page_size: int,
    page_token: str,
    only: JobFilter,
) -> tuple[list[Job], str]:
    """Of the jobs in the sorted set `index` those that fit `only`: at most `page_size` (1 to 1,000), and the token of the next
    page. `read` gives the jobs of ids, None for what is no longer kept.

    A page may be short, even empty, and yet have a token: `MOST_LOOKED_AT` jobs were looked at then. Raises `InvalidArgument`
    for `page_size` or `page_token`.
    """
    check_page_size(page_size)
    before, after = _bounds(only, _checked(page_token))
    jobs: list[Job] = []
    looked_at = 0
    while len(jobs) <= page_size:
        wanted = min(_AT_ONCE if only.looks_inside else page_size + 1 - len(jobs), MOST_LOOKED_AT - looked_at)
        if not wanted:
            return jobs, before.removeprefix("(")
        with connection.commands() as client:
            found = client.zrevrangebyscore(index, before, after, 0, wanted, withscores=True)
        jobs += [job for job in read([job_id for job_id, _ in found]) if job is not None and only.fits(job)]
        if len(found) < wanted:
            break
        looked_at += len(found)
        before = f"({int(found[-1][1])}"
    more = len(jobs) > page_size
    return jobs[:page_size], str(_milliseconds(jobs[page_size - 1].created_at)) if more else ""


def _checked(page_token: str) -> str:
    if page_token and not (page_token.isascii() and page_token.isdigit() and len(page_token) <= 15):
        raise InvalidArgument("page_token", "is not one that a page before gave")
    return page_token


def _bounds(only: JobFilter, page_token: str) -> tuple[str, str]:
    """Scores between which jobs are looked for: the upper one is left out, the lower one is not."""
    ends = [int(page_token)] if page_token else []
    if only.created_before is not None:
        ends.append(_milliseconds(only.created_before))
    return f"({min(ends)}" if ends else "+inf", "-inf" if only.created_after is None else str(_milliseconds(only.created_after))


def _milliseconds(moment: datetime) -> int:
    """Since 1970, rounded up: jobs are created at whole ones."""
    return -((_EPOCH - moment) // _MILLISECOND)
