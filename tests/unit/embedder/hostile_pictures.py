"""Small files that ask for much memory or time, made in memory: for the embedder's tests of limits."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image

from tests.unit.embedder.made_pictures import encoded, png

Tag = tuple[int, int, Sequence[int]]
"""(tag, type: 3 for SHORT or 4 for LONG, values)."""


def gif_of_one_colour(width: int, height: int, *, disposal: int = 2, screen: tuple[int, int] | None = None) -> bytes:
    """A frame of `width` x `height` without its pixels: 43 bytes. `screen`: the frame's own size where it is None."""
    across, down = screen or (width, height)
    return (
        b"GIF89a" + struct.pack("<HHBBB", across, down, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
        + b"\x21\xf9\x04" + bytes([disposal << 2]) + b"\0\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x02\x02\x44\x01\0;"
    )  # fmt: skip


def jpeg_of_scans(side: int, scans: int, *, mode: str = "L") -> bytes:
    """A progressive JPEG of one colour whose last scan is repeated: some 100 bytes a scan."""
    data = encoded(Image.new(mode, (side, side), 77 if mode == "L" else (77, 99, 11)), "JPEG", progressive=True, quality=50)
    scan = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, scan)
    return data[:-2] + data[tables:-2] * scans + b"\xff\xd9"


def tiff(tags: Sequence[Tag], content: bytes = b"", *, order: str = "<", big: bool = False) -> bytes:
    """One directory, then `content`, which starts where `tiff_content_at` says."""
    inline, entry = (8, "HHQ") if big else (4, "HHI")
    start = (16 if big else 8) + (8 if big else 2) + len(tags) * (20 if big else 12) + (8 if big else 4)
    extra, entries = b"", b""
    for tag, kind, values in sorted(tags):
        raw = b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], value) for value in values)
        entries += struct.pack(order + entry, tag, kind, len(values))
        if len(raw) <= inline:
            entries += raw.ljust(inline, b"\0")
        else:
            entries += struct.pack(order + ("Q" if big else "I"), start + len(extra))
            extra += raw
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return mark + head + count + entries + bytes(8 if big else 4) + extra + content


def tiff_tiled(
    tile: tuple[int, int], size: tuple[int, int] = (16, 16), *, samples: int = 1, bits: int = 8, big: bool = False
) -> bytes:
    """A picture of `size` whose one tile is `tile` large, and deflated to nothing: 138 bytes."""
    tags: list[Tag] = [
        (256, 4, [size[0]]), (257, 4, [size[1]]), (258, 3, [bits] * samples), (259, 3, [8]),
        (262, 3, [2 if samples == 3 else 1]), (277, 3, [samples]),
        (322, 4, [tile[0]]), (323, 4, [tile[1]]), (324, 4, [134]), (325, 4, [4]),
    ]  # fmt: skip
    return tiff(tags, zlib.compress(b""), big=big)


def png_in_one_row(width: int, *, bits: int = 16, colour: int = 6) -> bytes:
    """A row of `width` pixels, all of it zeros."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    return png(width, 1, bits, colour, bytes(width * samples * bits // 8))


def bmp_of_runs(width: int, height: int, runs: bytes) -> bytes:
    """An 8-bit BMP of run lengths, with a palette of greens."""
    palette = b"".join(bytes((0, value, 0, 0)) for value in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 2835, 2835, 256, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + palette + runs


def webp_canvas(width: int, height: int) -> bytes:
    """A canvas of `width` x `height` around a frame of one pixel."""
    stream = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 9, 9)).save(stream, "WEBP")
    frame = stream.getvalue()[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body
