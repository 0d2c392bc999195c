"""Pictures for the embedder's tests, made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def encoded(picture: Image.Image | npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """`picture` as a file of `kind` (Pillow's word for the format)."""
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(height: int, width: int, channels: int = 1, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Every value likely: uint8 `[height, width]`, or `[height, width, 3]`."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def corners(width: int = 40, height: int = 24) -> Image.Image:
    """Four flat quarters: red and green above, blue and white below. Every turn and mirror image of it differs."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


def png(width: int, height: int, bits: int, color_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of kinds that Pillow does not write. `rows`: raw samples; `chunks`: what goes before the pixels."""
    stride = len(rows) // height
    raw = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int = 20_000, height: int = 12_000) -> bytes:
    """A PNG that says it is 240 megapixels, and is, in some 30 KB: one bit a pixel, all black."""
    return png(width, height, 1, 0, bytes(width // 8 * height))
