"""Between the client's records and protobuf, in both directions. Nothing but `lookalike.client` calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, struct_pb2, timestamp_pb2

from lookalike.client import _arguments, records, sources
from lookalike.errors import Internal, InvalidArgument, LookalikeError
from lookalike.items import check_metadata
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.records.image import Consistency
from lookalike.spaces import HistogramSettings, Space, Vector
from lookalike.v1 import collection_service_pb2, image_pb2, ingest_service_pb2, search_service_pb2
from lookalike.wire.query import consistency_number
from lookalike.wire.spaces import plain, space_from

_STATE_PREFIX = "INGEST_JOB_STATE_"
_POLICIES = {
    records.NearDuplicatePolicy.KEEP: ingest_service_pb2.NEAR_DUPLICATE_POLICY_KEEP,
    records.NearDuplicatePolicy.SKIP: ingest_service_pb2.NEAR_DUPLICATE_POLICY_SKIP,
    records.NearDuplicatePolicy.LINK: ingest_service_pb2.NEAR_DUPLICATE_POLICY_LINK,
}


def image(message: image_pb2.Image) -> records.Image:
    return records.Image(
        id=message.id,
        uri=message.uri,
        metadata=metadata(message.metadata),
        sha256=message.sha256,
        revision=message.revision,
        indexed_at=_time(message, "indexed_at"),
        vectors=vectors(message.vectors),
    )


def image_message(image: records.Image, spaces: Sequence[Space]) -> image_pb2.Image:
    """With its vectors in `spaces`. Raises `InvalidArgument` where it lacks one, and for metadata that JSON cannot hold."""
    message = image_pb2.Image(
        id=_arguments.text("images.id", image.id),
        uri=_arguments.text("images.uri", image.uri),
        sha256=_arguments.text("images.sha256", image.sha256),
    )
    _set_metadata(message.metadata, image.metadata, image.id)
    set_moment(message.indexed_at, image.indexed_at, "images.indexed_at")
    found = _arguments.pairs("vectors", image.vectors, "its vector", _arguments.vector)
    for space in spaces:
        if space.name not in found:
            raise InvalidArgument("vectors", f"image {image.id!r} has none for space {space.name!r}")
        message.vectors.add(space=space.name, values=found[space.name].tolist(), fingerprint=space.fingerprint)
    return message


def vectors(messages: Iterable[image_pb2.SpaceVector]) -> dict[str, Vector]:
    """By space, float32 `[dimension]`."""
    return {message.space: np.asarray(message.values, np.float32) for message in messages}


def space_vectors(given: object) -> search_service_pb2.QueryVectors:
    """One `SpaceVector` per space. Raises `InvalidArgument` for an array that is not one vector."""
    query = search_service_pb2.QueryVectors()
    for name, vector in _arguments.pairs("vectors", given, "its vector", _arguments.vector).items():
        query.vectors.add(space=name, values=vector.tolist())
    return query


def search_result(message: search_service_pb2.SearchResponse) -> records.SearchResult:
    return records.SearchResult(
        neighbours=tuple(_neighbour(hit) for hit in message.neighbours),
        spaces=spaces(message.spaces),
        query_vectors=vectors(message.query_vectors),
        ef=message.ef,
    )


def _neighbour(message: search_service_pb2.Neighbour) -> records.Neighbour:
    shares = tuple(records.SpaceShare(s.space, s.distance, s.similarity, s.share) for s in message.shares)
    return records.Neighbour(
        image=image(message.image),
        rank=message.rank,
        distance=message.distance if message.HasField("distance") else None,
        similarity=message.similarity,
        shares=shares,
    )


def spaces(messages: Iterable[image_pb2.Space]) -> tuple[Space, ...]:
    return tuple(space_from(message) for message in messages)


def collection(message: collection_service_pb2.Collection) -> records.Collection:
    counted = message.histogram
    return records.Collection(
        name=message.name,
        description=message.description,
        model=message.model,
        histogram=HistogramSettings(bins=counted.bins or 256, grid=counted.grid or 1, color=counted.color),
        spaces=spaces(message.spaces),
        generation=message.generation,
        image_count=message.image_count,
        created_at=_time(message, "create_time"),
        other=_other(message.other) if message.HasField("other") else None,
        exact=message.exact,
    )


def _other(message: collection_service_pb2.OtherGeneration) -> records.OtherGeneration:
    filling = message.state == collection_service_pb2.OTHER_GENERATION_STATE_FILLING
    return records.OtherGeneration(
        generation=message.generation,
        state=records.GenerationState.FILLING if filling else records.GenerationState.PREVIOUS,
        model=message.model,
        spaces=spaces(message.spaces),
        job_id=message.job_id,
        drop_at=_time(message, "drop_time"),
    )


def histogram(given: object) -> image_pb2.HistogramSettings:
    settings = _arguments.record("histogram", given, HistogramSettings)
    return image_pb2.HistogramSettings(bins=settings.bins, grid=settings.grid, color=settings.color)


def job(message: ingest_service_pb2.IngestJob) -> records.Job:
    names = ingest_service_pb2.IngestJobState.DESCRIPTOR.values_by_number
    if message.state not in names:
        raise Internal(f"job {message.id!r} is in state {message.state}, which this version of lookalike does not know")
    state = names[message.state].name.removeprefix(_STATE_PREFIX).lower()
    counts = message.counts
    return records.Job(
        id=message.id,
        collection=message.collection,
        source=_source(message.source),
        state=records.JobState(state) if state != "unspecified" else records.JobState.PENDING,
        counts=records.Counts(counts.submitted, counts.indexed, counts.skipped, counts.failed),
        skip_reasons=dict(message.skip_reasons),
        chunks_total=message.chunks_total,
        chunks_done=message.chunks_done,
        revision=message.revision,
        request_id=message.request_id,
        error=message.error.message,
        created_at=_time(message, "create_time"),
        ended_at=_time(message, "end_time"),
        paused=message.paused,
        stalled=message.stalled,
        listed=message.listed,
        comparison=_comparison(message.comparison) if message.HasField("comparison") else None,
        deleted=message.deleted,
        forecast=_forecast(message.forecast) if message.HasField("forecast") else None,
        undo=records.Undo(message.undo.deleted, _time(message.undo, "time")) if message.HasField("undo") else None,
        held=message.held,
        worked=message.worked,
    )


def _forecast(message: ingest_service_pb2.IngestForecast) -> records.Forecast:
    return records.Forecast(
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


def _comparison(message: ingest_service_pb2.ReembedComparison) -> records.Comparison:
    labelled = message.HasField("precision_before")
    return records.Comparison(
        queries=message.queries,
        k=message.k,
        overlap=message.overlap,
        precision_before=message.precision_before if labelled else None,
        precision_after=message.precision_after if labelled else None,
    )


def report(message: ingest_service_pb2.GetIngestReportResponse) -> records.Report:
    return records.Report(
        job=job(message.job),
        elapsed_s=message.elapsed_s,
        planning_s=message.planning_s,
        items_per_s=message.items_per_s,
        stage_seconds=dict(message.stage_seconds),
        rates=tuple(records.Rate(rate.start_s, rate.length_s, rate.items) for rate in message.rates),
    )


def source(given: object) -> ingest_service_pb2.Source:
    match given:
        case sources.FolderSource():
            folder = ingest_service_pb2.FolderSource(
                uri=_arguments.place("source.uri", given.uri),
                labels_from_folders=_arguments.flag("source.labels_from_folders", given.labels_from_folders),
                exclude=_arguments.texts("source.exclude", given.exclude),
                include_hidden=_arguments.flag("source.include_hidden", given.include_hidden),
            )
            return ingest_service_pb2.Source(folder=folder)
        case sources.ManifestSource():
            uri = _arguments.place("source.uri", given.uri)
            return ingest_service_pb2.Source(manifest=ingest_service_pb2.ManifestSource(uri=uri))
        case sources.ArchiveSource():
            archive = ingest_service_pb2.ArchiveSource(
                uri=_arguments.place("source.uri", given.uri),
                exclude=_arguments.texts("source.exclude", given.exclude),
                include_hidden=_arguments.flag("source.include_hidden", given.include_hidden),
            )
            return ingest_service_pb2.Source(archive=archive)
        case sources.UploadSource():
            upload_id = _arguments.text("source.upload_id", given.upload_id)
            return ingest_service_pb2.Source(upload=ingest_service_pb2.UploadSource(upload_id=upload_id))
        case sources.Upload():
            return source(sources.UploadSource(given.id))
    raise InvalidArgument(
        "source", "is no source; give a FolderSource, a ManifestSource, an ArchiveSource, an UploadSource or an Upload"
    )


def _source(message: ingest_service_pb2.Source) -> sources.Source | sources.FailuresSource | sources.CollectionSource | None:
    match message.WhichOneof("kind"):
        case "folder":
            folder = message.folder
            return sources.FolderSource(folder.uri, folder.labels_from_folders, tuple(folder.exclude), folder.include_hidden)
        case "manifest":
            return sources.ManifestSource(message.manifest.uri)
        case "archive":
            archive = message.archive
            return sources.ArchiveSource(archive.uri, tuple(archive.exclude), archive.include_hidden)
        case "upload":
            return sources.UploadSource(message.upload.upload_id)
        case "failures":
            return sources.FailuresSource(message.failures.job_id)
        case "collection":
            return sources.CollectionSource(message.collection.generation)
    return None


def set_options(request: ingest_service_pb2.CreateIngestJobRequest, given: object) -> None:
    options = _arguments.record("options", given, records.IngestOptions)
    policy = _arguments.member("options.near_duplicates", options.near_duplicates, records.NearDuplicatePolicy)
    threshold = _arguments.float32("options.near_threshold", options.near_threshold, "0 to 1")
    if policy is not records.NearDuplicatePolicy.KEEP:
        request.near_duplicates.policy = _POLICIES[policy]
        request.near_duplicates.threshold = threshold
    request.mirror = _arguments.flag("options.mirror", options.mirror)
    request.dry_run = _arguments.flag("options.dry_run", options.dry_run)


def set_moment(stamp: timestamp_pb2.Timestamp, given: object, field: str) -> None:
    """Raises `InvalidArgument` for a time without a zone. None leaves `stamp` absent."""
    moment = _arguments.moment(field, given)
    if moment is not None:
        try:
            stamp.FromDatetime(moment)
        except (ValueError, OverflowError):
            # A zone moves the first and the last moment that a `datetime` holds out of the years 1 to 9999.
            raise InvalidArgument(field, "is out of range; the years 1 to 9999 of UTC are allowed") from None


def job_states(given: object) -> list[ingest_service_pb2.IngestJobState.ValueType]:
    states = _arguments.members("states", given, records.JobState)
    return [ingest_service_pb2.IngestJobState.Value(f"{_STATE_PREFIX}{state.name}") for state in states]


def upload_item(item: sources.UploadItem) -> ingest_service_pb2.UploadItemsRequest:
    """A picture too large to be taken is sent as its problem, so that it fails alone and not the upload.

    So is a `Path` that cannot be read. Raises `InvalidArgument` for a wrong type, and for metadata that JSON cannot hold.
    """
    item_id, uri = _arguments.text("items.id", item.id), _arguments.place("items.uri", item.uri)
    problem = _arguments.text("items.problem", item.problem)
    reason = _arguments.text("items.problem_reason", item.problem_reason)
    try:
        content = _arguments.picture("items.content", item.content)
    except InvalidArgument:
        raise
    except LookalikeError as error:
        content, problem, reason = b"", error.message, error.reason
    if len(content) > MAX_IMAGE_BYTES:
        size_bytes = item.content.stat().st_size if isinstance(item.content, Path) else len(content)
        problem, reason = f"is {size_bytes} bytes long; at most {MAX_IMAGE_BYTES} are allowed", "IMAGE_TOO_LARGE"
        content = b""
    message = ingest_service_pb2.UploadItem(id=item_id, uri=uri, content=content, problem=problem, problem_reason=reason)
    _set_metadata(message.metadata, item.metadata, item_id or uri)
    return ingest_service_pb2.UploadItemsRequest(item=message)


def image_update(update: records.ImageUpdate) -> search_service_pb2.ImageUpdate:
    """Raises `InvalidArgument` for metadata that JSON cannot hold."""
    merge = _arguments.flag("updates.merge", update.merge)
    message = search_service_pb2.ImageUpdate(id=_arguments.text("updates.id", update.id), merge=merge)
    _set_metadata(message.metadata, update.metadata, update.id)
    return message


def consistency(given: object) -> search_service_pb2.Consistency.ValueType:
    return consistency_number(_arguments.member("consistency", given, Consistency))


def _set_metadata(struct: struct_pb2.Struct, given: object, name: str) -> None:
    if not isinstance(given, Mapping):
        raise InvalidArgument("metadata", f"of item {name!r} is not JSON: is of type {type(given).__name__}, not a mapping")
    try:
        check_metadata(given)
    except InvalidArgument as error:
        raise InvalidArgument("metadata", f"of item {name!r} {error.problem}") from error
    try:
        json_format.ParseDict(dict(given), struct)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise InvalidArgument("metadata", f"of item {name!r} is not JSON: {error}") from error


def failure(message: ingest_service_pb2.ItemFailure) -> records.Failure:
    return records.Failure(message.id, message.uri, message.reason, message.message, message.position)


def metadata(struct: struct_pb2.Struct) -> dict[str, object]:
    """Metadata as Python values. A protobuf `Struct` knows only doubles: whole numbers come back as `int`, keys sorted."""
    raw = json_format.MessageToDict(struct)
    return {key: plain(raw[key]) for key in sorted(raw)}


def _time(message: Any, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)
