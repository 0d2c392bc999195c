"""Searches and their answers <-> protobuf. HTTP's bodies become these messages too; the options are in `search_options`.

Fields in errors are those of the requests. No calls to anything, no defaults but the contract's own.
"""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Iterable

from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.records.search import (
    BatchAnswer,
    ByImage,
    ByStoredImage,
    ByVectors,
    Neighbour,
    Query,
    SearchBatchRequest,
    SearchRequest,
    SearchResult,
    SpaceShare,
)
from lookalike.spaces import Space
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.fields import message_of, record_of
from lookalike.wire.images import image_from, image_message
from lookalike.wire.search_options import options_from, options_message
from lookalike.wire.spaces import (
    given_vector_from,
    given_vector_message,
    vector_messages,
    vectors_from,
)
from lookalike.wire.status import from_status, to_status


def search_message(request: SearchRequest) -> pb.SearchRequest:
    return pb.SearchRequest(
        collection=request.collection, query=query_message(request.query), options=options_message(request.options)
    )


def search_from(request: pb.SearchRequest) -> SearchRequest:
    """Raises `InvalidArgument` for a request without a query, and for its options."""
    return SearchRequest(request.collection, query_from(request.query), options_from(request.options))


def batch_from(request: pb.SearchBatchRequest) -> SearchBatchRequest:
    """An empty query is given as its error. Raises `InvalidArgument` for the options."""

    def query(message: pb.Query) -> Query | LookalikeError:
        try:
            return query_from(message)
        except LookalikeError as error:
            return error

    options = options_from(request.options)
    return SearchBatchRequest(request.collection, [query(one.query) for one in request.queries], options)


def batch_query_message(query: Query) -> pb.BatchQuery:
    return pb.BatchQuery(query=query_message(query))


def query_message(query: Query) -> pb.Query:
    match query:
        case ByImage():
            return pb.Query(image=query.content)
        case ByVectors():
            return pb.Query(vectors=pb.QueryVectors(spaces=[given_vector_message(vector) for vector in query.vectors]))
        case ByStoredImage():
            return pb.Query(image_id=query.image_id)


def query_from(message: pb.Query) -> Query:
    """Raises `InvalidArgument` for an empty one."""
    match message.WhichOneof("query"):
        case "image":
            return ByImage(message.image)
        case "vectors":
            return ByVectors(tuple(given_vector_from(vector) for vector in message.vectors.spaces))
        case "image_id":
            return ByStoredImage(message.image_id)
        case _:
            raise InvalidArgument("query", "is missing; give an image, vectors or the id of a stored image")


def search_result_message(result: SearchResult) -> pb.SearchResponse:
    return message_of(
        pb.SearchResponse,
        result,
        neighbours=neighbour_messages(result.neighbours, result.spaces),
        query_vectors=vector_messages(result.query_vectors, result.spaces),
    )


def neighbour_messages(neighbours: Iterable[Neighbour], spaces: Sized[Space]) -> list[pb.Neighbour]:
    """With the vectors that the images have in `spaces`. Copied by hand, as images are."""
    return [
        pb.Neighbour(
            image=image_message(one.image, spaces),
            rank=one.rank,
            distance=one.distance,
            similarity=one.similarity,
            shares=[
                pb.SpaceShare(space=share.space, distance=share.distance, similarity=share.similarity, share=share.share)
                for share in one.shares
            ],
        )
        for one in neighbours
    ]


def search_result_from(message: pb.SearchResponse) -> SearchResult:
    """Raises `Internal` for a metric that this version does not know."""
    neighbours = tuple(_neighbour_from(neighbour) for neighbour in message.neighbours)
    return record_of(SearchResult, message, neighbours=neighbours, query_vectors=vectors_from(message.query_vectors))


def _neighbour_from(message: pb.Neighbour) -> Neighbour:
    return Neighbour(
        image=image_from(message.image),
        rank=message.rank,
        distance=message.distance if message.HasField("distance") else None,
        similarity=message.similarity,
        shares=tuple(SpaceShare(one.space, one.distance, one.similarity, one.share) for one in message.shares),
    )


def batch_answer_message(answer: BatchAnswer) -> pb.SearchBatchResponse:
    if answer.error is not None:
        return pb.SearchBatchResponse(index=answer.index, error=to_status(answer.error))
    result = None if answer.result is None else search_result_message(answer.result)
    return pb.SearchBatchResponse(index=answer.index, answer=result)


def batch_answer_from(message: pb.SearchBatchResponse) -> BatchAnswer:
    if message.WhichOneof("outcome") == "error":
        return BatchAnswer(message.index, error=from_status(message.error))
    return BatchAnswer(message.index, result=search_result_from(message.answer))
