"""What a picture may cost, and the refusal of a picture that costs more.

Asked by `embedder.pictures.decode` before it decodes, and by `embedder.pictures.formats`, which says where that is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedder.pictures.headers.header import Header
from embedder.pictures.refusals import check_pixels
from lookalike.errors import BadImage

MEMORY_A_PIXEL, WORK_A_PIXEL = 22, 20
"""What the largest picture may take at most, for each of its pixels: the memory of a WebP with alpha, which takes most; work
of interlaced RGBA of 16 bits, which is most."""
_LEAST_MEMORY_BYTES, _LEAST_WORK = 64_000_000, 50_000_000
"""Where few pixels are allowed: what is not pixels takes so much."""
QUICK_MEMORY_BYTES, QUICK_WORK = 64_000_000, 30_000_000
"""What a decode may cost in the embedder's own process: some five megapixels of PNG, a tenth of a second."""
QUICK_SCANS_WORK = 10_000_000
"""Of a JPEG of several scans: where it is damaged it is decoded several times, to repair it or to say where."""
_LARGE_PART_PIXELS = 1 << 20
"""Pixels of a part from which on it matters that its compression does not let it be decoded in pieces."""
HELD_BYTES = 4
"""Bytes that a decoder holds for a pixel that it has decoded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one picture: `pixels` (width x height, also of a tile), `memory_bytes` while it is decoded, `work` (see `header`)."""

    pixels: int
    memory_bytes: int
    work: int

    @classmethod
    def of_pixels(cls, pixels: int, memory_bytes: int | None = None) -> Limits:
        """In proportion to the largest picture; of memory no more than `memory_bytes`, where that is given."""
        proportionate = max(_LEAST_MEMORY_BYTES, MEMORY_A_PIXEL * pixels)
        return cls(pixels, min(proportionate, memory_bytes or proportionate), max(_LEAST_WORK, WORK_A_PIXEL * pixels))

    def check(self, header: Header) -> None:
        """Raises `BadImage`, which names the number and the limit."""
        check_pixels(header.width, header.height, self.pixels)
        if header.tile_pixels > max(self.pixels, header.width):
            raise BadImage(
                f"is stored in parts of {header.tile_pixels:,} pixels; at most {self.pixels:,} are allowed",
                reason="IMAGE_TOO_MANY_PIXELS",
            )
        if header.memory_bytes > self.memory_bytes:
            whole = (
                f", since its parts of {header.undivided_pixels:,} pixels in {header.variant} cannot be decoded in pieces"
                if header.undivided_pixels > _LARGE_PART_PIXELS
                else ""
            )
            raise BadImage(
                f"would take {_megabytes(header.memory_bytes)} of memory to decode{whole}; "
                f"at most {_megabytes(self.memory_bytes)} are allowed",
                reason="IMAGE_TOO_COSTLY",
            )
        if header.work > self.work:
            passes = f" in {header.scans:,} scans" if header.scans > 1 else ""
            raise BadImage(
                f"would take as much work{passes} as {header.work:,} pixels; at most {self.work:,} are allowed",
                reason="IMAGE_TOO_COSTLY",
            )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
