"""The strips and tiles of a TIFF -> the bytes of their rows, by bands. Called by `embedder.pictures.tiff_samples`.

Owned here: what is held of a part while it is decompressed. Uncompressed and deflated parts are read band by band. All others
but JPEG are left to Pillow's libtiff, which decodes a part as a whole: it is given each run of parts under a header of its own,
as grey bytes of no other meaning, so that none of its views of the picture counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from embedder.pictures import tiff_directory as tiff
from embedder.pictures.tiff_layout import Layout

_PIECE_BYTES = 1 << 16
"""Encoded bytes that zlib is given at a time: what it leaves of them it gives back as a copy."""
_MOST_TIMES = 16
"""Encoded bytes that a byte may take at most: of LZW one and a half, of PackBits two, of a fax nine. More is not read."""
_RUN_BYTES = 8 << 20
"""Encoded bytes that libtiff is given together, or one part."""
_SPARE_BYTES = 8 << 20
"""What a deflated part may hold behind its pixels, beside as much as they are."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Part:
    """Of `plane`: at (`left`, `top`), with `rows` rows that are stored."""

    plane: int
    index: int
    left: int
    top: int
    rows: int


class Damaged(Exception):
    """A part cannot be read."""


def stored(data: bytes, layout: Layout, part: Part) -> memoryview:
    """The encoded bytes of a part. Raises `Damaged` where there are none."""
    start = layout.offsets[part.index]
    length = layout.lengths[part.index] if part.index < len(layout.lengths) else 0
    if layout.compression in tiff.RAW and not length:
        length = len(data)
    piece = memoryview(data)[start : start + length]
    if not piece:
        raise Damaged("a part is not in the file")
    return piece


def bands(piece: memoryview, layout: Layout, row_bytes: int, heights: Sequence[int]) -> Iterator[bytes]:
    """The bytes of that number of rows of one part after another. Raises `Damaged`, or what its decoder does."""
    sizes = [row_bytes * height for height in heights]
    if layout.compression in tiff.RAW:
        found = _copied(piece, layout, sizes)
    elif layout.compression in tiff.DEFLATE:
        found = _inflated(piece, layout, sizes)
    else:
        found = _cut(_by_libtiff([piece], layout, row_bytes, [sum(heights)]), heights)
    for band, size in zip(found, sizes, strict=True):
        if len(band) != size:
            raise Damaged("a part is too short")
        yield band


def whole(pieces: Sequence[memoryview], layout: Layout, row_bytes: int, heights: Sequence[int]) -> Iterator[bytes]:
    """The bytes of each of several small parts, of that number of rows. Raises as `bands` does."""
    if layout.compression in tiff.BY_BANDS:
        for piece, height in zip(pieces, heights, strict=True):
            yield from bands(piece, layout, row_bytes, [height])
        return
    start = 0
    while start < len(pieces):
        end = _run_end(pieces, start)
        run = heights[start:end]
        for found, height in zip(_cut(_by_libtiff(pieces[start:end], layout, row_bytes, run), run), run, strict=True):
            if len(found) != row_bytes * height:
                raise Damaged("a part is too short")
            yield found
        start = end


def _run_end(pieces: Sequence[memoryview], start: int) -> int:
    """Where the run ends that begins at `start`: parts may share their bytes, and all of them are copied."""
    end, left = start + 1, _RUN_BYTES - len(pieces[start])
    while end < len(pieces) and len(pieces[end]) <= left:
        left -= len(pieces[end])
        end += 1
    return end


def _copied(piece: memoryview, layout: Layout, sizes: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        band = bytes(piece[start : start + size])
        yield band.translate(_REVERSED) if layout.fill_order == 2 else band
        start += size


def _inflated(piece: memoryview, layout: Layout, sizes: Sequence[int]) -> Iterator[bytes]:
    stream, given, tail = zlib.decompressobj(), 0, b""

    def more(most: int) -> bytes:
        """Some bytes, `most` at most; none at the end."""
        nonlocal given, tail
        while not stream.eof:
            made = stream.decompress(tail, most)
            tail = stream.unconsumed_tail
            if made:
                return made
            if not tail:
                tail = bytes(piece[given : given + _PIECE_BYTES])
                given += len(tail)
                if layout.fill_order == 2:
                    tail = tail.translate(_REVERSED)
                if not tail:
                    break
        return b""

    for size in sizes:
        band, left = [], size
        while left and (found := more(left)):
            band.append(found)
            left -= len(found)
        yield b"".join(band)
    # To the checksum at its end. A last strip may be stored as long as the others.
    left = sum(sizes) + _SPARE_BYTES
    while found := more(_PIECE_BYTES):
        left -= len(found)
        if left < 0:
            raise Damaged("a part holds more than its pixels")


def _by_libtiff(pieces: Sequence[memoryview], layout: Layout, row_bytes: int, heights: Sequence[int]) -> Image.Image:
    """Strips of one grey picture, under a header that says nothing else: of all its parts but the last one height."""
    fax = layout.compression in tiff.CCITT
    width, bits = (layout.part_width, 1) if fax else (row_bytes, 8)
    pieces = [piece[: _MOST_TIMES * row_bytes * height + _PIECE_BYTES] for piece, height in zip(pieces, heights, strict=True)]
    start = 8
    tags = [
        (256, [width]), (257, [sum(heights)]), (258, [bits]), (259, [layout.compression]), (262, [tiff.GREY]),
        (266, [layout.fill_order]), (273, list(_starts(pieces, start))), (277, [1]), (278, [heights[0]]),
        (279, [len(piece) for piece in pieces]), (292, [layout.fax_options[0]]), (293, [layout.fax_options[1]]),
    ]  # fmt: skip
    if not fax:
        tags = tags[:-2]
    body_bytes = sum(map(len, pieces))
    directory_at = start + body_bytes + body_bytes % 2
    lists_at = directory_at + 2 + 12 * len(tags) + 4
    entries, lists = b"", b""
    for tag, values in tags:
        packed = struct.pack(f"{layout.order}{len(values)}I", *values)
        if len(values) > 1:
            packed, lists = struct.pack(layout.order + "I", lists_at + len(lists)), lists + packed
        entries += struct.pack(layout.order + "HHI", tag, 4, len(values)) + packed
    head = (b"II*\0" if layout.order == "<" else b"MM\0*") + struct.pack(layout.order + "I", directory_at)
    directory = struct.pack(layout.order + "H", len(tags)) + entries + bytes(4) + lists
    file = io.BytesIO(b"".join([head, *pieces, bytes(body_bytes % 2), directory]))
    with Image.open(file, formats=("TIFF",)) as image:
        image.load()
        return image


def _starts(pieces: Sequence[memoryview], start: int) -> Iterator[int]:
    for piece in pieces:
        yield start
        start += len(piece)


def _cut(image: Image.Image, heights: Sequence[int]) -> Iterator[bytes]:
    """An image's bytes, some rows at a time: at once they would take as much again."""
    top = 0
    for height in heights:
        yield image.crop((0, top, image.width, top + height)).tobytes()
        top += height
