"""The kept jobs, newest first, a page at a time. `Ledger.list` calls it.

Redis indexes jobs by their creation only. Other conditions are checked in job after job, a bounded number in one call, so that
a search among very many jobs takes several calls instead of one long call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from lookalike.errors import InvalidArgument
from lookalike.jobs.connection import RedisConnection
from lookalike.names import check_page_size
from lookalike.records.job import Job, JobFilter

MOST_LOOKED_AT = 5000
"""Bounds the jobs that one call reads, to a fraction of a second."""
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
    """The jobs of the sorted set `index` that fit `only`, at most `page_size` (1 to 1,000), and the token of the next page.
    `read` gives the jobs of ids, None for a job that is no longer kept.

    A short or empty page may have a token, where `MOST_LOOKED_AT` jobs were read. Raises `InvalidArgument` for `page_size` or
    `page_token`.
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
    return jobs[:page_size], str(_milliseconds(jobs[page_size - 1].create_time)) if more else ""


def _checked(page_token: str) -> str:
    if page_token and not (page_token.isascii() and page_token.isdigit() and len(page_token) <= 15):
        raise InvalidArgument("page_token", "is not one that a page before gave")
    return page_token


def _bounds(only: JobFilter, page_token: str) -> tuple[str, str]:
    """The range of scores of the search: the lower bound is included, the upper is not."""
    ends = [int(page_token)] if page_token else []
    if only.created_before is not None:
        ends.append(_milliseconds(only.created_before))
    return f"({min(ends)}" if ends else "+inf", "-inf" if only.created_after is None else str(_milliseconds(only.created_after))


def _milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded up, since jobs are created at whole milliseconds."""
    return -((_EPOCH - moment) // _MILLISECOND)
