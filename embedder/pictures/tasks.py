"""What may be asked of a picture, in the embedder's own process or in a caged one: the pixels to embed, or a thumbnail.

Owns how a task and its result cross to a caged process and back: as frames of JSON and raw bytes, of which nothing is executed
and all is checked against what was asked for, because a decoder that was taken over may answer anything. A frame is the lengths
of both parts (two unsigned numbers of 32 bits), then the JSON, then the bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from embedder.pictures.decode import CANVAS_SIDE, Decoded, Decoder, Pixels, TowerInput, Wanted
from embedder.pictures.working_size import SHOWN, Least

Result = TypeVar("Result")
_LENGTHS = struct.Struct("<II")
_LARGEST_HEAD_BYTES = 16 * 1024
_LARGEST_THUMBNAIL_BYTES = 4_000_000
"""A JPEG of 512 x 512 pixels is never so long."""


class BadAnswer(Exception):
    """What came back is not what was asked for."""


class Task(Protocol[Result]):
    """Work on one picture."""

    @property
    def least(self) -> Least:
        """How small the picture may be decoded."""

    @property
    def most_bytes(self) -> int:
        """Of a result at most."""

    def run(self, decoder: Decoder, data: bytes) -> Result:
        """Do it here. Raises `BadImage`."""

    def packed(self, result: Result) -> tuple[list[Sequence[int]], bytes]:
        """The shapes of a result's parts, and their bytes one after the other."""

    def unpacked(self, shapes: Sequence[Sequence[int]], content: bytes) -> Result:
        """Raises `BadAnswer`."""


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """What is `wanted` for the spaces."""

    wanted: Wanted

    @property
    def least(self) -> Least:
        return self.wanted.least

    @property
    def most_bytes(self) -> int:
        canvases, towers = self.wanted.canvases, self.wanted.towers
        return CANVAS_SIDE**2 * sum(canvases) + sum(tower.side**2 * tower.channels for tower in towers)

    def run(self, decoder: Decoder, data: bytes) -> Decoded:
        return decoder.decode(data, self.wanted)

    def packed(self, result: Decoded) -> tuple[list[Sequence[int]], bytes]:
        parts = (*result.canvases, *result.towers)
        return [part.shape for part in parts], b"".join(part.tobytes() for part in parts)

    def unpacked(self, shapes: Sequence[Sequence[int]], content: bytes) -> Decoded:
        canvases, towers = self.wanted.canvases, self.wanted.towers
        if len(shapes) != len(canvases) + len(towers):
            raise BadAnswer(f"{len(shapes)} parts")
        sides = [(1, CANVAS_SIDE, channels) for channels in canvases] + [(one.side, one.side, one.channels) for one in towers]
        parts: list[Pixels] = []
        at = 0
        for shape, (least, most, channels) in zip(shapes, sides, strict=True):
            height, width, deep = _whole(shape, 3)
            if not (least <= height <= most and least <= width <= most and deep == channels):
                raise BadAnswer(f"a part of {height} x {width} x {deep}")
            size_bytes = height * width * deep
            parts.append(np.frombuffer(content[at : at + size_bytes], np.uint8).reshape(height, width, deep))
            at += size_bytes
        if at != len(content):
            raise BadAnswer("parts of other sizes")
        return Decoded(tuple(parts[: len(canvases)]), tuple(parts[len(canvases) :]))


@dataclass(frozen=True, slots=True)
class ThumbnailTask:
    """A JPEG whose longest side is at most `max_side` pixels."""

    max_side: int

    @property
    def least(self) -> Least:
        return SHOWN

    @property
    def most_bytes(self) -> int:
        return _LARGEST_THUMBNAIL_BYTES

    def run(self, decoder: Decoder, data: bytes) -> bytes:
        return decoder.thumbnail(data, self.max_side)

    def packed(self, result: bytes) -> tuple[list[Sequence[int]], bytes]:
        return [[len(result)]], result

    def unpacked(self, shapes: Sequence[Sequence[int]], content: bytes) -> bytes:
        if len(shapes) != 1 or _whole(shapes[0], 1) != (len(content),) or not content:
            raise BadAnswer("no JPEG")
        return content


def as_json(task: Task[Any]) -> dict[str, Any]:
    """`task` as it is sent to a caged process."""
    return {"kind": type(task).__name__, **asdict(cast(Any, task))}


def from_json(sent: Mapping[str, Any]) -> Task[Any]:
    if sent["kind"] == ThumbnailTask.__name__:
        return ThumbnailTask(sent["max_side"])
    wanted = sent["wanted"]
    return DecodeTask(Wanted(tuple(wanted["canvases"]), tuple(TowerInput(**tower) for tower in wanted["towers"])))


def framed(head: Mapping[str, Any], content_bytes: int) -> bytes:
    """All of a frame but its content, which is `content_bytes` long."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), content_bytes) + text


def read_frame(read: Callable[[int], bytes], most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """The next frame, by `read`, which gives exactly as many bytes as it is asked for, or fails. Raises `ValueError` for a
    frame of more than `most_bytes` of content, or of another form."""
    head_bytes, content_bytes = _LENGTHS.unpack(read(_LENGTHS.size))
    if head_bytes > _LARGEST_HEAD_BYTES or content_bytes > most_bytes:
        raise ValueError("a frame that is too long")
    head = json.loads(read(head_bytes))
    if not isinstance(head, dict):
        raise ValueError("a frame without an object")  # noqa: TRY004 - of the kind that json raises
    return head, read(content_bytes)


def _whole(shape: Sequence[int], length: int) -> tuple[int, ...]:
    if len(shape) != length or not all(isinstance(side, int) for side in shape):
        raise BadAnswer("a part without a shape")
    return tuple(shape)
