"""A BMP's header: BITMAPCOREHEADER to BITMAPV5HEADER, and OS/2's.

Owns what a BMP costs. Pillow decodes run lengths in Python, one after the other.
"""

from __future__ import annotations

import struct

from embedder.pictures.headers.header import WORK_A_BYTE, WORK_A_PART, Header, held_bytes
from embedder.pictures.refusals import damaged

_CORE, _LEAST_INFO = 12, 16
"""BITMAPCOREHEADER, and the shortest of OS/2's, which ends after the bits a pixel."""
_RUN_LENGTHS = frozenset({1, 2})
_VARIANTS = {0: "raw", 1: "RLE8", 2: "RLE4", 3: "bit fields", 4: "JPEG", 5: "PNG"}


def read(data: bytes) -> Header:
    """Raises `BadImage` where the sizes are cut off."""
    if len(data) < 26:
        raise damaged(part="header")
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    compression = 0
    if header_bytes == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif header_bytes >= _LEAST_INFO and len(data) >= 34:
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", data, 18)
        compression = compression if header_bytes >= 20 else 0
    else:
        raise damaged(part="header")
    height = abs(height)
    samples = 1 if bits <= 8 else 4 if bits == 32 else 3
    pixels, runs = width * height, compression in _RUN_LENGTHS
    held = held_bytes(samples, bits if samples == 1 else 8)
    return Header(
        format="BMP",
        width=width,
        height=height,
        samples=samples,
        bits=bits if samples == 1 else 8,
        # The rows as Pillow joins them from runs (three times), the picture, and what is made of a palette or of alpha.
        memory_bytes=pixels * (held + 10 + (3 if runs else 0)),
        work=pixels + (WORK_A_PART * (len(data) // 2) // 4 + 8 * pixels if runs else WORK_A_BYTE * len(data)),
        variant=_VARIANTS.get(compression, f"compression {compression}"),
        tile_pixels=width,
        plain=header_bytes in (12, 40, 52, 56, 64, 108, 124) and compression in _VARIANTS,
    )
