"""A PNG's header: IHDR, and what stands in its chunks (PNG, third edition, with APNG).

Owns what a PNG costs. A decoder holds two rows beside the picture, and a row may be the whole of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from embedder.pictures.headers.header import METADATA_BYTES, WORK_A_BYTE, WORK_A_PART, Header, held_bytes, made_bytes
from embedder.pictures.refusals import damaged

MAX_CHUNKS = 20_000
"""Chunks that are walked: 20 MB in chunks of 1 kB. Pillow takes 5 us for each."""
MAX_DEFLATED_TEXTS = 64
"""Chunks with text or a profile, of which each may inflate to 1 MB, in an ordinary file."""
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples a pixel: grey, RGB, palette, grey and alpha, RGBA."""
_DEFLATED = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_WORK_A_TEXT = 1_000_000
"""Work of a chunk that inflates to 1 MB."""


def read(data: bytes) -> Header:
    """Raises `BadImage` where there is no IHDR."""
    size, depth = (0, 0), (0, 0, 0)
    headers = chunks = deflated = frames = metadata_bytes = 0
    plain = ended = False
    for kind, start, length in walk(data):
        chunks += 1
        ended = kind == b"IEND"
        metadata_bytes += 0 if kind == b"IDAT" else length
        if kind == b"IHDR" and length >= 13 and start + 13 <= len(data):
            width, height, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, start)
            # Pillow believes the last of several.
            size = max(size, (width, height), key=lambda one: one[0] * one[1])
            depth = (max(depth[0], bits), max(depth[1], SAMPLES.get(colour, 4)), max(depth[2], interlace))
            plain = not headers and chunks == 1 and colour in SAMPLES
            headers += 1
        elif kind in _DEFLATED:
            deflated += 1
        elif kind == b"acTL":
            frames = 2
    if not headers:
        raise damaged(part="header")
    plain = (
        plain and headers == 1 and chunks <= MAX_CHUNKS and deflated <= MAX_DEFLATED_TEXTS and metadata_bytes <= METADATA_BYTES
    )
    (width, height), (bits, samples, interlaced) = size, depth
    pixels, row = width * height, -(-width * samples * bits // 8)
    held = held_bytes(samples, bits)
    return Header(
        format="PNG",
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        # Two rows as stored; the picture; RGBA and RGB of it where a part may be transparent.
        memory_bytes=2 * row + pixels * (held + made_bytes(samples, bits)) + (pixels * held if frames else 0),
        work=(2 if interlaced else 1) * (pixels + row * height)
        + WORK_A_BYTE * len(data) + WORK_A_PART * chunks + _WORK_A_TEXT * deflated,
        scans=7 if interlaced else 1,
        frames=max(1, frames),
        interlaced=bool(interlaced),
        tile_pixels=width,
        plain=plain and ended,
    )  # fmt: skip


def walk(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, where its content starts, its length in bytes) of every chunk up to IEND, of one more than `MAX_CHUNKS` at most.
    The last may be cut off."""
    position = 8
    for _ in range(MAX_CHUNKS + 1):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length
