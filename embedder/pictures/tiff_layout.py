"""How a TIFF stores its samples: its directory of tags as one record, or by name why it is not read (TIFF 6.0, and BigTIFF).

Owned here: which of the many kinds of TIFF are read at all. A kind is read where its samples have one meaning to everybody:
whole numbers from 0 to all ones, as grey, RGB, YCbCr, CMYK or places in a palette. Called by `embedder.pictures.tiff_pixels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from embedder.pictures import tiff_directory as tiff
from embedder.pictures.refusals import damaged, unsupported
from embedder.pictures.tiff_directory import CMYK, GREY, PALETTE, RGB, YCBCR, Directory

_BASE = {tiff.BLACK_IS_255: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Photometric interpretation -> samples that make a colour."""
_OTHER_COLOURS = {
    4: "a transparency mask alone", 8: "CIELab colours", 9: "ICCLab colours", 10: "ITULab colours", 32844: "LogL light",
    32845: "LogLuv light", 32803: "a camera's raw picture (a mosaic of colours)", 34892: "a camera's raw picture (linear)",
}  # fmt: skip
_PREDICTED = (*tiff.LZW, *tiff.DEFLATE, *tiff.LZMA, *tiff.ZSTD)
"""Compressions that a predictor goes with."""
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
    def is_predicted(self) -> bool:
        """Whether a sample is stored as what it is more than that of the pixel before."""
        return self.predictor == 2 and self.compression in _PREDICTED

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


def read_layout(data: bytes) -> Layout:
    """The layout of the first page. Raises `BadImage`: unsupported, and by which name, or damaged in its header."""
    pages = tiff.read_pages(data)
    if any(tiff.DNG in page for page in pages) or (pages[-1].is_copy and tiff.SUB_DIRECTORIES in pages[0]):
        raise unsupported("a camera's raw picture (a TIFF that begins with a preview)")
    chosen = tiff.picture_of(pages)
    return _layout(chosen, behind_preview=chosen is not pages[0])


def _layout(directory: Directory, *, behind_preview: bool) -> Layout:
    width, height = directory.number(tiff.WIDTH, 0), directory.number(tiff.HEIGHT, 0)
    depths = directory.numbers(tiff.BITS) or (1,)
    samples = directory.number(tiff.SAMPLES, len(depths))
    compression = directory.number(tiff.COMPRESSION, 1)
    photometric = directory.number(tiff.PHOTOMETRIC, GREY if samples < 3 else RGB)
    if width < 1 or height < 1 or samples < 1:
        raise damaged(part="header")
    _check_kind(directory, samples, depths, photometric, compression)
    base = min(_BASE[photometric], samples)
    alpha, premultiplied, guessed = _alpha(directory, photometric, samples, base)
    tiled = tiff.TILES in directory or tiff.TILE_WIDTH in directory
    part_width = directory.number(tiff.TILE_WIDTH, 0) if tiled else width
    strip_rows = min(height, directory.number(tiff.STRIP_ROWS, height) or height)
    part_height = directory.number(tiff.TILE_HEIGHT, 0) if tiled else strip_rows
    # A few writers name tiles as strips.
    offsets = (directory.numbers(tiff.TILES) if tiled else ()) or directory.numbers(tiff.STRIPS)
    lengths = (directory.numbers(tiff.TILE_BYTES) if tiled else ()) or directory.numbers(tiff.STRIP_BYTES)
    if part_width < 1 or part_height < 1:
        raise damaged(part="header")
    layout = Layout(
        order=directory.order, width=width, height=height, bits=depths[0], samples=samples, photometric=photometric,
        compression=compression, predictor=directory.number(tiff.PREDICTOR, 1),
        separate=directory.number(tiff.PLANAR, 1) == 2 and samples > 1, fill_order=directory.number(tiff.FILL_ORDER, 1),
        alpha=alpha, premultiplied=premultiplied, guessed_alpha=guessed, tiled=tiled, part_width=part_width,
        part_height=part_height, offsets=offsets, lengths=lengths, palette=directory.numbers(tiff.COLOURS),
        jpeg_tables=directory.content(tiff.JPEG_TABLES),
        fax_options=(directory.number(tiff.T4, 0), directory.number(tiff.T6, 0)),
        subsampling=_subsampling(directory, photometric),
        luma=_three(directory.values(tiff.COEFFICIENTS), (0.299, 0.587, 0.114)),
        reference=_reference(directory.values(tiff.REFERENCE)), orientation=directory.number(tiff.ORIENTATION, 1),
        profile=directory.content(tiff.PROFILE) or None,
    )  # fmt: skip
    if compression in tiff.OLD_JPEG:
        if behind_preview:
            raise unsupported("a TIFF with a preview before its picture in JPEG of the old kind")
        return layout  # its parts are named in ways of their own
    if len(offsets) < layout.across * layout.down * (samples if layout.separate else 1):
        raise damaged(part="header")
    _check_parts(layout)
    return layout


def _check_kind(directory: Directory, samples: int, depths: tuple[int, ...], photometric: int, compression: int) -> None:
    if photometric not in _BASE:
        raise unsupported(f"a TIFF of {_OTHER_COLOURS.get(photometric, f'photometric interpretation {photometric}')}")
    if compression not in tiff.READ:
        raise unsupported(f"a TIFF compressed by {tiff.NOT_READ.get(compression, f'method {compression}')}")
    formats = directory.numbers(tiff.FORMAT) or (1,)
    named = next((_FORMATS[one] for one in formats if one in _FORMATS), "")
    if named:
        raise unsupported(f"a TIFF of {named} {max(depths)}-bit samples, which have no range of their own")
    if len(set(depths)) > 1:
        raise unsupported(f"a TIFF whose samples have different depths ({', '.join(map(str, depths[:8]))} bits)")
    if not (1 <= depths[0] <= 16 or depths[0] in (32, 64)):
        raise unsupported(f"a TIFF of {depths[0]}-bit samples")
    if photometric == PALETTE and depths[0] > 8:
        raise unsupported(f"a TIFF with a palette of {depths[0]}-bit places")
    if photometric == CMYK and directory.number(tiff.INKS, 1) != 1:
        raise unsupported("a TIFF of inks other than CMYK")
    if samples < _BASE[photometric] and not (photometric == YCBCR and samples == 1):
        raise damaged(part="header")


def _check_parts(layout: Layout) -> None:
    if layout.predictor not in (1, 2) and layout.compression in _PREDICTED:
        raise unsupported(f"a TIFF with predictor {layout.predictor}")
    if layout.is_predicted and layout.bits not in (8, 16, 32, 64):
        raise unsupported(f"a TIFF of {layout.bits}-bit samples with a predictor")
    if layout.compression in tiff.CCITT and (layout.bits, layout.samples) != (1, 1):
        raise unsupported(f"a fax TIFF of {layout.samples} bands of {layout.bits} bits")
    if layout.compression in tiff.JPEG:
        if layout.bits != 8:
            raise unsupported(f"a TIFF of {layout.bits}-bit JPEG")
        if not layout.separate and layout.samples not in (1, 3, 4):
            raise unsupported(f"a TIFF of {layout.samples} bands in JPEG")
    elif layout.photometric == YCBCR and layout.samples > 1:
        subsampled = layout.subsampling != (1, 1)
        if layout.bits != 8 or (subsampled and (layout.separate or layout.samples != 3 or layout.predictor != 1)):
            raise unsupported("a TIFF of YCbCr colours in an unusual order")
        if subsampled and not set(layout.subsampling) <= {1, 2, 4}:
            raise damaged(part="header")


def _alpha(directory: Directory, photometric: int, samples: int, base: int) -> tuple[int | None, bool, bool]:
    """Which sample is the transparency, whether colours are multiplied by it, and whether the file does not say so."""
    kinds = directory.numbers(tiff.EXTRA)
    if samples == base:
        return None, False, False
    if not kinds:
        if photometric == RGB and samples == base + 1:
            return base, False, True
        raise unsupported(f"a TIFF of {samples} bands")
    found = next((place for place, kind in enumerate(kinds[: samples - base]) if kind in _ALPHAS), None)
    return (None, False, False) if found is None else (base + found, kinds[found] == PREMULTIPLIED, False)


def _subsampling(directory: Directory, photometric: int) -> tuple[int, int]:
    found = directory.numbers(tiff.SUBSAMPLING)
    return (1, 1) if photometric != YCBCR else (found[0], found[1]) if len(found) == 2 else (2, 2)


def _three(found: tuple[float, ...], default: tuple[float, float, float]) -> tuple[float, float, float]:
    return (found[0], found[1], found[2]) if len(found) == 3 and found[1] else default


def _reference(found: tuple[float, ...]) -> tuple[float, ...]:
    usable = len(found) == 6 and all(white != black for black, white in zip(found[::2], found[1::2], strict=True))
    return found if usable else (0, 255, 128, 255, 128, 255)
