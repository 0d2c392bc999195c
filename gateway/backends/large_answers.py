"""Answers that take long to write: a thousand images with 16 KB of metadata each take seconds of Python.

This module decides which those are, and lets a thread write them, a part at a time. The parts of an answer are answers, since
protobuf merges by concatenation. Called by the RPCs and by HTTP's routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from google.protobuf.message import Message

from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.names import MAX_MESSAGE_BYTES
from lookalike.records.image import StoredImage
from lookalike.records.search import BatchAnswer, Outcome, SearchResult
from lookalike.spaces import Space
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.images import image_message
from lookalike.wire.search import batch_answer_message, neighbour_messages, search_result_message

T = TypeVar("T")

_MOST_AT_ONCE = 1000
"""The values that are written on the loop: some 1.5 ms, as JSON 10 to 20. An image counts as 20, a float of a
vector as a twentieth."""
MANY = 50
"""Collections, jobs or failures that are written on the loop, at most: a job takes up to 0.05 ms, as JSON 0.3."""
_IMAGE = 20
_FLOATS = 20
_CHARACTERS = 1000
_PART_ITEMS = 8
"""The items of a large answer that are written in one go: up to 128 KB of metadata, or 1 MB of vectors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an RPC, not yet written: parts that protobuf merges into one message. There is one, unless it is `large`.

    `field` of the request decides how much is answered.
    """

    parts: Iterator[Message]
    large: bool
    field: str = "page_size"

    @classmethod
    def whole(cls, make: Callable[[], Message], *, large: bool) -> Answer:
        """An answer in one part, which `make` makes when the answer is written."""
        return cls(_once(make), large)

    async def written(self) -> Message | bytes:
        """What gRPC sends: the only part, or for a large answer the bytes that a thread wrote.

        Raises `InvalidArgument` for `field` where the answer would not fit into a message.
        """
        return await asyncio.to_thread(_joined, self.parts, self.field) if self.large else next(self.parts)

    def message(self) -> Message:
        """All parts in one message, made here and now."""
        message = next(self.parts)
        for part in self.parts:
            message.MergeFrom(part)
        return message


def is_large(images: Iterable[StoredImage]) -> bool:
    """Whether a thread is to write these images, with the vectors that they have. Looks at no more than it must."""
    left = _MOST_AT_ONCE
    for image in images:
        left -= _IMAGE + sum(vector.size // _FLOATS for vector in image.vectors.values())
        if left > 0:
            left -= _values(image.metadata, left)
        if left <= 0:
            return True
    return False


def is_large_answer(answer: SearchResult) -> bool:
    return is_large(neighbour.image for neighbour in answer.neighbours) or is_large_query(answer)


def is_large_query(answer: SearchResult) -> bool:
    """Whether the query's own vectors make the answer large."""
    return sum(vector.size for vector in answer.query_vectors.values()) > _MOST_AT_ONCE * _FLOATS


def is_large_outcome(outcome: Outcome) -> bool:
    return isinstance(outcome, SearchResult) and is_large_answer(outcome)


def search_parts(answer: SearchResult, *, large: bool) -> Iterator[pb.SearchResponse]:
    """The answer to a search, in parts that make one message together; in one part, unless it is `large`."""
    first, *rest = _slices(answer.neighbours, large)
    yield search_result_message(replace(answer, neighbours=tuple(first)))
    for some in rest:
        yield pb.SearchResponse(neighbours=neighbour_messages(some, answer.spaces))


def batch_parts(index: int, outcome: Outcome, *, large: bool) -> Iterator[pb.SearchBatchResponse]:
    """What becomes of one query of a batch, in parts as `search_parts`."""
    if isinstance(outcome, LookalikeError):
        yield batch_answer_message(BatchAnswer(index, error=outcome))
        return
    for part in search_parts(outcome, large=large):
        yield pb.SearchBatchResponse(index=index, answer=part)


def page_parts(
    images: Sequence[StoredImage], spaces: Sequence[Space], token: str, *, large: bool = False
) -> Iterator[pb.ListImagesResponse]:
    """A page of images with the vectors that they have, and the token of the next page, in parts as `search_parts`."""
    for some in _slices(images, large):
        yield pb.ListImagesResponse(images=[image_message(image, spaces) for image in some], next_page_token=token)


def _slices(items: Sequence[T], large: bool) -> list[Sequence[T]]:
    """`items` as they go into one part each: all of them, or a few. At least one, perhaps empty."""
    at_once = _PART_ITEMS if large else max(1, len(items))
    return [items[start : start + at_once] for start in range(0, max(1, len(items)), at_once)]


def _once(make: Callable[[], Message]) -> Iterator[Message]:
    yield make()


def _joined(parts: Iterator[Message], field: str) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    for part in parts:
        piece = part.SerializeToString()
        size_bytes += len(piece)
        if size_bytes > MAX_MESSAGE_BYTES:
            problem = f"what is asked for takes more than the {MAX_MESSAGE_BYTES:,} bytes of one answer; ask for fewer"
            raise InvalidArgument(field, problem, reason="ANSWER_TOO_LARGE")
        pieces.append(piece)
    return b"".join(pieces)


def _values(value: object, most: int) -> int:
    """How many values `value` holds, itself included; `most` where there are more."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS
    count = 1
    if isinstance(value, Mapping):
        inners: Iterable[object] = value.values()
    elif isinstance(value, list | tuple):
        inners = value
    else:
        return count
    for inner in inners:
        count += _values(inner, most - count)
        if count >= most:
            break
    return count
