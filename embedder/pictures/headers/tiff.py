"""A TIFF's header: its first directory of tags (TIFF 6.0, and BigTIFF).

Owns what a TIFF costs. A tile or strip is decoded to its end, whatever part of it lies in the picture, and each sample's plane
may have tiles of its own. What is uncompressed or deflated is read by bands of rows, and averaged down on the way; a part of
another compression is decoded as a whole, by a library that knows no other way.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedder.pictures import tiff_directory as tiff
from embedder.pictures.headers.header import WORK_A_BYTE, WORK_A_PART, Header
from embedder.pictures.refusals import damaged
from embedder.pictures.working_size import SHOWN, SHOWN_SIDE, Least, least_for

_SEPARATE = 2
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
_MOST_DOWN = 4
"""Rows that share a colour of YCbCr, and are unpacked together."""
_VARIANTS = tiff.READ | tiff.NOT_READ


def read(data: bytes) -> Header:
    """Raises `BadImage` where there is no directory, or none with a width and a height."""
    directory = tiff.picture_of(tiff.read_pages(data))
    width, height = directory.number(tiff.WIDTH, 0), directory.number(tiff.HEIGHT, 0)
    if width < 1 or height < 1:
        raise damaged(part="header")
    bits = max((1, *directory.numbers(tiff.BITS, 4)))
    samples = max(1, directory.number(tiff.SAMPLES, directory.count(tiff.BITS, 1)))
    planes = samples if directory.number(tiff.PLANAR, 1) == _SEPARATE else 1
    if tiff.TILES in directory or tiff.TILE_WIDTH in directory:
        across, down = directory.number(tiff.TILE_WIDTH, width), directory.number(tiff.TILE_HEIGHT, height)
    else:
        across, down = width, min(height, directory.number(tiff.STRIP_ROWS, height))
    across, down = max(1, across), max(1, down)
    parts = -(-width // across) * -(-height // down) * planes
    tile_pixels, pixels = across * down, width * height
    together = max(1, samples // planes)
    compression = directory.number(tiff.COMPRESSION, 1)
    photometric = directory.number(tiff.PHOTOMETRIC, 1)
    stored = _Stored(width, height, bits, samples, planes, across, down, compression, photometric)
    claimed_bytes = min(directory.claimed_bytes, len(data))
    by_bands = compression in tiff.BY_BANDS
    listed = directory.count(tiff.STRIPS) + directory.count(tiff.TILES)
    return Header(
        format="TIFF",
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        memory_bytes=stored.memory_bytes + 16 * claimed_bytes + (0 if by_bands else len(data)),
        work=2 * pixels + parts * tile_pixels * together * _UNPACKED_WORK.get(bits, bits)
        + WORK_A_BYTE * len(data) + WORK_A_PART * (directory.tags + min(parts, listed)),
        variant=_VARIANTS.get(compression, f"compression {compression}"),
        tile_pixels=tile_pixels,
        undivided_pixels=0 if by_bands else tile_pixels,
        plain=directory.whole,
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
        if self.compression in tiff.OLD_JPEG:
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
        if self.compression in tiff.BY_BANDS and large and parts <= MAX_SIDE_BY_SIDE:
            return 0
        if self.compression in tiff.JPEG:
            return _JPEG_BYTES * part_samples + (gathered if parts > 1 else 0)
        if not large:
            return gathered + (_WHOLE_BYTES + 2) * BAND_BYTES
        whole = 0 if self.compression in tiff.BY_BANDS else part_samples if self.compression in tiff.CCITT else part_bytes
        return _WHOLE_BYTES * whole + (gathered if parts > 1 else 0)

    @property
    def _band_bytes(self) -> int:
        """Of rows that are unpacked, and of their samples."""
        row_samples = -(-self.width // self.across) * self.across * self.samples
        rows = _MOST_DOWN if self.photometric == tiff.YCBCR else 1
        return 2 * max(BAND_BYTES, rows * row_samples * unpacked_bytes(self.bits))

    def _made_bytes(self, least: Least) -> int:
        factor = least.factor((self.width, self.height))
        pixels = self.width * self.height
        band_pixels = min(pixels, max(BAND_PIXELS, self.width * factor))
        working_pixels = -(-self.width // factor) * -(-self.height // factor)
        return band_pixels * (_BAND_PIXEL_BYTES + min(self.samples, 5)) + working_pixels * _MADE_BYTES
