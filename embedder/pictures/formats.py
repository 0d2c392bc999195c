"""The readers of pictures, one a format: how a file is recognised, what its header says, and what decodes it.

Owns `READERS`: for each format of `lookalike.picture_formats`, by its key, a row. A new format is a row there, a row here, and
a module that reads it. Called by `embedder.pictures.decode` and, for what is decoded where, by `embedder.serving.service`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from embedder.pictures import reading
from embedder.pictures.headers import bmp, gif, jpeg, png, tiff, webp
from embedder.pictures.headers.header import Header
from embedder.pictures.headers.limits import HELD_BYTES, QUICK_MEMORY_BYTES, QUICK_SCANS_WORK, QUICK_WORK
from embedder.pictures.reading import Working
from embedder.pictures.refusals import is_disguised, not_read
from embedder.pictures.working_size import Least

Decode = Callable[[bytes, Header, Least, int], Working]
"""(encoded picture, its header, how small it may be decoded, most pixels) -> the working picture. Raises `BadImage`."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How files of one format are read.

    `begins`: what their first bytes match. `header` reads a header and raises `BadImage` where it is cut off.
    `decoded_small`: the decoder gives a picture at a reduced scale and holds no more of it. `safe`: its decoder is trusted in
    the embedder's own process, where a picture is cheap; all others are decoded in the cage.
    """

    begins: re.Pattern[bytes]
    header: Callable[[bytes], Header]
    decode: Decode
    decoded_small: bool = False
    safe: bool = False


READERS = {
    "JPEG": Reader(re.compile(rb"\xff\xd8\xff"), jpeg.read, reading.decode_jpeg, decoded_small=True, safe=True),
    "PNG": Reader(re.compile(rb"\x89PNG\r\n\x1a\n"), png.read, reading.decode_png, safe=True),
    "WEBP": Reader(re.compile(rb"RIFF....WEBP", re.DOTALL), webp.read, reading.decode_by_pillow, safe=True),
    "GIF": Reader(re.compile(rb"GIF8[79]a"), gif.read, reading.decode_by_pillow),
    "BMP": Reader(re.compile(rb"BM"), bmp.read, reading.decode_bmp),
    "TIFF": Reader(re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.read, reading.decode_tiff),
}


def read_header(data: bytes) -> Header:
    """The header of an encoded picture. Raises `BadImage`: of no format that is read, or cut off before its size."""
    if not is_disguised(data):
        for reader in READERS.values():
            if reader.begins.match(data):
                return reader.header(data)
    raise not_read(data)


def decode(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """The working picture of `data`, which `read_header` has read. Raises `BadImage`."""
    return READERS[header.format].decode(data, header, least, max_pixels)


def decoded_pixels(header: Header, least: Least) -> int:
    """Pixels of what the decoder gives where the picture may be as small as `least`."""
    if not READERS[header.format].decoded_small:
        return header.pixels
    width, height = least.draft_size((header.width, header.height))
    return width * height


def is_quick(header: Header, least: Least) -> bool:
    """Whether a picture decodes safely, soon and in little memory, where it may be as small as `least`."""
    reader = READERS[header.format]
    if not reader.safe or not header.plain or header.frames > 1:
        return False
    if reader.decoded_small and header.scans == 1 and not header.interlaced:
        return HELD_BYTES * decoded_pixels(header, least) <= QUICK_MEMORY_BYTES
    most_work = QUICK_SCANS_WORK if reader.decoded_small else QUICK_WORK
    return header.memory_bytes <= QUICK_MEMORY_BYTES and header.work <= most_work
