"""A TIFF's header: its first directory of tags (TIFF 6.0, and BigTIFF).

Owns what a TIFF costs. A tile or strip is decoded to its end, whatever part of it lies in the picture, and each sample's plane
may have tiles of its own. What is uncompressed or deflated is read by bands of rows, and averaged down on the way; a part of
another compression is decoded as a whole, by a library that knows no other way.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from embedder.pictures.headers.header import WORK_A_BYTE, WORK_A_PART, Header, unreadable_header
from embedder.pictures.working_size import SHOWN, SHOWN_SIDE, Least, least_for
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
BAND_BYTES = 4 << 20
"""What a band of rows takes while its samples are unpacked, or a row; and what small parts hold that are read together."""
BAND_PIXELS = 1 << 18
"""Pixels of a band that becomes a picture and is averaged down, or as many rows as are averaged to one."""
MAX_SIDE_BY_SIDE = 64
"""Large parts that are read at the same time, each with a decoder of its own."""
_UNPACKED_BYTES = {8: 1, 16: 8, 32: 14, 64: 22}
"""Bits a sample -> bytes that a sample of a part takes until it has 8 bits. Others go through an array of their bits."""
_UNPACKED_WORK = {8: 1, 16: 2, 32: 3, 64: 4}
_MADE_BYTES = 13
"""Of a pixel at working size: the picture, in sRGB, turned. Of what Pillow reads alone, two more for each sample."""
_BAND_PIXEL_BYTES = 16
"""Of a pixel in a band: an array on white, its bytes, and the picture of them, beside one for each sample."""
_FIXED_BYTES = 24 << 20
"""Decoders that run side by side, and steps between arrays, which are made some rows at a time."""
_JPEG_BYTES = 4
"""Of a sample in a JPEG: its coefficients, and what they become."""
_WHOLE_BYTES = 2
"""Of a byte that libtiff unpacks: its own array, and Pillow's."""
_LEASTS = (least_for(SHOWN_SIDE), SHOWN)
"""The largest working sizes: of the largest tower, and of a picture to be looked at."""
_BY_BANDS = frozenset({1, 8, 32946})
_OLD_JPEG, _JPEG, _CCITT = 6, 7, frozenset({2, 3, 4})
_YCBCR = 6
_MOST_DOWN = 4
"""Rows that share a colour of YCbCr, and are unpacked together."""
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
    compression = directory.value(_COMPRESSION, 1)
    stored = _Stored(width, height, bits, samples, planes, across, down, compression, directory.value(_PHOTOMETRIC, 1))
    listed = directory.counts.get(_STRIPS, 0) + directory.counts.get(_TILES, 0)
    return Header(
        format="TIFF",
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        memory_bytes=stored.memory_bytes + 16 * directory.claimed_bytes + (0 if compression in _BY_BANDS else len(data)),
        work=2 * pixels + parts * tile_pixels * together * _UNPACKED_WORK.get(bits, bits)
        + WORK_A_BYTE * len(data) + WORK_A_PART * (directory.tags + min(parts, listed)),
        variant=_VARIANTS.get(compression, f"compression {compression}"),
        tile_pixels=tile_pixels,
        undivided_pixels=0 if compression in _BY_BANDS else tile_pixels,
        plain=directory.whole and directory.claimed_bytes <= len(data),
    )  # fmt: skip


def unpacked_bytes(bits: int) -> int:
    """Bytes that a sample of `bits` bits takes until it has 8."""
    return _UNPACKED_BYTES.get(bits, 3 * bits + 4)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A picture in parts of `across` x `down` pixels, each of all its `samples` or of one of its `planes`."""

    width: int
    height: int
    bits: int
    samples: int
    planes: int
    across: int
    down: int
    compression: int
    photometric: int

    @property
    def memory_bytes(self) -> int:
        """What it takes from its bytes to the working picture."""
        if self.compression == _OLD_JPEG:
            samples = min(self.samples, 5)
            return self.across * self.down * self.samples + self.width * self.height * (_MADE_BYTES + 2 * samples)
        return self._part_bytes + self._band_bytes + max(self._made_bytes(least) for least in _LEASTS) + _FIXED_BYTES

    @property
    def _part_bytes(self) -> int:
        """Of a part that is decoded as a whole, and of the samples of those beside it."""
        part_samples = self.across * self.down * max(1, self.samples // self.planes)
        part_bytes = -(-part_samples * self.bits // 8)
        parts = -(-self.width // self.across) * self.planes
        large = max(part_samples, part_bytes) > BAND_BYTES
        gathered = self.width * min(self.down, self.height) * min(self.samples, 5)
        if self.compression in _BY_BANDS and large and parts <= MAX_SIDE_BY_SIDE:
            return 0
        if self.compression == _JPEG:
            return _JPEG_BYTES * part_samples + (gathered if parts > 1 else 0)
        if not large:
            return gathered + (_WHOLE_BYTES + 2) * BAND_BYTES
        whole = 0 if self.compression in _BY_BANDS else part_samples if self.compression in _CCITT else part_bytes
        return _WHOLE_BYTES * whole + (gathered if parts > 1 else 0)

    @property
    def _band_bytes(self) -> int:
        """Of rows that are unpacked, and of their samples."""
        row_samples = -(-self.width // self.across) * self.across * self.samples
        rows = _MOST_DOWN if self.photometric == _YCBCR else 1
        return 2 * max(BAND_BYTES, rows * row_samples * unpacked_bytes(self.bits))

    def _made_bytes(self, least: Least) -> int:
        factor = least.factor((self.width, self.height))
        pixels = self.width * self.height
        band_pixels = min(pixels, max(BAND_PIXELS, self.width * factor))
        working_pixels = -(-self.width // factor) * -(-self.height // factor)
        return band_pixels * (_BAND_PIXEL_BYTES + min(self.samples, 5)) + working_pixels * _MADE_BYTES


def _first_page(data: bytes) -> _Directory:
    """The image that is decoded: the first that is no reduced copy or mask of another, or the first of all."""
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
