"""Makes an ingest job: the one function behind the gateway's CreateIngestJob and the Celery task `lookalike.create_ingest_job`.

The job is recorded in the ledger first, and its task is sent second. Where the sending fails, the reconciler sends the task. So
an acknowledged job is never lost, and a task that was not sent is no error for the caller.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import structlog
from google.protobuf import json_format

from lookalike.bounds import check_message
from lookalike.errors import FailedPrecondition, InvalidArgument, Unavailable, one_line
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.uploads import Uploads
from lookalike.listing import MANIFEST_SUFFIXES
from lookalike.listing.choosing import check_globs
from lookalike.names import check_name, check_request_id, check_uri
from lookalike.records.collection import Collection
from lookalike.records.job import CreateJob, Job, NearDuplicatePolicy
from lookalike.records.source import JobSource, ManifestSource, Source, UploadSource
from lookalike.runtime.tracing import current_traceparent
from lookalike.sources import Roots
from lookalike.sources.opening import check_listable
from lookalike.v1 import ingest_service_pb2 as ingest_pb2
from lookalike.wire.jobs import create_job_from


def create_ingest_job(
    ledger: Ledger,
    catalogue_get: Callable[[str], Collection],
    queue: TaskQueue,
    uploads: Uploads,
    roots: Roots,
    request: CreateJob,
) -> Job:
    """Validate a request, record its job and send its task; or return the job that the same `request_id` made before.

    `catalogue_get` gives a collection as it is now. Raises `InvalidArgument` (names, source, options, request id), `NotFound`
    (collection, upload), `FailedPrecondition` SOURCE_FORBIDDEN or REQUEST_ID_REUSED, `Unavailable`.
    """
    _check_asked(request)
    request_id = check_request_id("request_id", request.request_id or secrets.token_hex(16))
    # Before checks whose result may have changed, so that the same request gets the same answer.
    earlier = ledger.find_request(request_id, request.collection, request.source, request.options)
    if earlier is not None:
        return earlier
    collection = catalogue_get(request.collection)
    _check_near_duplicates(request, collection)
    _CHECKS.get(type(request.source), _check_place)(request.source, request, uploads, roots)
    return start_job(ledger, queue, CreateJob(collection.name, request.source, request_id, request.options), collection.uid)


def start_job(ledger: Ledger, queue: TaskQueue, request: CreateJob, collection_uid: str) -> Job:
    """Record a checked job and send its task. A request id seen before returns the job that it made then."""
    job, new = ledger.create(
        request.collection, collection_uid, request.source, request.request_id, request.options, trace=current_traceparent()
    )
    if new:
        try:
            queue.send_plan(job.id)
        except Unavailable as error:
            structlog.get_logger().warning("task not sent; the reconciler will", job=job.id, problem=error.message)
    return job


def create_job_of_json(request: Mapping[str, object]) -> CreateJob:
    """The request of the JSON form of the contract's `CreateIngestJobRequest`, as plain Celery producers send it:

        {"collection": "products", "request_id": "nightly-2026-11-23",
         "source": {"folder": {"uri": "/data/products", "labels_from_folders": true}}}

    `request_id` is required: a message may be delivered twice, and must not make two jobs.
    """
    try:
        parsed = json_format.ParseDict(dict(request), ingest_pb2.CreateIngestJobRequest())
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("request", one_line(error, 300)) from error
    check_message(parsed)
    if not parsed.request_id:
        raise InvalidArgument("request_id", "is missing; a task needs one, since it may be delivered twice")
    return create_job_from(parsed)


def _check_asked(request: CreateJob) -> None:
    """The checks of a request that need neither ledger nor catalogue."""
    source, threshold = request.source, request.options.threshold
    check_globs(f"source.{source.kind}.exclude", getattr(source, "exclude", ()))
    if not 0 < threshold <= 1:
        raise InvalidArgument("near_duplicates.threshold", f"{threshold:g} is out of range; above 0 up to 1 are allowed")
    check_name("collection", request.collection)
    if not source.place:
        raise InvalidArgument(_field(source), "is missing")
    check_uri(_field(source), source.place)


def _check_near_duplicates(request: CreateJob, collection: Collection) -> None:
    """Near-duplicates are compared in the first space that a model fills: histograms of different pictures may be equal."""
    if request.options.near_duplicates is not NearDuplicatePolicy.KEEP and not collection.model_spaces:
        problem = f"collection {collection.name!r} has no space that a model fills, in which near-duplicates are looked for"
        raise InvalidArgument("near_duplicates.policy", f"{problem}; only NEAR_DUPLICATE_POLICY_KEEP is allowed")


def _check_upload(source: UploadSource, request: CreateJob, uploads: Uploads, roots: Roots) -> None:
    meant_for = uploads.check(source.upload_id)
    if meant_for != request.collection:
        raise InvalidArgument(_field(source), f"the upload is meant for collection {meant_for!r}")


def _check_manifest(source: ManifestSource, request: CreateJob, uploads: Uploads, roots: Roots) -> None:
    _check_place(source, request, uploads, roots)
    if not source.uri.lower().endswith(MANIFEST_SUFFIXES):
        raise InvalidArgument(_field(source), f"must name a CSV, JSONL, Parquet or text file ({', '.join(MANIFEST_SUFFIXES)})")


def _check_place(source: Source, request: CreateJob, uploads: Uploads, roots: Roots) -> None:
    """Check that the workers may read a place."""
    try:
        check_listable(roots, source.place)
    except InvalidArgument as error:
        raise InvalidArgument(_field(source), error.problem, reason=error.reason) from error
    except FailedPrecondition as error:
        raise FailedPrecondition(error.message, reason=error.reason, field=_field(source), metadata=error.metadata) from error


_CHECKS: Mapping[type[JobSource], Callable[[Any, CreateJob, Uploads, Roots], None]] = {
    UploadSource: _check_upload,
    ManifestSource: _check_manifest,
}
"""The checks of the kinds of sources that need more than `_check_place`, by record."""


def _field(source: JobSource) -> str:
    return f"source.{source.kind}.{fields(source)[0].name}"
