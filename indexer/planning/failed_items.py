"""The items of an ended job that failed, as the source of another one. Called by `worker` when it plans that one."""

from __future__ import annotations

from collections.abc import Iterator

from lookalike.artifacts import Artifacts
from lookalike.errors import NotFound
from lookalike.items import Item
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_chunk
from lookalike.jobs.outcomes import Outcomes


def failed_items(ledger: Ledger, outcomes: Outcomes, artifacts: Artifacts, job_id: str) -> Iterator[Item]:
    """In order, as they stand in that job's manifest: with its positions, and with the problems that the source itself had.

    Raises `NotFound` ("ingest job") for a job that is no longer kept, or stops being while it is read; `Internal` where its
    files are damaged, `Unavailable`.
    """
    job = ledger.get(job_id)
    left = job.counts.failed
    for chunk, failures in outcomes.failures_by_chunk(job_id):
        positions = {failure.position for failure in failures}
        for item in read_chunk(artifacts, job.manifest, chunk):
            if item.position in positions:
                left -= 1
                yield item
    if left:
        raise NotFound("ingest job", job_id, hint="it is no longer kept, so what failed in it is not known any more")
