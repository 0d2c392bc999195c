"""Ingest jobs <-> protobuf: requests, jobs, reports, failures and uploads.

`NAME_message` writes a record, `NAME_from` reads a message. The gateway reads requests and writes answers; the client does the
opposite. Fields in errors are those of the requests.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from lookalike.errors import FailedPrecondition, Internal, InvalidArgument
from lookalike.names import check_uri
from lookalike.records.job import (
    DEFAULT_NEAR_DUPLICATE,
    Comparison,
    Counts,
    CreateJob,
    Failure,
    Forecast,
    Job,
    JobFilter,
    JobOptions,
    NearDuplicatePolicy,
    Rate,
    Report,
    Undo,
)
from lookalike.records.job_state import JobState
from lookalike.records.source import SOURCES, JobSource, Source, Upload, UploadItem, any_of
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.status import from_status, to_status
from lookalike.wire.values import metadata_from, metadata_message, moment_from, moment_message

_STATES = {state: pb.IngestJobState.Value(f"INGEST_JOB_STATE_{state.name}") for state in JobState}
_STATES_BACK = {number: state for state, number in _STATES.items()}
_POLICIES = {policy: pb.NearDuplicatePolicy.Value(f"NEAR_DUPLICATE_POLICY_{policy.name}") for policy in NearDuplicatePolicy}
_POLICIES_BACK = {number: policy for policy, number in _POLICIES.items()} | {
    pb.NEAR_DUPLICATE_POLICY_UNSPECIFIED: NearDuplicatePolicy.KEEP
}


def job_message(job: Job) -> pb.IngestJob:
    return pb.IngestJob(
        id=job.id,
        collection=job.collection,
        source=source_message(job.source),
        state=_STATES[job.state],
        counts=pb.ItemCounts(
            submitted=job.counts.submitted,
            indexed=job.counts.indexed,
            skipped=job.counts.skipped,
            failed=job.counts.failed,
        ),
        skip_reasons=job.skip_reasons,
        chunks_total=job.chunks_total,
        chunks_done=job.chunks_done,
        revision=job.revision,
        request_id=job.request_id,
        # The code FAILED_PRECONDITION says that the request itself was right.
        error=to_status(FailedPrecondition(job.error, reason=job.error_reason)) if job.error or job.error_reason else None,
        create_time=moment_message(job.created_at),
        end_time=None if job.ended_at is None else moment_message(job.ended_at),
        near_duplicates=_near_duplicates_message(job.options),
        mirror=job.options.mirror,
        dry_run=job.options.dry_run,
        paused=job.paused,
        stalled=job.stalled,
        listed=job.listed,
        deleted=job.deleted,
        forecast=None if job.forecast is None else _forecast_message(job.forecast),
        comparison=None if job.comparison is None else _comparison_message(job.comparison),
        undo=None if job.undo is None else pb.IngestUndo(deleted=job.undo.deleted, time=moment_message(job.undo.at)),
        held=job.held,
        worked=job.worked,
    )


def job_from(message: pb.IngestJob) -> Job:
    """Raises `Internal` for a state that this version does not know."""
    if message.state not in _STATES_BACK:
        raise Internal(f"job {message.id!r} is in state {message.state}, which this version of lookalike does not know")
    counts, error = message.counts, from_status(message.error) if message.HasField("error") else None
    return Job(
        id=message.id,
        collection=message.collection,
        source=source_from(message.source),
        state=_STATES_BACK[message.state],
        counts=Counts(counts.submitted, counts.indexed, counts.skipped, counts.failed),
        skip_reasons=dict(message.skip_reasons),
        chunks_total=message.chunks_total,
        chunks_done=message.chunks_done,
        revision=message.revision,
        request_id=message.request_id,
        error="" if error is None else error.message,
        error_reason="" if error is None else error.reason,
        created_at=moment_from(message.create_time, "create_time"),
        ended_at=moment_from(message.end_time, "end_time") if message.HasField("end_time") else None,
        options=JobOptions(
            _POLICIES_BACK.get(message.near_duplicates.policy, NearDuplicatePolicy.KEEP),
            _threshold_from(message.near_duplicates),
            mirror=message.mirror,
            dry_run=message.dry_run,
        ),
        paused=message.paused,
        stalled=message.stalled,
        listed=message.listed,
        deleted=message.deleted,
        forecast=_forecast_from(message.forecast) if message.HasField("forecast") else None,
        comparison=_comparison_from(message.comparison) if message.HasField("comparison") else None,
        undo=Undo(message.undo.deleted, moment_from(message.undo.time, "undo.time")) if message.HasField("undo") else None,
        held=message.held,
        worked=message.worked,
    )


def _forecast_message(forecast: Forecast) -> pb.IngestForecast:
    return pb.IngestForecast(
        sampled=forecast.sampled,
        unchanged=forecast.unchanged,
        sample_failed=forecast.sample_failed,
        broken=forecast.broken,
        reasons=forecast.reasons,
        failed=forecast.failed,
        duration_s=forecast.duration_s,
        memory_bytes=forecast.memory_bytes,
        disk_bytes=forecast.disk_bytes,
        passing_disk_bytes=forecast.passing_disk_bytes,
        deleted=forecast.deleted,
    )


def _forecast_from(message: pb.IngestForecast) -> Forecast:
    return Forecast(
        sampled=message.sampled,
        unchanged=message.unchanged,
        sample_failed=message.sample_failed,
        broken=message.broken,
        reasons=dict(message.reasons),
        failed=message.failed,
        duration_s=message.duration_s,
        memory_bytes=message.memory_bytes,
        disk_bytes=message.disk_bytes,
        passing_disk_bytes=message.passing_disk_bytes,
        deleted=message.deleted,
    )


def _comparison_message(comparison: Comparison) -> pb.ReembedComparison:
    return pb.ReembedComparison(
        queries=comparison.queries,
        k=comparison.k,
        overlap=comparison.overlap,
        precision_before=comparison.precision_before,
        precision_after=comparison.precision_after,
    )


def _comparison_from(message: pb.ReembedComparison) -> Comparison:
    return Comparison(
        queries=message.queries,
        k=message.k,
        overlap=message.overlap,
        precision_before=message.precision_before if message.HasField("precision_before") else None,
        precision_after=message.precision_after if message.HasField("precision_after") else None,
    )


def source_message(source: JobSource | None) -> pb.Source:
    """The message of the same kind; its fields are named as the record's."""
    if source is None:
        return pb.Source()
    of_its_kind: dict[str, Any] = {source.kind: {field.name: getattr(source, field.name) for field in fields(source)}}
    return pb.Source(**of_its_kind)


def source_from(message: pb.Source) -> JobSource | None:
    """None for a message without a source, or with a source that this version does not know."""
    kind = message.WhichOneof("kind")
    record = None if kind is None else SOURCES.get(kind)
    if kind is None or record is None:
        return None
    values = {field.name: getattr(getattr(message, kind), field.name) for field in fields(record)}
    source: JobSource = record(**{n: value if isinstance(value, str | int) else tuple(value) for n, value in values.items()})
    return source


def create_job_message(asked: CreateJob) -> pb.CreateIngestJobRequest:
    options = asked.options
    return pb.CreateIngestJobRequest(
        collection=asked.collection,
        source=source_message(asked.source),
        request_id=asked.request_id,
        near_duplicates=_near_duplicates_message(options),
        mirror=options.mirror,
        dry_run=options.dry_run,
    )


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
    threshold = _threshold_from(request.near_duplicates)
    options = JobOptions(policy, threshold, mirror=request.mirror, dry_run=request.dry_run)
    return CreateJob(request.collection, source, request.request_id, options)


def _near_duplicates_message(options: JobOptions) -> pb.NearDuplicates:
    return pb.NearDuplicates(policy=_POLICIES[options.near_duplicates], threshold=options.threshold)


def _threshold_from(message: pb.NearDuplicates) -> float:
    """The caller's threshold, of which 32 bits keep 6 digits; 0 means the default."""
    return round(message.threshold, 6) or DEFAULT_NEAR_DUPLICATE


def job_filter_message(only: JobFilter) -> pb.ListIngestJobsRequest:
    return pb.ListIngestJobsRequest(
        states=sorted(_STATES[state] for state in only.states),
        created_after=None if only.created_after is None else moment_message(only.created_after),
        created_before=None if only.created_before is None else moment_message(only.created_before),
        text=only.text,
    )


def job_filter_from(request: pb.ListIngestJobsRequest) -> JobFilter:
    """The selection of a list of jobs. Raises `InvalidArgument` for an unknown state, or a time or text that is not valid."""
    for place, number in enumerate(request.states):
        if number not in _STATES_BACK:
            raise InvalidArgument(f"states[{place}]", f"{number} is not the state of a job")
    return JobFilter(
        states=frozenset(_STATES_BACK[number] for number in request.states),
        created_after=moment_from(request.created_after, "created_after") if request.HasField("created_after") else None,
        created_before=moment_from(request.created_before, "created_before") if request.HasField("created_before") else None,
        text=check_uri("text", request.text),
    )


def failure_message(failure: Failure) -> pb.ItemFailure:
    return pb.ItemFailure(
        id=failure.id, uri=failure.uri, reason=failure.reason, message=failure.message, position=failure.position
    )


def failure_from(message: pb.ItemFailure) -> Failure:
    return Failure(message.id, message.uri, message.reason, message.message, message.position)


def report_message(report: Report) -> pb.GetIngestReportResponse:
    return pb.GetIngestReportResponse(
        job=job_message(report.job),
        elapsed_s=report.elapsed_s,
        planning_s=report.planning_s,
        items_per_s=report.items_per_s,
        stage_seconds=report.stage_seconds,
        rates=[pb.IngestRate(start_s=rate.start_s, length_s=rate.length_s, items=rate.items) for rate in report.rates],
    )


def report_from(message: pb.GetIngestReportResponse) -> Report:
    return Report(
        job=job_from(message.job),
        elapsed_s=message.elapsed_s,
        planning_s=message.planning_s,
        items_per_s=message.items_per_s,
        stage_seconds=dict(message.stage_seconds),
        rates=tuple(Rate(rate.start_s, rate.length_s, rate.items) for rate in message.rates),
    )


def upload_item_message(item: UploadItem) -> pb.UploadItem:
    """Raises `Internal` for an item whose `Path` has not been read."""
    if isinstance(item.content, Path):
        raise Internal("an item must be sent with the bytes of its file")
    return pb.UploadItem(
        id=item.id,
        uri=item.uri,
        content=item.content,
        metadata=metadata_message(item.metadata),
        problem=item.problem,
        problem_reason=item.problem_reason,
    )


def upload_item_from(message: pb.UploadItem) -> UploadItem:
    return UploadItem(
        message.id,
        message.uri,
        message.content,
        metadata_from(message.metadata),
        message.problem,
        message.problem_reason,
    )


def upload_message(upload: Upload) -> pb.UploadItemsResponse:
    return pb.UploadItemsResponse(upload_id=upload.id, items=upload.items, size_bytes=upload.size_bytes)


def upload_from(message: pb.UploadItemsResponse) -> Upload:
    return Upload(message.upload_id, message.items, message.size_bytes)
