"""Scalars for TensorBoard, written without TensorFlow, so that a run on any Keras backend has them.

Keras' own callback needs TensorFlow's summaries, and those need the package tensorboard. What is written is an event file: a
TFRecord of `tensorflow.Event` messages (tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import platform
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

_CASTAGNOLI = 0x82F63B78
"""The polynomial of CRC-32C, its bits reversed (RFC 3720, appendix B.4)."""
_MASK = 0xA282EAD8


class ScalarLog:
    """Appends to one new event file in `folder` (made if missing); TensorBoard joins the files of several runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self._stream = (folder / f"events.out.tfevents.{now:.6f}.{platform.node()}").open("wb")
        self._write(_double(1, now) + _bytes(3, b"brain.Event:2"))

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write `scalars` (tag -> value) at `step`, a whole number from 0."""
        summary = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in scalars.items())
        self._write(_double(1, time.time()) + b"\x10" + _varint(step) + _bytes(5, summary))

    def _write(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        self._stream.write(length + _checksum(length) + event + _checksum(event))
        self._stream.flush()


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return encoded + bytes((value,))


def _bytes(field: int, value: bytes) -> bytes:
    return bytes((field << 3 | 2,)) + _varint(len(value)) + value


def _double(field: int, value: float) -> bytes:
    return bytes((field << 3 | 1,)) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return bytes((field << 3 | 5,)) + struct.pack("<f", value)
