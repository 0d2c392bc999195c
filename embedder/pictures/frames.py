"""How a caged process and the process that keeps it talk: a line of JSON and raw bytes, over pipes.

A frame is the lengths of both (two unsigned numbers of 32 bits), then the JSON, then the bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

_LENGTHS = struct.Struct("<II")
LENGTHS_BYTES = _LENGTHS.size
LARGEST_HEAD_BYTES = 16 * 1024


def framed(head: Mapping[str, Any], content_bytes: int) -> bytes:
    """All of a frame but its content, which is `content_bytes` long."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), content_bytes) + text


def lengths(start: bytes) -> tuple[int, int]:
    """Of the JSON and of the content, in bytes."""
    head_bytes, content_bytes = _LENGTHS.unpack(start)
    return head_bytes, content_bytes


def read_frame(read: Callable[[int], bytes], most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """The next frame, by `read`, which gives exactly as many bytes as it is asked for, or fails. Raises `ValueError` for a
    frame of more than `most_bytes` of content, or of another form."""
    head_bytes, content_bytes = lengths(read(LENGTHS_BYTES))
    if head_bytes > LARGEST_HEAD_BYTES or content_bytes > most_bytes:
        raise ValueError("a frame that is too long")
    head = json.loads(read(head_bytes))
    if not isinstance(head, dict):
        raise ValueError("a frame without an object")  # noqa: TRY004 - of the kind that json raises
    return head, read(content_bytes)
