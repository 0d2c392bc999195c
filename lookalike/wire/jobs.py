"""Ingest jobs <-> protobuf: requests, jobs, reports, failures and uploads.

`NAME_message` writes a record, `NAME_from` reads a message. The gateway reads requests and writes answers; the client does the
opposite. Fields in errors are those of the requests.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from lookalike.errors import FailedPrecondition, Internal, InvalidArgument
from lookalike.names import check_uri
from lookalike.records.job import (
    DEFAULT_NEAR_DUPLICATE,
    CreateJob,
    Failure,
    Job,
    JobFilter,
    JobOptions,
    NearDuplicatePolicy,
    Report,
    Undone,
)
from lookalike.records.job_state import JobState
from lookalike.records.source import SOURCES, JobSource, Source, Upload, UploadItem, any_of
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.fields import members_of, message_of, numbers_of, record_of
from lookalike.wire.status import from_status, to_status

_STATES = numbers_of(JobState, pb.IngestJobState.DESCRIPTOR)
_STATES_BACK = members_of(JobState, pb.IngestJobState.DESCRIPTOR)
_POLICIES = numbers_of(NearDuplicatePolicy, pb.NearDuplicatePolicy.DESCRIPTOR)
_POLICIES_BACK = members_of(NearDuplicatePolicy, pb.NearDuplicatePolicy.DESCRIPTOR) | {
    pb.NEAR_DUPLICATE_POLICY_UNSPECIFIED: NearDuplicatePolicy.KEEP
}


def job_message(job: Job) -> pb.IngestJob:
    # The code FAILED_PRECONDITION says that the request itself was right.
    failed = FailedPrecondition(job.error, reason=job.error_reason) if job.error or job.error_reason else None
    return message_of(
        pb.IngestJob,
        job,
        source=source_message(job.source),
        error=None if failed is None else to_status(failed),
        **_options_fields(job.options),
    )


def job_from(message: pb.IngestJob) -> Job:
    """A state that this version does not know has the name UNKNOWN."""
    error = from_status(message.error) if message.HasField("error") else None
    policy = _POLICIES_BACK.get(message.near_duplicates.policy, NearDuplicatePolicy.KEEP)
    return record_of(
        Job,
        message,
        source=source_from(message.source),
        error="" if error is None else error.message,
        error_reason="" if error is None else error.reason,
        options=_options_from(message, policy),
    )


def source_message(source: JobSource | None) -> pb.Source:
    """The message of the same kind; its fields are named as the record's."""
    if source is None:
        return pb.Source()
    of_its_kind: dict[str, Any] = {source.kind: asdict(source)}
    return pb.Source(**of_its_kind)


def source_from(message: pb.Source) -> JobSource | None:
    """None for a message without a source, or with a source that this version does not know."""
    kind = message.WhichOneof("kind")
    record = None if kind is None else SOURCES.get(kind)
    if kind is None or record is None:
        return None
    source: JobSource = record_of(record, getattr(message, kind))
    return source


def create_job_message(asked: CreateJob) -> pb.CreateIngestJobRequest:
    source = source_message(asked.source)
    return message_of(pb.CreateIngestJobRequest, asked, source=source, **_options_fields(asked.options))


def create_job_from(request: pb.CreateIngestJobRequest) -> CreateJob:
    """Raises `InvalidArgument` for a request without a source that callers can name, or with an unknown policy."""
    source = source_from(request.source)
    if not isinstance(source, Source):
        kinds = (kind for kind, record in SOURCES.items() if record in get_args(Source))
        raise InvalidArgument("source", f"is missing; name {any_of(kinds)}")
    policy = _POLICIES_BACK.get(request.near_duplicates.policy)
    if policy is None:
        number = request.near_duplicates.policy
        raise InvalidArgument("near_duplicates.policy", f"{number} is not one of keep, skip and link")
    return record_of(CreateJob, request, source=source, options=_options_from(request, policy))


def _options_fields(options: JobOptions) -> dict[str, Any]:
    """The options as the fields of a request or of a job."""
    near_duplicates = pb.NearDuplicates(policy=_POLICIES[options.near_duplicates], threshold=options.threshold)
    return {"near_duplicates": near_duplicates, "mirror": options.mirror, "dry_run": options.dry_run}


def _options_from(message: pb.CreateIngestJobRequest | pb.IngestJob, policy: NearDuplicatePolicy) -> JobOptions:
    """With the caller's threshold, of which 32 bits keep 6 digits; 0 means the default."""
    threshold = round(message.near_duplicates.threshold, 6) or DEFAULT_NEAR_DUPLICATE
    return JobOptions(policy, threshold, mirror=message.mirror, dry_run=message.dry_run)


def job_filter_message(only: JobFilter) -> pb.ListIngestJobsRequest:
    return message_of(pb.ListIngestJobsRequest, only, states=sorted(_STATES[state] for state in only.states))


def job_filter_from(request: pb.ListIngestJobsRequest) -> JobFilter:
    """The selection of a list of jobs. Raises `InvalidArgument` for an unknown state, or a time or text that is not valid."""
    for place, number in enumerate(request.states):
        if number not in _STATES_BACK:
            raise InvalidArgument(f"states[{place}]", f"{number} is not the state of a job")
    states = frozenset(_STATES_BACK[number] for number in request.states)
    return record_of(JobFilter, request, states=states, text=check_uri("text", request.text))


def failure_message(failure: Failure) -> pb.ItemFailure:
    return message_of(pb.ItemFailure, failure)


def failure_from(message: pb.ItemFailure) -> Failure:
    return record_of(Failure, message)


def report_message(report: Report) -> pb.GetIngestReportResponse:
    return message_of(pb.GetIngestReportResponse, report, job=job_message(report.job))


def report_from(message: pb.GetIngestReportResponse) -> Report:
    return record_of(Report, message, job=job_from(message.job))


def undone_message(undone: Undone) -> pb.UndoIngestJobResponse:
    return message_of(pb.UndoIngestJobResponse, undone)


def undone_from(message: pb.UndoIngestJobResponse) -> Undone:
    return record_of(Undone, message)


def upload_item_message(item: UploadItem) -> pb.UploadItem:
    """Raises `Internal` for an item whose `Path` has not been read."""
    if isinstance(item.content, Path):
        raise Internal("an item must be sent with the bytes of its file")
    return message_of(pb.UploadItem, item)


def upload_item_from(message: pb.UploadItem) -> UploadItem:
    return record_of(UploadItem, message)


def upload_message(upload: Upload) -> pb.UploadItemsResponse:
    return message_of(pb.UploadItemsResponse, upload, upload_id=upload.id)


def upload_from(message: pb.UploadItemsResponse) -> Upload:
    return record_of(Upload, message, id=message.upload_id)
