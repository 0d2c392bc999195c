"""How a TIFF stores its samples: its directory of tags as one record, or by name why it is not read (TIFF 6.0, and BigTIFF).

Owned here: which of the many kinds of TIFF are read at all. A kind is read where its samples have one meaning to everybody:
whole numbers from 0 to all ones, as grey, RGB, YCbCr, CMYK or places in a palette. Called by `embedder.pictures.tiff_pixels`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from embedder.pictures.unsupported import unsupported
from lookalike.errors import BadImage

MAX_TAGS = 4096
MAX_PAGES = 64
"""Pages that are looked at for the first that is no reduced copy or mask of another."""
_TYPES = {
    1: "B",
    2: "s",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "s",
    8: "h",
    9: "i",
    10: "ii",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    18: "Q",
}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_T4, _T6, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 292, 293, 317, 320, 322, 323, 324, 325
_SUB_DIRECTORIES, _INKS, _EXTRA, _FORMAT, _JPEG_TABLES = 330, 332, 338, 339, 347
_COEFFICIENTS, _SUBSAMPLING, _REFERENCE, _PROFILE, _DNG = 529, 530, 532, 34675, 50706
_REDUCED_OR_MASK = 1 | 4
BLACK_IS_255, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_BASE = {BLACK_IS_255: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Photometric interpretation -> samples that make a colour."""
_OTHER_COLOURS = {
    4: "a transparency mask alone", 8: "CIELab colours", 9: "ICCLab colours", 10: "ITULab colours", 32844: "LogL light",
    32845: "LogLuv light", 32803: "a camera's raw picture (a mosaic of colours)", 34892: "a camera's raw picture (linear)",
}  # fmt: skip
RAW, CCITT, LZW, OLD_JPEG, JPEG, DEFLATE, PACKBITS, LZMA, ZSTD = (
    (1,),
    (2, 3, 4),
    (5,),
    (6,),
    (7,),
    (8, 32946),
    (32773,),
    (34925,),
    (50000,),
)
_READ = {*RAW, *CCITT, *LZW, *OLD_JPEG, *JPEG, *DEFLATE, *PACKBITS, *LZMA, *ZSTD}
_OTHER_COMPRESSIONS = {
    9: "JBIG", 10: "JBIG", 34661: "JBIG", 32766: "NeXT", 32809: "ThunderScan", 34676: "LogLuv",
    34677: "LogLuv", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL",
    34887: "LERC", 34713: "a camera's raw compression",
}  # fmt: skip
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_ALPHAS = {1, 2, 999}
"""Premultiplied; not; as Corel wrote it once."""
PREMULTIPLIED = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """`bits` a sample, unsigned. `base` samples make the colour; `alpha` is the place of the transparency among all `samples`,
    or None. `guessed_alpha`: the file does not say that it is one.

    A part (strip or tile) is `part_width` x `part_height` pixels; of the last strip fewer rows. `offsets` and `lengths` (bytes)
    name all parts of the first plane, then of the next; `separate` planes hold one sample each.
    """

    order: str
    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    compression: int
    predictor: int
    separate: bool
    fill_order: int
    alpha: int | None
    premultiplied: bool
    guessed_alpha: bool
    tiled: bool
    part_width: int
    part_height: int
    offsets: tuple[int, ...] = field(repr=False)
    lengths: tuple[int, ...] = field(repr=False)
    palette: tuple[int, ...] = field(repr=False)
    jpeg_tables: bytes = field(repr=False)
    fax_options: tuple[int, int]
    subsampling: tuple[int, int]
    luma: tuple[float, float, float]
    reference: tuple[float, ...]
    orientation: int
    profile: bytes | None = field(repr=False)

    @property
    def base(self) -> int:
        return min(_BASE[self.photometric], self.samples)

    @property
    def across(self) -> int:
        """Parts side by side."""
        return -(-self.width // self.part_width)

    @property
    def down(self) -> int:
        return -(-self.height // self.part_height)


class _Directory:
    """The tags of one page. Values are read when they are asked for; what lies outside of the file is not there."""

    def __init__(self, data: bytes, order: str, big: bool, start: int) -> None:
        count_code, entry, self._inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
        (count,) = struct.unpack_from(order + count_code, data, start)
        position = start + struct.calcsize(order + count_code)
        size = struct.calcsize(order + entry) + self._inline
        self._data, self._order = data, order
        self._entries: dict[int, tuple[int, int, int]] = {}
        for at in range(position, position + min(count, MAX_TAGS) * size, size):
            tag, kind, length = struct.unpack_from(order + entry, data, at)
            self._entries.setdefault(tag, (kind, length, at + size - self._inline))
        after = position + count * size
        link = order + ("Q" if big else "I")
        self.next = struct.unpack_from(link, data, after)[0] if after + struct.calcsize(link) <= len(data) else 0

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def values(self, tag: int) -> tuple[float, ...]:
        """All values of a tag, fractions as floats; none where the tag is not there, or not whole."""
        kind, length, at = self._entries.get(tag, (0, 0, 0))
        code = _TYPES.get(kind, "")
        size = struct.calcsize("=" + code) * length
        if not code or code == "s":
            return ()
        if size > self._inline:
            (at,) = struct.unpack_from(self._order + ("Q" if self._inline == 8 else "I"), self._data, at)
        if at + size > len(self._data):
            return ()
        found = struct.unpack_from(f"{self._order}{length * len(code)}{code[0]}", self._data, at)
        return (
            tuple(above / (below or 1) for above, below in zip(found[::2], found[1::2], strict=True))
            if len(code) == 2
            else found
        )

    def numbers(self, tag: int) -> tuple[int, ...]:
        return tuple(int(value) for value in self.values(tag))

    def number(self, tag: int, default: int) -> int:
        found = self.numbers(tag)
        return found[0] if found else default

    def content(self, tag: int) -> bytes:
        """The bytes of a tag; none where it is not there, or not whole."""
        kind, length, at = self._entries.get(tag, (0, 0, 0))
        if _TYPES.get(kind) not in ("s", "B", "b"):
            return b""
        if length > self._inline:
            (at,) = struct.unpack_from(self._order + ("Q" if self._inline == 8 else "I"), self._data, at)
        content = self._data[at : at + length]
        return content if len(content) == length else b""


def read_layout(data: bytes) -> Layout:
    """The layout of the first page. Raises `BadImage`: unsupported, and by which name, or damaged in its header."""
    try:
        directory, order, page = _first_page(data)
        return _layout(directory, order, page)
    except (struct.error, ValueError, OverflowError, IndexError) as error:
        raise BadImage("is truncated or damaged in its header", reason="IMAGE_UNREADABLE") from error


def _first_page(data: bytes) -> tuple[_Directory, str, int]:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    pages = list(_pages(data, order, big, start))
    whole = [page for page in pages if not page.number(_SUBFILE, 0) & _REDUCED_OR_MASK]
    if any(_DNG in page for page in pages) or (not whole and _SUB_DIRECTORIES in pages[0]):
        raise unsupported("a camera's raw picture (a TIFF that begins with a preview)")
    chosen = (whole or pages)[0]
    return chosen, order, pages.index(chosen)


def _pages(data: bytes, order: str, big: bool, start: int) -> Iterator[_Directory]:
    page = _Directory(data, order, big, start)
    yield page
    seen = {start}
    while page.number(_SUBFILE, 0) & _REDUCED_OR_MASK and page.next and page.next not in seen and len(seen) < MAX_PAGES:
        seen.add(page.next)
        try:
            page = _Directory(data, order, big, page.next)
        except struct.error:
            return
        yield page


def _layout(directory: _Directory, order: str, page: int) -> Layout:
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    depths = directory.numbers(_BITS) or (1,)
    samples = directory.number(_SAMPLES, len(depths))
    compression = directory.number(_COMPRESSION, 1)
    photometric = directory.number(_PHOTOMETRIC, GREY if samples < 3 else RGB)
    if width < 1 or height < 1 or samples < 1:
        raise ValueError("no pixels")
    _check_kind(directory, samples, depths, photometric, compression)
    base = min(_BASE[photometric], samples)
    alpha, premultiplied, guessed = _alpha(directory, photometric, samples, base)
    tiled = _TILES in directory or _TILE_WIDTH in directory
    part_width = directory.number(_TILE_WIDTH, 0) if tiled else width
    part_height = directory.number(_TILE_HEIGHT, 0) if tiled else min(height, directory.number(_STRIP_ROWS, height) or height)
    # A few writers name tiles as strips.
    offsets = (directory.numbers(_TILES) if tiled else ()) or directory.numbers(_STRIPS)
    lengths = (directory.numbers(_TILE_BYTES) if tiled else ()) or directory.numbers(_STRIP_BYTES)
    if part_width < 1 or part_height < 1:
        raise ValueError("parts without pixels")
    layout = Layout(
        order=order, width=width, height=height, bits=depths[0], samples=samples, photometric=photometric,
        compression=compression, predictor=directory.number(_PREDICTOR, 1),
        separate=directory.number(_PLANAR, 1) == 2 and samples > 1, fill_order=directory.number(_FILL_ORDER, 1),
        alpha=alpha, premultiplied=premultiplied, guessed_alpha=guessed, tiled=tiled, part_width=part_width,
        part_height=part_height, offsets=offsets, lengths=lengths, palette=directory.numbers(_COLOURS),
        jpeg_tables=directory.content(_JPEG_TABLES), fax_options=(directory.number(_T4, 0), directory.number(_T6, 0)),
        subsampling=_subsampling(directory, photometric),
        luma=_three(directory.values(_COEFFICIENTS), (0.299, 0.587, 0.114)),
        reference=_reference(directory.values(_REFERENCE)), orientation=directory.number(_ORIENTATION, 1),
        profile=directory.content(_PROFILE) or None,
    )  # fmt: skip
    if compression in OLD_JPEG:
        if page > 0:
            raise unsupported("a TIFF with a preview before its picture in JPEG of the old kind")
        return layout  # its parts are named in ways of their own
    if len(offsets) < layout.across * layout.down * (samples if layout.separate else 1):
        raise ValueError("parts are missing")
    _check_parts(layout)
    return layout


def _check_kind(directory: _Directory, samples: int, depths: tuple[int, ...], photometric: int, compression: int) -> None:
    if photometric not in _BASE:
        raise unsupported(f"a TIFF of {_OTHER_COLOURS.get(photometric, f'photometric interpretation {photometric}')}")
    if compression not in _READ:
        raise unsupported(f"a TIFF compressed by {_OTHER_COMPRESSIONS.get(compression, f'method {compression}')}")
    formats = directory.numbers(_FORMAT) or (1,)
    named = next((_FORMATS[one] for one in formats if one in _FORMATS), "")
    if named:
        raise unsupported(f"a TIFF of {named} {max(depths)}-bit samples, which have no range of their own")
    if len(set(depths)) > 1:
        raise unsupported(f"a TIFF whose samples have different depths ({', '.join(map(str, depths[:8]))} bits)")
    if not (1 <= depths[0] <= 16 or depths[0] in (32, 64)):
        raise unsupported(f"a TIFF of {depths[0]}-bit samples")
    if photometric == PALETTE and depths[0] > 8:
        raise unsupported(f"a TIFF with a palette of {depths[0]}-bit places")
    if photometric == CMYK and directory.number(_INKS, 1) != 1:
        raise unsupported("a TIFF of inks other than CMYK")
    if samples < _BASE[photometric] and not (photometric == YCBCR and samples == 1):
        raise ValueError("too few samples")


def _check_parts(layout: Layout) -> None:
    if layout.predictor not in (1, 2) and layout.compression in (*LZW, *DEFLATE, *LZMA, *ZSTD):
        raise unsupported(f"a TIFF with predictor {layout.predictor}")
    if layout.predictor == 2 and layout.compression in (*LZW, *DEFLATE, *LZMA, *ZSTD) and layout.bits not in (8, 16, 32, 64):
        raise unsupported(f"a TIFF of {layout.bits}-bit samples with a predictor")
    if layout.compression in CCITT and (layout.bits, layout.samples) != (1, 1):
        raise unsupported(f"a fax TIFF of {layout.samples} bands of {layout.bits} bits")
    if layout.compression in JPEG:
        if layout.bits != 8:
            raise unsupported(f"a TIFF of {layout.bits}-bit JPEG")
        if not layout.separate and layout.samples not in (1, 3, 4):
            raise unsupported(f"a TIFF of {layout.samples} bands in JPEG")
    elif layout.photometric == YCBCR and layout.samples > 1:
        subsampled = layout.subsampling != (1, 1)
        if layout.bits != 8 or (subsampled and (layout.separate or layout.samples != 3 or layout.predictor != 1)):
            raise unsupported("a TIFF of YCbCr colours in an unusual order")
        if subsampled and not set(layout.subsampling) <= {1, 2, 4}:
            raise ValueError("no such subsampling")


def _alpha(directory: _Directory, photometric: int, samples: int, base: int) -> tuple[int | None, bool, bool]:
    """Which sample is the transparency, whether colours are multiplied by it, and whether the file does not say so."""
    kinds = directory.numbers(_EXTRA)
    if samples == base:
        return None, False, False
    if not kinds:
        if photometric == RGB and samples == base + 1:
            return base, False, True
        raise unsupported(f"a TIFF of {samples} bands")
    found = next((place for place, kind in enumerate(kinds[: samples - base]) if kind in _ALPHAS), None)
    return (None, False, False) if found is None else (base + found, kinds[found] == PREMULTIPLIED, False)


def _subsampling(directory: _Directory, photometric: int) -> tuple[int, int]:
    found = directory.numbers(_SUBSAMPLING)
    return (1, 1) if photometric != YCBCR else (found[0], found[1]) if len(found) == 2 else (2, 2)


def _three(found: tuple[float, ...], default: tuple[float, float, float]) -> tuple[float, float, float]:
    return (found[0], found[1], found[2]) if len(found) == 3 and found[1] else default


def _reference(found: tuple[float, ...]) -> tuple[float, ...]:
    usable = len(found) == 6 and all(white != black for black, white in zip(found[::2], found[1::2], strict=True))
    return found if usable else (0, 255, 128, 255, 128, 255)
