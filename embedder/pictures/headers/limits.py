"""What a picture may cost, and how it is told that it costs more. Asked by `embedder.pictures.decode` before it decodes."""

from __future__ import annotations

from dataclasses import dataclass

from embedder.pictures.headers.header import Header
from lookalike.errors import BadImage

MEMORY_BYTES = 1 << 30
WORK = 500_000_000
"""Some five seconds. A progressive JPEG of 50 megapixels with every sample of its colours, 20 MB long, comes to half of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one picture: `pixels` (width x height, also of a tile), `memory_bytes` while it is decoded, `work` (see `header`)."""

    pixels: int = 50_000_000
    memory_bytes: int = MEMORY_BYTES
    work: int = WORK

    def check(self, header: Header) -> None:
        """Raises `BadImage`, which names the number and the limit."""
        if header.pixels > self.pixels:
            raise BadImage(
                f"is {header.width} x {header.height} pixels; at most {self.pixels:,} in all are allowed",
                reason="IMAGE_TOO_MANY_PIXELS",
            )
        if header.tile_pixels > max(self.pixels, header.width):
            raise BadImage(
                f"is stored in parts of {header.tile_pixels:,} pixels; at most {self.pixels:,} are allowed",
                reason="IMAGE_TOO_MANY_PIXELS",
            )
        if header.memory_bytes > self.memory_bytes:
            raise BadImage(
                f"would take {_megabytes(header.memory_bytes)} of memory to decode; "
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
