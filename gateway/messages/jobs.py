"""Ingest jobs: what the ledger holds -> protobuf, and what is asked of it. The other messages are in `messages`."""

from __future__ import annotations

from typing import Any

from google.rpc import status_pb2

from gateway.messages.search import moment_from
from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.jobs.outcomes import Failure
from lookalike.jobs.pages import JobFilter
from lookalike.jobs.report import Report
from lookalike.names import check_uri
from lookalike.records.job import Comparison, Forecast, Job, JobError, JobOptions, SourceSpec
from lookalike.records.job_state import JobState
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.status import to_status

_STATES = {pb.IngestJobState.Value(f"INGEST_JOB_STATE_{state.value}"): state for state in JobState}


def job_filter_from(request: pb.ListIngestJobsRequest) -> JobFilter:
    """Which jobs a list is to show. Raises `InvalidArgument` for a state, a time or a text that cannot be."""
    for place, number in enumerate(request.states):
        if number not in _STATES:
            raise InvalidArgument(f"states[{place}]", f"{number} is not the state of a job")
    return JobFilter(
        states=frozenset(_STATES[number] for number in request.states),
        created_after=moment_from(request.created_after, "created_after") if request.HasField("created_after") else None,
        created_before=moment_from(request.created_before, "created_before") if request.HasField("created_before") else None,
        text=check_uri("text", request.text),
    )


def job_message(job: Job) -> pb.IngestJob:
    message = pb.IngestJob(
        id=job.id,
        collection=job.collection,
        source=_source_message(job.source),
        state=pb.IngestJobState.Value(f"INGEST_JOB_STATE_{job.state.value}"),
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
        error=None if job.error is None else _error_message(job.error),
        near_duplicates=_near_duplicates_message(job.options),
        mirror=job.options.mirror,
        dry_run=job.options.dry_run,
        paused=job.paused,
        stalled=job.stalled,
        listed=job.listed,
        deleted=job.deleted,
        forecast=None if job.forecast is None else _forecast_message(job.forecast),
        comparison=None if job.comparison is None else _comparison_message(job.comparison),
        held=job.held,
        worked=job.worked,
    )
    if job.undo is not None:
        message.undo.deleted = job.undo.images
        message.undo.time.FromDatetime(job.undo.at)
    message.create_time.FromDatetime(job.created_at)
    if job.ended_at is not None:
        message.end_time.FromDatetime(job.ended_at)
    return message


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


def _comparison_message(comparison: Comparison) -> pb.ReembedComparison:
    return pb.ReembedComparison(
        queries=comparison.queries,
        k=comparison.k,
        overlap=comparison.overlap,
        precision_before=comparison.precision_before,
        precision_after=comparison.precision_after,
    )


def failure_message(failure: Failure) -> pb.ItemFailure:
    return pb.ItemFailure(
        id=failure.id, uri=failure.uri, reason=failure.reason, message=failure.message, position=failure.position
    )


def report_message(report: Report) -> pb.GetIngestReportResponse:
    return pb.GetIngestReportResponse(
        job=job_message(report.job),
        elapsed_s=report.elapsed_s,
        planning_s=report.planning_s,
        items_per_s=report.items_per_s,
        stage_seconds=report.stage_seconds,
        rates=[pb.IngestRate(start_s=rate.start_s, length_s=rate.length_s, items=rate.items) for rate in report.rates],
    )


def _chosen(source: SourceSpec) -> dict[str, Any]:
    return {"exclude": source.choice.exclude, "include_hidden": source.choice.include_hidden}


def _source_message(source: SourceSpec) -> pb.Source:
    match source.kind:
        case "folder":
            labels = source.labels_from_folders
            return pb.Source(folder=pb.FolderSource(uri=source.uri, labels_from_folders=labels, **_chosen(source)))
        case "manifest":
            return pb.Source(manifest=pb.ManifestSource(uri=source.uri))
        case "upload":
            return pb.Source(upload=pb.UploadSource(upload_id=source.uri))
        case "archive":
            return pb.Source(archive=pb.ArchiveSource(uri=source.uri, **_chosen(source)))
        case "failures":
            return pb.Source(failures=pb.FailuresSource(job_id=source.uri))
        case "collection":
            return pb.Source(collection=pb.CollectionSource(generation=int(source.uri)))


def _near_duplicates_message(options: JobOptions) -> pb.NearDuplicates:
    policy = pb.NearDuplicatePolicy.Value(f"NEAR_DUPLICATE_POLICY_{options.near_duplicates.upper()}")
    return pb.NearDuplicates(policy=policy, threshold=options.threshold)


def _error_message(error: JobError) -> status_pb2.Status:
    """The ledger keeps reason and message only; the code says that nothing was wrong with the request as such."""
    return to_status(FailedPrecondition(error.message, reason=error.reason))
