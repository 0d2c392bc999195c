"""A TIFF's header: its first directory of tags (TIFF 6.0, and BigTIFF).

Owns what a TIFF costs. A tile or strip is decoded whole, whatever part of it lies in the picture, and each sample's plane may
have tiles of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from embedder.pictures.headers.header import WORK_A_BYTE, WORK_A_PART, Header, unreadable_header
from lookalike.errors import BadImage

MAX_PAGES = 64
"""Pages that are looked at for the first that is no reduced copy or mask of another."""
MAX_TAGS = 4096
"""Tags of a directory; baseline and extensions together define some 200."""
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _STRIP_ROWS, _PLANAR = 273, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Type -> bytes of a value."""
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SEPARATE, _REDUCED_OR_MASK = 2, 1 | 4
_UNPACKED_BYTES = {8: 1, 16: 8, 32: 14, 64: 22}
"""Bits a sample -> bytes that a sample of a part takes until it has 8 bits. Others go through an array of their bits."""
_UNPACKED_WORK = {8: 1, 16: 2, 32: 3, 64: 4}
_MADE_BYTES = 13
"""Of a pixel: an array on white, its bytes, and the picture of them, beside two for each sample."""
_VARIANTS = {
    1: "raw", 2: "CCITT", 3: "group 3", 4: "group 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate", 32773: "PackBits",
    32946: "deflate", 34925: "LZMA", 50000: "ZSTD", 50001: "WebP",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Directory:
    """`values`: the first few of each tag of whole numbers. `counts`: how many it says it has. `claimed_bytes`: of all."""

    values: dict[int, tuple[int, ...]]
    counts: dict[int, int]
    claimed_bytes: int
    tags: int
    whole: bool
    next: int

    def value(self, tag: int, default: int) -> int:
        found = self.values.get(tag, ())
        return found[0] if found else default


def read(data: bytes) -> Header:
    """Raises `BadImage` where there is no directory, or none with a width and a height."""
    directory = _first_page(data)
    width, height = directory.value(_WIDTH, 0), directory.value(_HEIGHT, 0)
    if not width or not height:
        raise unreadable_header()
    bits = max(directory.values.get(_BITS, (1,)))
    samples = max(1, directory.value(_SAMPLES, directory.counts.get(_BITS, 1)))
    planes = samples if directory.value(_PLANAR, 1) == _SEPARATE else 1
    if _TILES in directory.counts or _TILE_WIDTH in directory.counts:
        across, down = directory.value(_TILE_WIDTH, width), directory.value(_TILE_HEIGHT, height)
    else:
        across, down = width, min(height, directory.value(_STRIP_ROWS, height))
    across, down = max(1, across), max(1, down)
    parts = -(-width // across) * -(-height // down) * planes
    tile_pixels, pixels = across * down, width * height
    together = max(1, samples // planes)
    tile_bytes = tile_pixels * together * _UNPACKED_BYTES.get(bits, 3 * bits + 4)
    made_bytes = _MADE_BYTES + 2 * min(samples, 5)
    listed = directory.counts.get(_STRIPS, 0) + directory.counts.get(_TILES, 0)
    return Header(
        format="TIFF",
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        memory_bytes=tile_bytes + pixels * made_bytes + 16 * directory.claimed_bytes,
        work=2 * pixels + parts * tile_pixels * together * _UNPACKED_WORK.get(bits, bits)
        + WORK_A_BYTE * len(data) + WORK_A_PART * (directory.tags + min(parts, listed)),
        variant=_VARIANTS.get(directory.value(_COMPRESSION, 1), f"compression {directory.value(_COMPRESSION, 1)}"),
        tile_pixels=tile_pixels,
        plain=directory.whole and directory.claimed_bytes <= len(data),
    )  # fmt: skip


def _first_page(data: bytes) -> _Directory:
    """That which is decoded: the first that is no reduced copy or mask of another, or the first of all."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    except struct.error:
        raise unreadable_header() from None
    first = page = _directory(data, order, big, start)
    seen = {start}
    while page.value(_SUBFILE, 0) & _REDUCED_OR_MASK and page.next and page.next not in seen and len(seen) < MAX_PAGES:
        seen.add(page.next)
        try:
            page = _directory(data, order, big, page.next)
        except BadImage:
            return first
    return first if page.value(_SUBFILE, 0) & _REDUCED_OR_MASK else page


def _directory(data: bytes, order: str, big: bool, start: int) -> _Directory:
    count_code, entry_code, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    try:
        if start > len(data):
            raise unreadable_header()
        (count,) = struct.unpack_from(order + count_code, data, start)
    except struct.error:
        raise unreadable_header() from None
    start += struct.calcsize(order + count_code)
    width = struct.calcsize(order + entry_code)
    values: dict[int, tuple[int, ...]] = {}
    counts: dict[int, int] = {}
    claimed = 0
    walked = min(count, MAX_TAGS, (len(data) - start) // width)
    for at in range(start, start + walked * width, width):
        tag, kind, length, content = struct.unpack_from(order + entry_code, data, at)
        size_bytes = _SIZES.get(kind, 1) * length
        counts[tag] = length
        if kind in _WHOLE and (found := _values(data, order, _WHOLE[kind], length, content, inline)):
            values[tag] = found
        if size_bytes > inline:
            claimed += size_bytes
    after, link = start + count * width, order + ("Q" if big else "I")
    following = struct.unpack_from(link, data, after)[0] if after + struct.calcsize(link) <= len(data) else 0
    whole = walked == count and claimed <= len(data)
    return _Directory(values, counts, min(claimed, len(data)), walked, whole, following)


def _values(data: bytes, order: str, code: str, length: int, content: bytes, inline: int) -> tuple[int, ...]:
    """The first few values of a tag; none where they are not in the file."""
    size = struct.calcsize(order + code)
    if size * length > inline:
        (start,) = struct.unpack(order + ("Q" if inline == 8 else "I"), content)
        content = data[start : start + 4 * size] if start <= len(data) else b""
    kept = min(length, 4, len(content) // size)
    return struct.unpack_from(f"{order}{kept}{code}", content)
