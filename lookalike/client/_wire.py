"""Between the client's records and protobuf, in both directions. Nothing but `lookalike.client` calls it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from google.protobuf import timestamp_pb2

from lookalike.client import _arguments, _checked, records
from lookalike.errors import InvalidArgument
from lookalike.records.image import Consistency
from lookalike.spaces import HistogramSettings, Space, Vector
from lookalike.v1 import collection_service_pb2, image_pb2, search_service_pb2
from lookalike.wire.query import consistency_number
from lookalike.wire.spaces import space_from
from lookalike.wire.values import metadata_from, metadata_message, moment_message


def image(message: image_pb2.Image) -> records.Image:
    return records.Image(
        id=message.id,
        uri=message.uri,
        metadata=metadata_from(message.metadata),
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
    message.metadata.CopyFrom(metadata_message(_checked.metadata(image.metadata, image.id)))
    indexed_at = _arguments.moment("images.indexed_at", image.indexed_at)
    if indexed_at is not None:
        message.indexed_at.CopyFrom(moment_message(indexed_at))
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


def image_update(update: records.ImageUpdate) -> search_service_pb2.ImageUpdate:
    """Raises `InvalidArgument` for metadata that JSON cannot hold."""
    merge = _arguments.flag("updates.merge", update.merge)
    message = search_service_pb2.ImageUpdate(id=_arguments.text("updates.id", update.id), merge=merge)
    message.metadata.CopyFrom(metadata_message(_checked.metadata(update.metadata, update.id)))
    return message


def consistency(given: object) -> search_service_pb2.Consistency.ValueType:
    return consistency_number(_arguments.member("consistency", given, Consistency))


def _time(message: Any, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)
