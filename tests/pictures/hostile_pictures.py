"""Small files that ask for much memory or time, made in memory: for the embedder's tests of limits.

`KINDS` has one function a kind: of a number it makes a file, another one for every number.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from tests.pictures.made_pictures import encoded, noise, png, png_chunk

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


def webp_of_frames(side: int, frames: int) -> bytes:
    """An animation of a canvas of `side` x `side`, lossless, of one colour a frame."""
    pictures = [Image.new("RGB", (side, side), (n * 37 % 256, 9, 9)) for n in range(frames)]
    return encoded(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], lossless=True, method=0, quality=0)


def png_of_zeros(
    width: int, height: int, *, bits: int = 8, colour: int = 6, interlaced: bool = False, chunks: bytes = b""
) -> bytes:
    """Deflated to a thousandth. Interlaced rows of zeros are zeros in every pass; some are left over."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    raw = zlib.compress(bytes((1 + width * samples * bits // 8) * height * (9 if interlaced else 8) // 8), 1)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + palette + chunks + png_chunk(b"IDAT", raw) + png_chunk(b"IEND", b"")
    )


def png_of_texts(count: int, size_bytes: int = 1_000_000) -> bytes:
    """Texts of which each inflates to `size_bytes`."""
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(size_bytes)))
    return png_of_zeros(16, 16, chunks=text * count)


def png_of_small_parts(parts: int) -> bytes:
    """Pixels in `parts` chunks, all but the last without any."""
    data = png_of_zeros(16, 16)
    at = data.index(b"IDAT") - 4
    return data[:at] + png_chunk(b"IDAT", b"") * parts + data[at:]


def apng_of_frames(side: int, frames: int) -> bytes:
    pictures = [Image.new("L", (side, side), n * 37 % 256) for n in range(frames)]
    return encoded(pictures[0], "PNG", save_all=True, append_images=pictures[1:], compress_level=1)


def jpeg_of_segments(count: int, segment: bytes = b"\xff\xe1\0\2", *, after: bool = False) -> bytes:
    """`count` segments before the pixels, or after them."""
    data = encoded(noise(16, 16, 3), "JPEG")
    return data[:-2] + segment * count + data[-2:] if after else data[:2] + segment * count + data[2:]


def jpeg_with_exif(entries: int) -> bytes:
    """A directory of `entries` tags, whose values are all the same bytes, over as many segments as it takes."""
    values = 8 + 2 + 12 * entries + 4
    directory = (
        struct.pack("<H", entries) + b"".join(struct.pack("<HHII", n, 7, 60_000, values) for n in range(entries)) + bytes(4)
    )
    exif = b"II*\0\x08\0\0\0" + directory + bytes(60_000)
    segments = b""
    for at in range(0, len(exif), 65_000):
        content = b"Exif\0\0" + exif[at : at + 65_000]
        segments += b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    return jpeg_of_segments(1, segments)


def tiff_of_strips(
    compression: int, strip: bytes, size: tuple[int, int], *, bits: int = 8, parts: int = 1, photometric: int = 1
) -> bytes:
    """`parts` strips that share the bytes of one."""
    rows = -(-size[1] // parts)
    tags: list[Tag] = [
        (256, 4, [size[0]]), (257, 4, [size[1]]), (258, 3, [bits]), (259, 3, [compression]), (262, 3, [photometric]),
        (277, 3, [1]), (278, 4, [rows]),
    ]  # fmt: skip
    start = 8 + 2 + 12 * (len(tags) + 2) + 4 + (8 * parts if parts > 1 else 0)
    return tiff([*tags, (273, 4, [start] * parts), (279, 4, [len(strip)] * parts)], strip)


def tiff_of_shared_tags(count: int, size_bytes: int) -> bytes:
    """`count` tags that share their values, of `size_bytes`."""
    data = tiff([(256, 4, [16]), (257, 4, [16]), *((40_000 + n, 4, [n, n]) for n in range(count))], bytes(size_bytes))
    shared = bytearray(data)
    for n in range(count):
        at = data.index(struct.pack("<HHI", 40_000 + n, 4, 2))
        shared[at + 4 : at + 12] = struct.pack("<II", size_bytes // 4, len(data) - size_bytes)
    return bytes(shared)


def tiff_that_loops() -> bytes:
    """A directory whose next one is itself."""
    data = bytearray(tiff_of_strips(1, bytes(256), (16, 16)))
    at = 8 + 2 + 12 * 9
    data[at : at + 4] = struct.pack("<I", 8)
    return bytes(data)


def _side(number: int, *sides: int) -> int:
    return sides[number % len(sides)] - number // len(sides)


KINDS: dict[str, Callable[[int], bytes]] = {
    "GIF screen": lambda n: gif_of_one_colour(_side(n, 40_000, 65_535, 8000), _side(n, 40_000, 65_535, 8000)),
    "GIF within the limit": lambda n: gif_of_one_colour(
        _side(n, 7000, 49_000, 1000), _side(n, 7000, 1000, 49_000), disposal=n % 4
    ),
    "GIF frame": lambda n: gif_of_one_colour(_side(n, 65_535, 7000), _side(n, 65_535, 7000), screen=(1, 1), disposal=n % 4),
    "TIFF tile": lambda n: tiff_tiled((_side(n, 46_320, 30_000),) * 2, big=n % 2 == 1),
    "TIFF tile within the limit": lambda n: tiff_tiled(
        (_side(n, 7000, 2000),) * 2, samples=(1, 3)[n % 2], bits=(8, 16)[n // 2 % 2]
    ),
    "TIFF samples": lambda n: tiff_tiled((7000 - n,) * 2, samples=40, bits=16),
    "TIFF tiles": lambda n: tiff_tiled((16, 3_000_000 - n), (50_000, 1000)),
    "TIFF deflate": lambda n: tiff_of_strips(8, zlib.compress(bytes(7000 * 7000), 1), (7000, 7000 - n)),
    "TIFF deflate of 32 bits": lambda n: tiff_of_strips(8, zlib.compress(bytes(49_000_000), 1), (3500, 3500 - n), bits=32),
    "TIFF strips": lambda n: tiff_of_strips(1, bytes(60), (60, 30_000 + n), parts=30_000 + n),
    "TIFF JPEG of scans": lambda n: tiff_of_strips(7, jpeg_of_scans(1000, 90 + 300 * (n % 2)), (1000, 1000 - n // 2)),
    "TIFF tags": lambda n: tiff_of_shared_tags(3000 - n, 1_000_000),
    "TIFF loop": lambda n: tiff_that_loops() + bytes(n),
    "TIFF fax": lambda n: tiff_of_strips(4, b"\xff" * 6_000_000, (7000, 7000 - n), bits=1, photometric=0),
    "JPEG scans": lambda n: jpeg_of_scans(_side(n, 7000, 2000, 500), (2500, 500, 3000)[n % 3]),
    "JPEG scans within the limit": lambda n: jpeg_of_scans(
        _side(n, 2000, 500), (100, 900)[n % 2], mode=("L", "RGB")[n // 2 % 2]
    ),
    "JPEG segments": lambda n: jpeg_of_segments(
        500_000 + n, (b"\xff\xe1\0\2", b"\xff\xfe\0\3x", b"\xff\xff", b"\xff\0")[n % 4], after=n % 8 > 3
    ),
    "JPEG resources": lambda n: jpeg_of_segments(
        20 + n, b"\xff\xed" + struct.pack(">H", 60_016) + b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000
    ),
    "JPEG EXIF": lambda n: jpeg_with_exif(_side(n, 65_000, 20_000, 5000)),
    "JPEG narrow": lambda n: encoded(Image.new("L", (65_500, 700 - n), 9), "JPEG"),
    "PNG row": lambda n: png_in_one_row(_side(n, 50_000_000, 5_000_000), bits=(16, 8)[n // 2 % 2], colour=(6, 2)[n // 4 % 2]),
    "PNG": lambda n: png_of_zeros(_side(n, 7000, 5000), 7000, bits=(8, 16)[n % 2], colour=(6, 0, 4, 2)[n // 2 % 4]),
    "PNG interlaced": lambda n: png_of_zeros(_side(n, 7000, 4000), 4000, bits=(8, 16)[n % 2], interlaced=True),
    "PNG texts": lambda n: png_of_texts(60 + 500 * (n % 3) + n),
    "PNG parts": lambda n: png_of_small_parts((19_000, 300_000)[n % 2] + n),
    "PNG animation": lambda n: apng_of_frames(_side(n, 2000, 500), 10 + 40 * (n % 2)),
    "BMP runs": lambda n: bmp_of_runs(_side(n, 5000, 1000), _side(n, 5000, 1000), b"\1\1" * (2_000_000, 500_000)[n % 2]),
    "BMP jumps": lambda n: bmp_of_runs(_side(n, 7000, 49_000_000), (7000, 1)[n % 2], b"\0\2\xff\xff" * 1000),
    "BMP without pixels": lambda n: bmp_of_runs(7000 - n, 7000, b""),
    "WebP canvas": lambda n: webp_canvas(_side(n, 16_000, 7000), _side(n, 16_000, 7000)),
    "WebP": lambda n: encoded(
        Image.new("RGBA", (_side(n, 5000, 3000), 3000), (9, 9, 9, n % 256)), "WEBP", lossless=True, method=0, quality=0
    ),
    "WebP animation": lambda n: webp_of_frames(_side(n, 1500, 500), 4 + 10 * (n % 2)),
}


def hostile(count: int, *, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` pictures, each kind in turn, no two alike, with the name of its kind."""
    kinds = list(KINDS.items())
    for number in range(first, first + count):
        name, make = kinds[number % len(kinds)]
        yield name, make(number // len(kinds))
