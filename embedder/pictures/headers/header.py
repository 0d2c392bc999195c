"""What a picture's header says, and what decoding it may cost. Made by the readers beside this module, one a format.

Owns the record and the units of cost. Work is counted in pixels of an ordinary JPEG, decoded at full size: some 10 ns of a
processor of 2024. Memory is what Pillow's decoder and the flattening after it were seen to hold at most, in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

WORK_A_BYTE = 2
"""Work of an encoded byte: eight codes of one bit each take a Huffman decoder some 20 ns."""
WORK_A_PART = 500
"""Work of a chunk, segment, block or strip: Pillow walks over them in Python, in some 5 us each."""

METADATA_BYTES = 256 * 1024
"""Metadata of a plain header at most: Pillow takes them apart in Python, and holds the interpreter meanwhile."""


@dataclass(frozen=True, slots=True)
class Header:
    """`format`: the key of one of `lookalike.picture_formats.FORMATS`.

    `width` x `height`: the largest raster that the decoder makes, in pixels, before the picture is turned. `tile_pixels`: of
    the largest part that is stored as one (a tile, a strip), no less than a row; `undivided_pixels`: of such a part that its
    compression gives as a whole or not at all.

    `samples` of `bits` bits make a pixel; 0: unknown. `scans`: how often the decoder goes over the pixels.
    `frames`: 1, or 2 where more than one follows. `variant` says in the format's own words how it is coded.
    `memory_bytes` and `work`: at most, for a decode at full size.
    `plain`: the reader understood all of it, and found nothing that ordinary files do not have.
    """

    format: str
    width: int
    height: int
    samples: int
    bits: int
    memory_bytes: int
    work: int
    variant: str = ""
    scans: int = 1
    frames: int = 1
    interlaced: bool = False
    tile_pixels: int = 0
    undivided_pixels: int = 0
    plain: bool = True

    @property
    def pixels(self) -> int:
        return self.width * self.height


def held_bytes(samples: int, bits: int) -> int:
    """Bytes that Pillow holds for a pixel: one for grey or a palette's index, two or four for deep grey, four for all else."""
    if samples == 1:
        return 1 if bits <= 8 else 2 if bits <= 16 else 4
    return 4


def made_bytes(samples: int, bits: int) -> int:
    """Bytes that are made of a pixel beside what Pillow holds: RGBA and RGB of it, or grey of 16 bits in 32."""
    return 12 if samples == 1 and bits > 8 else 9
