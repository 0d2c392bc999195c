"""A TIFF's directories: the tags of its pages, and which page is the picture (TIFF 6.0, and BigTIFF).

Owned here: the words of the format, and how far a directory is walked, whatever the file says. `headers.tiff` asks what a
picture costs, `tiff_layout` how it is stored; both look at the same page and believe the first of equal tags.
"""

from __future__ import annotations

import struct

from embedder.pictures.refusals import damaged
from lookalike.errors import BadImage

MAX_PAGES = 64
"""Pages that are looked at for the first that is no reduced copy or mask of another."""
MAX_TAGS = 4096
"""Tags of a directory; baseline and extensions together define some 200."""
_TYPES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q",
    17: "q", 18: "Q",
}  # fmt: skip
"""Type -> how `struct` reads a value; a fraction is two numbers."""

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR = 273, 274, 277, 278, 279, 284
T4, T6, PREDICTOR, COLOURS, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 292, 293, 317, 320, 322, 323, 324, 325
SUB_DIRECTORIES, INKS, EXTRA, FORMAT, JPEG_TABLES = 330, 332, 338, 339, 347
COEFFICIENTS, SUBSAMPLING, REFERENCE, PROFILE, DNG = 529, 530, 532, 34675, 50706
_REDUCED_OR_MASK = 1 | 4

RAW, CCITT, LZW, OLD_JPEG, JPEG, DEFLATE, LZMA, ZSTD = (1,), (2, 3, 4), (5,), (6,), (7,), (8, 32946), (34925,), (50000,)
BY_BANDS = (*RAW, *DEFLATE)
"""Compressions of which no more than a band of a part is held; of others a part is decoded as a whole."""
READ = {
    1: "raw", 2: "CCITT", 3: "group 3", 4: "group 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate", 32773: "PackBits",
    32946: "deflate", 34925: "LZMA", 50000: "ZSTD",
}  # fmt: skip
"""Compressions that are read."""
NOT_READ = {
    9: "JBIG", 10: "JBIG", 34661: "JBIG", 32766: "NeXT", 32809: "ThunderScan", 34676: "LogLuv",
    34677: "LogLuv", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL", 34887: "LERC", 34713: "a camera's raw compression",
}  # fmt: skip
"""Compressions that are refused by name."""
BLACK_IS_255, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""Photometric interpretations that are read."""


class Directory:
    """The tags of one page. Values are read when they are asked for; what lies outside of the file is not there.

    `claimed_bytes`: of all values that stand outside of the directory. `next`: where the next page is; 0 for none. `whole`:
    nothing was left out, and no more is claimed than the file holds. Raises `BadImage` for a directory that is cut off.
    """

    def __init__(self, data: bytes, order: str, big: bool, start: int) -> None:
        self.order, self._data = order, data
        count_code, entry, self._link = ("Q", "HHQ8x", f"{order}Q") if big else ("H", "HHI4x", f"{order}I")
        self._inline = struct.calcsize(self._link)
        size = struct.calcsize(order + entry)
        self._entries: dict[int, tuple[int, int, int]] = {}
        self.claimed_bytes = 0
        try:
            (count,) = struct.unpack_from(order + count_code, data, min(start, len(data)))
            position = start + struct.calcsize(order + count_code)
            self.tags = min(count, MAX_TAGS)
            for at in range(position, position + self.tags * size, size):
                tag, kind, length = struct.unpack_from(order + entry, data, at)
                self._entries.setdefault(tag, (kind, length, at + size - self._inline))
                size_bytes = _size_bytes(kind) * length
                self.claimed_bytes += size_bytes if size_bytes > self._inline else 0
        except struct.error:
            raise damaged(part="header") from None
        after = position + count * size
        self.next = struct.unpack_from(self._link, data, after)[0] if after + self._inline <= len(data) else 0
        self.whole = count <= MAX_TAGS and self.claimed_bytes <= len(data)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    @property
    def is_copy(self) -> bool:
        """Whether the page is a reduced copy or a mask of another."""
        return bool(self.number(SUBFILE, 0) & _REDUCED_OR_MASK)

    def count(self, tag: int, default: int = 0) -> int:
        """How many values a tag says it has."""
        return self._entries[tag][1] if tag in self else default

    def values(self, tag: int, most: int | None = None) -> tuple[float, ...]:
        """All values of a tag, or the first `most`, fractions as floats; none where the tag is not there, or not whole."""
        kind, length, _ = self._entries.get(tag, (0, 0, 0))
        code = _TYPES.get(kind, "s")
        at = self._place(tag)
        length = length if most is None else min(length, most)
        if code == "s" or at + _size_bytes(kind) * length > len(self._data):
            return ()
        found = struct.unpack_from(f"{self.order}{length * len(code)}{code[0]}", self._data, at)
        if len(code) == 1:
            return found
        return tuple(above / (below or 1) for above, below in zip(found[::2], found[1::2], strict=True))

    def numbers(self, tag: int, most: int | None = None) -> tuple[int, ...]:
        """As `values`. Raises `BadImage` for what is no number."""
        try:
            return tuple(int(value) for value in self.values(tag, most))
        except (ValueError, OverflowError):
            raise damaged(part="header") from None

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag, 1)), default)

    def content(self, tag: int) -> bytes:
        """The bytes of a tag; none where it is not there, or not whole."""
        kind, length, _ = self._entries.get(tag, (0, 0, 0))
        at = self._place(tag)
        content = self._data[at : at + length] if _TYPES.get(kind) in ("s", "B", "b") else b""
        return content if len(content) == length else b""

    def _place(self, tag: int) -> int:
        """Where the values of a tag stand: in its entry, or where the entry says."""
        kind, length, at = self._entries.get(tag, (0, 0, 0))
        if _size_bytes(kind) * length > self._inline:
            (at,) = struct.unpack_from(self._link, self._data, at)
        return int(at)


def read_pages(data: bytes) -> list[Directory]:
    """The first page, and what follows while pages are copies. Raises `BadImage` where there is no first page."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
    except struct.error:
        raise damaged(part="header") from None
    pages, seen = [Directory(data, order, big, start)], {start}
    while pages[-1].is_copy and (following := pages[-1].next) and following not in seen and len(seen) < MAX_PAGES:
        seen.add(following)
        try:
            pages.append(Directory(data, order, big, following))
        except BadImage:
            break
    return pages


def picture_of(pages: list[Directory]) -> Directory:
    """The page that is decoded: the first that is no copy, or the first of all."""
    return pages[0] if pages[-1].is_copy else pages[-1]


def _size_bytes(kind: int) -> int:
    """Of a value; of an unknown type one byte."""
    return struct.calcsize(f"={_TYPES.get(kind, 's')}")
