"""Protobuf <-> what the core works with. Both transports come through here: HTTP's JSON is the mapping of these messages.

Field names in errors are those of the requests. No calls to anything, no defaults but the contract's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.images.given_vectors import GivenImage
from gateway.images.paging import Page
from gateway.images.writes import MetadataUpdate, Updated
from gateway.search.query import (
    Answer,
    Batch,
    ByImage,
    ByStoredImage,
    ByVectors,
    GivenVector,
    Neighbour,
    Outcome,
    Query,
    Target,
)
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.records.collection import Collection, Generation
from lookalike.records.image import StoredImage
from lookalike.spaces import HistogramSettings, Space, Vector
from lookalike.v1 import collection_service_pb2 as collection_pb
from lookalike.v1 import image_pb2
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.query import options_from
from lookalike.wire.spaces import plain, space_from, space_message
from lookalike.wire.status import to_status

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PART_ITEMS = 8
"""Of a large answer that are written in one go: up to 128 KB of metadata, or of vectors 1 MB."""


def query_from(request: search_pb.SearchRequest) -> Query:
    """What a search asks. Raises `InvalidArgument` where it has no query."""
    return Query(request.collection, _target_from(request), options_from(request))


def batch_from(request: search_pb.SearchBatchRequest) -> Batch:
    """What a batch asks; a query that says nothing to look for is its error. Raises `InvalidArgument` for the options."""

    def query(message: search_pb.BatchQuery) -> Query | LookalikeError:
        try:
            target = _target_from(message)
        except LookalikeError as error:
            return error
        return Query(request.collection, target, options)

    options = options_from(request)
    return Batch(request.collection, [query(message) for message in request.queries])


def _target_from(request: search_pb.SearchRequest | search_pb.BatchQuery) -> Target:
    match request.WhichOneof("query"):
        case "image":
            return ByImage(request.image)
        case "vectors":
            return ByVectors(tuple(_vector_from(vector) for vector in request.vectors.vectors))
        case "image_id":
            return ByStoredImage(request.image_id)
        case _:
            raise InvalidArgument("query", "is missing; give an image, vectors or the id of a stored image")


def _vector_from(vector: image_pb2.SpaceVector) -> GivenVector:
    return GivenVector(vector.space, np.array(vector.values, np.float32), vector.fingerprint)


def search_parts(answer: Answer, *, include_vectors: bool, large: bool = False) -> Iterator[search_pb.SearchResponse]:
    """What a search is answered, in parts that make one message together; in one, unless it is `large`."""
    spaces = {space.name: space for space in answer.spaces}
    first, *rest = _slices(answer.neighbours, large)
    yield search_pb.SearchResponse(
        neighbours=[_neighbour_message(neighbour, spaces, include_vectors) for neighbour in first],
        spaces=[space_message(space) for space in answer.spaces],
        query_vectors=_vector_messages(answer.query_vectors, spaces),
        ef=answer.ef,
    )
    for some in rest:
        yield search_pb.SearchResponse(neighbours=[_neighbour_message(one, spaces, include_vectors) for one in some])


def search_response(answer: Answer, *, include_vectors: bool) -> search_pb.SearchResponse:
    return next(search_parts(answer, include_vectors=include_vectors))


def batch_parts(
    index: int, outcome: Outcome, *, include_vectors: bool, large: bool = False
) -> Iterator[search_pb.SearchBatchResponse]:
    """What becomes of one query of a batch, as `search_parts`."""
    if isinstance(outcome, LookalikeError):
        yield search_pb.SearchBatchResponse(index=index, error=to_status(outcome))
        return
    for part in search_parts(outcome, include_vectors=include_vectors, large=large):
        yield search_pb.SearchBatchResponse(index=index, answer=part)


def _slices(items: Sequence[T], large: bool) -> list[Sequence[T]]:
    """`items` as they go into one part each: all of them, or a few. At least one, perhaps empty."""
    at_once = _PART_ITEMS if large else max(1, len(items))
    return [items[start : start + at_once] for start in range(0, max(1, len(items)), at_once)]


def _neighbour_message(neighbour: Neighbour, spaces: Mapping[str, Space], include_vectors: bool) -> search_pb.Neighbour:
    return search_pb.Neighbour(
        image=image_message(neighbour.image, spaces if include_vectors else {}),
        rank=neighbour.rank,
        distance=neighbour.distance,
        similarity=neighbour.similarity,
        shares=[
            search_pb.SpaceShare(space=share.space, distance=share.distance, similarity=share.similarity, share=share.share)
            for share in neighbour.shares
        ],
    )


def image_message(image: StoredImage, spaces: Mapping[str, Space]) -> image_pb2.Image:
    """`image` with its vectors in those of `spaces` in which it has one."""
    since = image.indexed_at - _EPOCH  # several times as fast as `FromDatetime`, and made for every hit
    message = image_pb2.Image(
        id=image.id,
        uri=image.uri,
        sha256=image.sha256,
        revision=image.revision,
        indexed_at=Timestamp(seconds=86400 * since.days + since.seconds, nanos=1000 * since.microseconds),
        metadata=struct_pb2.Struct(),  # there even where it is empty
        vectors=_vector_messages(image.vectors, spaces) if spaces else (),
    )
    if image.metadata:
        message.metadata.update(dict(image.metadata))  # type: ignore[arg-type]  # JSON, as the store checked
    return message


def _vector_messages(vectors: Mapping[str, Vector], spaces: Mapping[str, Space]) -> list[image_pb2.SpaceVector]:
    return [
        image_pb2.SpaceVector(space=name, values=vectors[name].tolist(), fingerprint=space.fingerprint)
        for name, space in spaces.items()
        if name in vectors
    ]


def spaces_by_name(spaces: Iterable[Space]) -> dict[str, Space]:
    return {space.name: space for space in spaces}


def histogram_from(settings: image_pb2.HistogramSettings) -> HistogramSettings:
    """Zeros mean the defaults. Raises `InvalidArgument` for values out of range."""
    return HistogramSettings(bins=settings.bins or 256, grid=settings.grid or 1, color=settings.color)


def histogram_message(settings: HistogramSettings) -> image_pb2.HistogramSettings:
    return image_pb2.HistogramSettings(bins=settings.bins, grid=settings.grid, color=settings.color)


def collection_message(collection: Collection, image_count: int) -> collection_pb.Collection:
    created = Timestamp()
    created.FromDatetime(collection.created_at)
    other = collection.other
    return collection_pb.Collection(
        name=collection.name,
        description=collection.description,
        model=collection.model,
        histogram=histogram_message(collection.histogram),
        spaces=[space_message(space) for space in collection.spaces],
        generation=collection.generation,
        image_count=image_count,
        create_time=created,
        other=None if other is None else _other_message(other),
        exact=collection.exact,
    )


def _other_message(other: Generation) -> collection_pb.OtherGeneration:
    message = collection_pb.OtherGeneration(
        generation=other.number,
        state=collection_pb.OtherGenerationState.Value(f"OTHER_GENERATION_STATE_{other.state.name}"),
        model=other.model,
        spaces=[space_message(space) for space in other.spaces],
        job_id=other.job_id,
    )
    if other.drop_at is not None:
        message.drop_time.FromDatetime(other.drop_at)
    return message


def metadata_from(struct: struct_pb2.Struct) -> dict[str, object]:
    """A `Struct` as plain Python values. Not by `json_format`, which raises where a number is none (NaN, infinity): whether it
    can be stored is for `items.check_metadata` to say, of the one item that holds it."""
    return {name: plain(_value_from(value)) for name, value in struct.fields.items()}


def _value_from(value: struct_pb2.Value) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _value_from(inner) for name, inner in value.struct_value.fields.items()}
        case "list_value":
            return [_value_from(inner) for inner in value.list_value.values]
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def updates_from(request: search_pb.UpdateImagesRequest) -> list[MetadataUpdate]:
    return [MetadataUpdate(update.id, metadata_from(update.metadata), update.merge) for update in request.updates]


def update_response(done: Updated) -> search_pb.UpdateImagesResponse:
    return search_pb.UpdateImagesResponse(updated=done.updated, missing_ids=done.missing_ids, revision=done.revision)


def page_parts(page: Page, *, large: bool = False) -> Iterator[search_pb.ListImagesResponse]:
    """A page with the vectors that its images have, in parts as `search_parts`."""
    spaces = spaces_by_name(page.collection.spaces)
    for some in _slices(page.images, large):
        yield search_pb.ListImagesResponse(images=[image_message(image, spaces) for image in some], next_page_token=page.token)


def moment_from(stamp: Timestamp, field: str) -> datetime:
    """Raises `InvalidArgument` for a time that no calendar has, or nanoseconds that are none."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(field, "is not a time between the years 1 and 9999") from error


def given_images_from(request: search_pb.ImportImagesRequest) -> list[GivenImage]:
    """Raises `InvalidArgument` for a time that no calendar has."""
    return [
        GivenImage(
            id=image.id,
            uri=image.uri,
            metadata=metadata_from(image.metadata),
            sha256=image.sha256,
            indexed_at=(moment_from(image.indexed_at, f"images[{index}].indexed_at") if image.HasField("indexed_at") else None),
            vectors=[_vector_from(vector) for vector in image.vectors],
        )
        for index, image in enumerate(request.images)
    ]


def spaces_from(messages: Iterable[image_pb2.Space]) -> tuple[Space, ...]:
    """Raises `InvalidArgument` for a metric that is none."""
    messages = list(messages)
    for index, message in enumerate(messages):
        if message.metric not in (image_pb2.METRIC_L2, image_pb2.METRIC_COSINE):
            raise InvalidArgument(f"spaces[{index}].metric", f"{message.metric} is not METRIC_L2 or METRIC_COSINE")
    return tuple(space_from(message) for message in messages)
