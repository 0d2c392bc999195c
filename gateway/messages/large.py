"""Answers that take long to write: a thousand images with 16 KB of metadata each take seconds of Python.

Here is decided which those are, and that a thread writes them, a part at a time: the parts of an answer are answers, since
protobuf merges by concatenation. Called by the servicers and by HTTP's routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import Message

from gateway.search.query import Answer, Outcome
from lookalike.errors import InvalidArgument
from lookalike.names import MAX_MESSAGE_BYTES
from lookalike.records.image import StoredImage

_MOST_AT_ONCE = 3000
"""What is written on the loop: values, of which an image is 20 and a float of a vector a twentieth; some 4 ms, of JSON 10."""
MANY = 50
"""Collections, jobs or failures that are written on the loop, at most: a job takes up to 0.05 ms, as JSON 0.3."""
_IMAGE = 20
_FLOATS = 20
_CHARACTERS = 1000


def is_large(images: Iterable[StoredImage]) -> bool:
    """Whether these are for a thread to write, with the vectors that they have. Looks at no more than it must."""
    left = _MOST_AT_ONCE
    for image in images:
        left -= _IMAGE + sum(vector.size // _FLOATS for vector in image.vectors.values())
        if left > 0:
            left -= _values(image.metadata, left)
        if left <= 0:
            return True
    return False


def is_large_answer(answer: Answer) -> bool:
    return is_large(neighbour.image for neighbour in answer.neighbours) or is_large_query(answer)


def is_large_query(answer: Answer) -> bool:
    """Whether the query's own vectors are."""
    return sum(vector.size for vector in answer.query_vectors.values()) > _MOST_AT_ONCE * _FLOATS


def is_large_outcome(outcome: Outcome) -> bool:
    return isinstance(outcome, Answer) and is_large_answer(outcome)


async def written(parts: Iterator[Message], *, large: bool, field: str) -> Message | bytes:
    """The answer that `parts` make together, for gRPC: the only one of them, or if it is `large` the bytes that a thread wrote.

    Raises `InvalidArgument` for `field`, which decides how much is answered, where the answer would not fit into a message.
    """
    return await asyncio.to_thread(_joined, parts, field) if large else next(parts)


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
