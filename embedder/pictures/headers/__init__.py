"""Readers of headers, one a format: what a picture will cost, known from its bytes before any library sees them.

Owned here: which formats there are. Each reader is Python over the bytes, walks no more parts than its own bound, decodes
nothing and holds nothing of the picture. A reader is no judge of whether a file is sound: where it does not understand one it
says that the header is not `plain`, and such a picture is decoded in the cage, under limits that do not depend on its header.
Called by `embedder.pictures.decode`.
"""

from __future__ import annotations

from collections.abc import Callable

from embedder.pictures.headers import bmp, gif, jpeg, png, tiff, webp
from embedder.pictures.headers.header import Format, Header
from embedder.pictures.headers.limits import Limits, is_quick
from embedder.pictures.kinds import is_disguised, not_read

__all__ = ["FORMATS", "Format", "Header", "Limits", "is_quick", "read_header"]

_READERS: tuple[tuple[Format, tuple[bytes, ...], Callable[[bytes], Header]], ...] = (
    ("JPEG", (b"\xff\xd8\xff",), jpeg.read),
    ("PNG", (b"\x89PNG\r\n\x1a\n",), png.read),
    ("WEBP", (b"RIFF",), webp.read),
    ("GIF", (b"GIF87a", b"GIF89a"), gif.read),
    ("BMP", (b"BM",), bmp.read),
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), tiff.read),
)
FORMATS = tuple(name for name, _, _ in _READERS)


def read_header(data: bytes) -> Header:
    """The header of an encoded picture. Raises `BadImage`: of no format that is read, or cut off before its size."""
    if is_disguised(data):
        raise not_read(data)
    for name, magics, read in _READERS:
        if data.startswith(magics) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return read(data)
    raise not_read(data)
