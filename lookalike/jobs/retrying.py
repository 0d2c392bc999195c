"""Makes a new job of the failed items of an ended job. The gateway calls it; `indexer.planning.sources` reads the items."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable

from lookalike.errors import FailedPrecondition, NotFound
from lookalike.jobs.creation import start_job
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import TaskQueue
from lookalike.names import check_request_id
from lookalike.records.collection import Collection
from lookalike.records.job import CreateJob, Job
from lookalike.records.source import CollectionSource, FailuresSource


def retry_failures(
    ledger: Ledger, catalogue_get: Callable[[str], Collection], queue: TaskQueue, job_id: str, request_id: str
) -> Job:
    """Record a job over the failed items of job `job_id`, and send its task; or return the job that `request_id` made before.

    The options are those of that job, except `mirror`, since failed items are not the whole source. `catalogue_get` gives a
    collection as it is now. Raises `NotFound` ("ingest job"), `InvalidArgument` ("request_id"),
    `FailedPrecondition` JOB_NOT_ENDED, NOTHING_FAILED, NOT_RETRIABLE, COLLECTION_GONE or REQUEST_ID_REUSED, `Unavailable`.
    """
    request_id = check_request_id("request_id", request_id or secrets.token_hex(16))
    old = ledger.get(job_id)
    request = CreateJob(old.collection, FailuresSource(old.id), request_id, dataclasses.replace(old.options, mirror=False))
    earlier = ledger.find_request(request_id, request.collection, request.source, request.options)
    if earlier is not None:
        return earlier
    _check_retriable(old)
    try:
        now = catalogue_get(old.collection)
    except NotFound as error:
        raise _gone(old) from error
    if now.uid != old.collection_uid:
        raise _gone(old)
    return start_job(ledger, queue, request, now.uid)


def _check_retriable(old: Job) -> None:
    if not old.state.ended:
        message = f"ingest job {old.id!r} has not ended ({old.state.name}); its failed items can be retried when it has"
        raise FailedPrecondition(message, reason="JOB_NOT_ENDED", field="id", metadata={"id": old.id})
    if isinstance(old.source, CollectionSource):
        message = f"ingest job {old.id!r} is a re-embedding; re-embed the collection again"
        raise FailedPrecondition(message, reason="NOT_RETRIABLE", field="id", metadata={"id": old.id})
    if old.counts.failed == 0:
        message = f"no item of ingest job {old.id!r} has failed"
        raise FailedPrecondition(message, reason="NOTHING_FAILED", field="id", metadata={"id": old.id})


def _gone(old: Job) -> FailedPrecondition:
    return FailedPrecondition(
        f"collection {old.collection!r} of ingest job {old.id!r} was deleted",
        reason="COLLECTION_GONE",
        field="id",
        metadata={"id": old.id, "collection": old.collection},
    )
