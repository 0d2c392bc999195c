"""Searches for many queries: the query's record, and the cutting of any number of queries into requests.

Only `lookalike.client.searching` calls it; `lookalike.client` exports the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lookalike.client import _checked
from lookalike.errors import InvalidArgument, LookalikeError, Unavailable
from lookalike.names import MAX_CALL_BYTES, MAX_QUERIES_PER_BATCH
from lookalike.records.search import BatchAnswer
from lookalike.spaces import Vector
from lookalike.v1 import search_service_pb2
from lookalike.wire.search import batch_answer_from, batch_query_message


@dataclass(frozen=True, slots=True)
class Query:
    """A query of `Client.search_many`: exactly one of `image` (encoded, at most 20 MB, or the `Path` of its file), `vectors`
    (by space, float32 `[dimension]`) and `image_id` (of a stored image, which is left out of the answer). Raises
    `InvalidArgument`."""

    image: bytes | Path | None = field(default=None, repr=False)
    vectors: Mapping[str, Vector] | None = field(default=None, repr=False)
    image_id: str | None = None

    def __post_init__(self) -> None:
        check_one(self.image, self.vectors, self.image_id)


def check_one(*given: object) -> None:
    """Raise `InvalidArgument` unless exactly one of `given` (image, vectors, id of an image) is not None."""
    if sum(one is not None for one in given) != 1:
        raise InvalidArgument("query", "give exactly one of image, vectors and image_id")


@dataclass(slots=True)
class _Part:
    """The queries of one request, with their places among all queries."""

    places: list[int] = field(default_factory=list)
    messages: list[search_service_pb2.BatchQuery] = field(default_factory=list)
    size_bytes: int = 0

    def takes(self, message: search_service_pb2.BatchQuery) -> bool:
        """Whether `message` still fits; the first always does."""
        if not self.places:
            return True
        return len(self.places) < MAX_QUERIES_PER_BATCH and self.size_bytes + message.ByteSize() <= MAX_CALL_BYTES

    def add(self, place: int, message: search_service_pb2.BatchQuery) -> None:
        self.places.append(place)
        self.messages.append(message)
        self.size_bytes += message.ByteSize()


def answered(
    queries: Iterable[Query],
    ask: Callable[[list[search_service_pb2.BatchQuery]], Iterator[search_service_pb2.SearchBatchResponse]],
) -> Iterator[BatchAnswer]:
    """The answer of each of `queries`, which are read as they are needed; `ask` sends the queries of one request.

    A query that cannot be sent is answered here, with its error.
    """
    part = _Part()
    for place, query in enumerate(queries):
        try:
            message = batch_query_message(_checked.query(query.image, query.vectors, query.image_id))
        except LookalikeError as error:
            yield BatchAnswer(place, error=error)
            continue
        if not part.takes(message):
            yield from _asked(part, ask)
            part = _Part()
        part.add(place, message)
    if part.places:
        yield from _asked(part, ask)


def _asked(
    part: _Part, ask: Callable[[list[search_service_pb2.BatchQuery]], Iterator[search_service_pb2.SearchBatchResponse]]
) -> Iterator[BatchAnswer]:
    left = len(part.places)
    for response in ask(part.messages):
        left -= 1
        yield replace(batch_answer_from(response), index=part.places[response.index])
    if left:
        raise Unavailable("gateway", f"the call ended with {left} of {len(part.places)} queries not answered")
