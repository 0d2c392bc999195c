"""A PNG's chunks: which of them matter, whether their checksums hold, and the same picture without the rest.

Owns what Pillow leaves out or is too strict about. Pillow gives up a picture for a damaged or long text beside the
pixels, and never looks at the checksums of the pixels themselves. Called by `embedder.pictures.reading`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedder.pictures.headers import png as header

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTHS: dict[bytes, range] = {
    b"tRNS": range(1, 257), b"gAMA": range(4, 5), b"cHRM": range(32, 33), b"sRGB": range(1, 2), b"cICP": range(4, 5),
}  # fmt: skip
"""Chunks beside the pixels that change what they mean -> the lengths that they may have, in bytes."""
_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf", *_LENGTHS})
_PIECE_BYTES = 1 << 20
_INTERLACING = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: each pass's first column and row, and its steps."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How the pixels of a file are. `whole`: as they were written. `problem`: what is wrong, for people, where they are not.
    `odd`: they are whole, but a checksum of theirs is wrong."""

    whole: bool
    problem: str = ""
    odd: bool = False


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """(type, start and end of its content, whether its checksum holds) of every chunk that the file has whole."""
    view = memoryview(data)
    for kind, start, length in header.walk(data):
        end = start + length
        if end + 4 <= len(data):
            yield kind, start, end, zlib.crc32(view[start - 4 : end]) == int.from_bytes(view[end : end + 4])


def without_oddities(data: bytes) -> bytes:
    """The same picture with only those chunks that say what its pixels are, as far as they are sound."""
    parts, seen = [_SIGNATURE], set()
    for kind, start, end, sound in chunks(data):
        fits = end - start in _LENGTHS.get(kind, range(1 << 32)) and not (kind == b"tRNS" and not _fits(data, start, end))
        if kind in _KEPT and (sound or kind == b"IDAT") and fits and (kind == b"IDAT" or kind not in seen):
            content = data[start - 4 : end]
            parts.append(struct.pack(">I", end - start) + content + struct.pack(">I", zlib.crc32(content)))
            seen.add(kind)
    if b"IEND" not in seen:
        parts.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    return b"".join(parts)


def checked(data: bytes) -> Pixels:
    """Whether the pixels are what was written. Quick where every checksum holds; else they are inflated and thrown away."""
    broken = next((start for kind, start, _, sound in chunks(data) if not sound and kind == b"IDAT"), None)
    if broken is None:
        return Pixels(whole=True)
    if is_whole(data):
        return Pixels(whole=True, odd=True)
    return Pixels(whole=False, problem=f"the checksum of its pixels does not hold in the part at byte {broken:,}")


def is_whole(data: bytes) -> bool:
    """Whether all pixels are there, however long it takes to see."""
    stored, wanted, _ = _inflated(data)
    return 0 < stored == wanted


def problem(data: bytes) -> str:
    """What is wrong with pixels that could not be decoded."""
    stored, wanted, rows = _inflated(data)
    if rows and 0 <= stored < wanted:
        return f"it ends after row {stored * rows // wanted:,} of {rows:,}"
    return ""


def without_deep_key(data: bytes) -> Image.Image:
    """A picture of 16 bits a sample, one colour of which is transparent, as RGB with that one white. Pillow keeps the upper
    bytes alone, and several colours may have the same; read once more as if its bytes were swapped, it gives the lower ones."""
    upper, lower = (_in_raw_mode(data, mode) for mode in ("RGB;16B", "RGB;16L"))
    key = np.array(upper.info["transparency"])
    pixels = np.array(upper)
    pixels[((pixels == key >> 8) & (np.asarray(lower) == key & 255)).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def _in_raw_mode(data: bytes, mode: str) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    image.tile = [tile._replace(args=mode) for tile in image.tile]
    image.load()
    return image


def _fits(data: bytes, start: int, end: int) -> bool:
    """Whether a transparent colour or palette has as many values as its picture takes."""
    lengths = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
    return end - start in lengths.get(data[25], range(0))


def _inflated(data: bytes) -> tuple[int, int, int]:
    """Bytes of pixels that are stored, of which a damaged stream counts one less than all; how many there must be; and rows.
    Zeros where there is no header."""
    if len(data) < 29 or data[12:16] != b"IHDR" or data[25] not in header.SAMPLES:
        return 0, 0, 0
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits_per_pixel = bits * header.SAMPLES[colour]
    passes = _INTERLACING if interlaced else ((0, 0, 1, 1),)
    wanted = 0
    for left, top, across, down in passes:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        wanted += rows * (1 + -(-columns * bits_per_pixel // 8)) if columns else 0
    stream, stored = zlib.decompressobj(), 0
    try:
        for kind, start, length in header.walk(data):
            piece = data[start : start + length] if kind == b"IDAT" else b""
            while piece and not stream.eof and stored <= wanted:
                stored += len(stream.decompress(piece, _PIECE_BYTES))
                piece = stream.unconsumed_tail
    except zlib.error:
        return min(stored, wanted - 1), wanted, height
    return (stored if stream.eof else min(stored, wanted - 1)), wanted, height
