"""A WebP's header: the canvas of VP8X, or the frame of VP8 or VP8L (RFC 9649).

Owns what a WebP costs. Pillow decodes each as an animation: two canvases of RGBA, made while it opens the file, and a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from embedder.pictures.headers.header import METADATA_BYTES, WORK_A_BYTE, WORK_A_PART, Header
from embedder.pictures.refusals import damaged

MAX_CHUNKS = 4096
"""Chunks that are walked: an animation has one a frame."""
_ANIMATED, _ALPHA = 0x02, 0x10
_FRAMES = frozenset({b"VP8 ", b"VP8L"})
_LOSSLESS = 0x2F


def read(data: bytes) -> Header:
    """Raises `BadImage` where there is neither a canvas nor a frame."""
    canvas = frame = (0, 0)
    frames = chunks = metadata_bytes = 0
    flags, lossless = 0, False
    for kind, start, length in walk(data):
        chunks += 1
        if kind == b"VP8X" and start + 10 <= len(data):
            flags |= data[start]
            canvas = (_24_bits(data, start + 4) + 1, _24_bits(data, start + 7) + 1)
        elif kind in _FRAMES:
            frames += 1
            lossless = lossless or kind == b"VP8L"
            frame = max(frame, _frame_size(data, kind, start), key=lambda one: one[0] * one[1])
        elif kind == b"ANMF":
            frames += 1
        else:
            metadata_bytes += length
    width, height = max(canvas, frame, key=lambda one: one[0] * one[1])
    if not width or not height:
        raise damaged(part="header")
    animated = bool(flags & _ANIMATED) or frames > 1
    pixels = width * height
    return Header(
        format="WEBP",
        width=width,
        height=height,
        samples=4 if flags & _ALPHA or lossless else 3,
        bits=8,
        # Two canvases and the copy that Pillow reads, its picture, and the decoder's own.
        memory_bytes=pixels * 22,
        work=3 * pixels + WORK_A_BYTE * len(data) + WORK_A_PART * chunks,
        variant="lossless" if lossless else "lossy",
        frames=2 if animated else 1,
        tile_pixels=pixels,
        plain=frames == 1 and not animated and canvas in (frame, (0, 0)) and chunks < MAX_CHUNKS
        and metadata_bytes <= METADATA_BYTES,
    )  # fmt: skip


def walk(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, where its content starts, its length in bytes) of `MAX_CHUNKS` chunks at most. The last may be cut off."""
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, length
        position += 8 + length + (length & 1)


def _frame_size(data: bytes, kind: bytes, start: int) -> tuple[int, int]:
    if kind == b"VP8 " and data[start + 3 : start + 6] == b"\x9d\x01\x2a" and start + 10 <= len(data):
        across, down = struct.unpack_from("<HH", data, start + 6)
        return across & 0x3FFF, down & 0x3FFF
    if kind == b"VP8L" and start + 5 <= len(data) and data[start] == _LOSSLESS:
        (sizes,) = struct.unpack_from("<I", data, start + 1)
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return 0, 0


def _24_bits(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3], "little")
