"""A TIFF's samples -> its picture. Called by `embedder.pictures.reading`.

Owned here, because Pillow misreads or refuses a good part of what TIFF can store: how samples become colours. What is
compressed is left to zlib, to simplejpeg, and to Pillow's libtiff. libtiff is given each run of parts under a header of its
own, as grey bytes of no other meaning, so that none of its views of the picture counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from embedder.pictures import tiff_layout as tiff
from embedder.pictures.flatten import to_8_bits
from embedder.pictures.tiff_layout import Layout, read_layout
from lookalike.errors import BadImage

_RUN_BYTES = 8 << 20
"""So many bytes of samples are decoded together, or one part."""
_PIECE_BYTES = 1 << 16
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Page:
    """`picture` is L, RGB or CMYK, on white, not yet turned. `profile`: its ICC profile."""

    picture: Image.Image
    orientation: int
    profile: bytes | None


@dataclass(frozen=True, slots=True)
class _Part:
    """Of `plane`: at (`left`, `top`), of so many `rows` that are stored."""

    plane: int
    index: int
    left: int
    top: int
    rows: int


class _Damaged(Exception):
    """A part cannot be read."""


def read_page(data: bytes, max_pixels: int) -> Page:
    """The first page. Raises `BadImage`."""
    layout = read_layout(data)
    # Once more: the header's reader looked at the first page, which may be a preview of this one.
    if max(layout.width * layout.height, layout.part_width * min(layout.part_height, layout.height)) > max_pixels:
        raise BadImage(
            f"is {layout.width} x {layout.height} pixels; at most {max_pixels:,} in all are allowed",
            reason="IMAGE_TOO_MANY_PIXELS",
        )
    if layout.compression in tiff.OLD_JPEG:
        return Page(_by_pillow(data), 1, layout.profile)
    return Page(_picture(layout, _samples(data, layout)), layout.orientation, layout.profile)


def _by_pillow(data: bytes) -> Image.Image:
    """JPEG of the old kind, of which libtiff alone knows the many ways; turned already."""
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            image.load()
            return image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SyntaxError) as error:
        raise BadImage("is truncated or damaged", reason="IMAGE_UNREADABLE") from error


def _samples(data: bytes, layout: Layout) -> npt.NDArray[np.uint8]:
    """uint8 `[height, width, n]`: the colour's samples, and the transparency where there is one."""
    wanted = [*range(layout.base), *([] if layout.alpha is None else [layout.alpha])]
    made = np.empty((layout.height, layout.width, len(wanted)), np.uint8)
    for run in _runs(layout, wanted):
        try:
            decoded = _decoded(data, layout, run)
        except (_Damaged, ValueError, OSError, zlib.error) as error:
            problem = f"it is damaged or ends after row {run[0].top:,} of {layout.height:,}"
            raise BadImage(f"is truncated or damaged: {problem}", reason="IMAGE_UNREADABLE") from error
        for part, pixels in zip(run, decoded, strict=True):
            rows, columns = min(part.rows, layout.height - part.top), min(layout.part_width, layout.width - part.left)
            target = made[part.top : part.top + rows, part.left : part.left + columns]
            if layout.separate:
                target[..., wanted.index(part.plane)] = pixels[:rows, :columns, 0]
            else:
                target[...] = pixels[:rows, :columns, wanted]
    return made


def _runs(layout: Layout, wanted: list[int]) -> Iterator[list[_Part]]:
    """The parts in the file's order, so many together as `_RUN_BYTES` allow."""
    a_plane = layout.across * layout.down
    size_bytes = _row_bytes(layout) * layout.part_height
    at_once = max(1, _RUN_BYTES // max(1, size_bytes))
    for plane in wanted if layout.separate else (0,):
        parts = []
        for index in range(a_plane):
            top = index // layout.across * layout.part_height
            rows = layout.part_height if layout.tiled else min(layout.part_height, layout.height - top)
            parts.append(_Part(plane, plane * a_plane + index, index % layout.across * layout.part_width, top, rows))
        for start in range(0, a_plane, at_once):
            yield parts[start : start + at_once]


def _samples_a_pixel(layout: Layout) -> int:
    return 1 if layout.separate else layout.samples


def _row_bytes(layout: Layout) -> int:
    return -(-layout.part_width * _samples_a_pixel(layout) * layout.bits // 8)


def _decoded(data: bytes, layout: Layout, run: list[_Part]) -> list[npt.NDArray[np.uint8]]:
    """uint8 `[rows, part width, samples]` of each part. Raises what its decoder does."""
    stored = [_stored(data, layout, part) for part in run]
    if layout.compression in tiff.JPEG:
        return [_from_jpeg(piece, layout, part) for piece, part in zip(stored, run, strict=True)]
    if _is_subsampled(layout):
        (across, down), columns = layout.subsampling, -(-layout.part_width // layout.subsampling[0])
        unit = across * down + 2
        heights = [-(-part.rows // down) for part in run]
        pieces = _inflated(stored, layout, columns * unit, heights)
        units = [
            np.frombuffer(piece, np.uint8).reshape(height, columns, unit) for piece, height in zip(pieces, heights, strict=True)
        ]
        return [_from_units(one, layout.subsampling)[:, : layout.part_width] for one in units]
    pieces = _inflated(stored, layout, _row_bytes(layout), [part.rows for part in run])
    return [_unpacked(piece, layout, part.rows) for piece, part in zip(pieces, run, strict=True)]


def _is_subsampled(layout: Layout) -> bool:
    return layout.photometric == tiff.YCBCR and layout.samples > 1 and layout.subsampling != (1, 1)


def _stored(data: bytes, layout: Layout, part: _Part) -> bytes:
    start = layout.offsets[part.index]
    length = layout.lengths[part.index] if part.index < len(layout.lengths) else 0
    if layout.compression in tiff.RAW and not length:
        length = len(data)
    piece = data[start : start + length]
    if not piece:
        raise _Damaged("a part is not in the file")
    return piece


def _inflated(stored: list[bytes], layout: Layout, row_bytes: int, heights: list[int]) -> list[bytes]:
    """The bytes of samples of each part: `row_bytes` times its height."""
    wanted = [row_bytes * height for height in heights]
    reverse = layout.fill_order == 2
    if layout.compression in tiff.RAW:
        pieces = [
            piece[:size].translate(_REVERSED) if reverse else piece[:size] for piece, size in zip(stored, wanted, strict=True)
        ]
    elif layout.compression in tiff.DEFLATE:
        pieces = [
            _inflate(piece.translate(_REVERSED) if reverse else piece, size) for piece, size in zip(stored, wanted, strict=True)
        ]
    else:
        pieces = _by_libtiff(stored, layout, row_bytes, heights)
    if any(len(piece) != size for piece, size in zip(pieces, wanted, strict=True)):
        raise _Damaged("a part is too short")
    return pieces


def _inflate(piece: bytes, size: int) -> bytes:
    stream = zlib.decompressobj()
    inflated = stream.decompress(piece, size)
    # To the checksum at its end. A last strip may be stored as long as the others.
    rest, more = stream.unconsumed_tail, 0
    while rest and not stream.eof and more <= size + _RUN_BYTES:
        more += len(stream.decompress(rest, _PIECE_BYTES))
        rest = stream.unconsumed_tail
    if rest and not stream.eof:
        raise _Damaged("a part holds more than its pixels")
    return inflated


def _by_libtiff(stored: list[bytes], layout: Layout, row_bytes: int, heights: list[int]) -> list[bytes]:
    """Strips of one grey picture, under a header that says nothing else: of all its parts but the last one height."""
    fax = layout.compression in tiff.CCITT
    width, bits = (layout.part_width, 1) if fax else (row_bytes, 8)
    count, start = len(stored), 8
    offsets = [start + sum(map(len, stored[:place])) for place in range(count)] if count < 64 else list(_starts(stored, start))
    tags = [
        (256, [width]), (257, [sum(heights)]), (258, [bits]), (259, [layout.compression]), (262, [tiff.GREY]),
        (266, [layout.fill_order]), (273, offsets), (277, [1]), (278, [heights[0]]), (279, [len(piece) for piece in stored]),
        (292, [layout.fax_options[0]]), (293, [layout.fax_options[1]]),
    ]  # fmt: skip
    if not fax:
        tags = tags[:-2]
    body = b"".join(stored)
    directory_at = start + len(body) + len(body) % 2
    lists_at = directory_at + 2 + 12 * len(tags) + 4
    entries, lists = b"", b""
    for tag, values in tags:
        packed = struct.pack(f"{layout.order}{len(values)}I", *values)
        if len(values) > 1:
            packed, lists = struct.pack(layout.order + "I", lists_at + len(lists)), lists + packed
        entries += struct.pack(layout.order + "HHI", tag, 4, len(values)) + packed
    head = (b"II*\0" if layout.order == "<" else b"MM\0*") + struct.pack(layout.order + "I", directory_at)
    directory = struct.pack(layout.order + "H", len(tags)) + entries + bytes(4) + lists
    with Image.open(io.BytesIO(head + body + bytes(len(body) % 2) + directory), formats=("TIFF",)) as image:
        content = image.tobytes()
    ends = np.cumsum([row_bytes * height for height in heights]).tolist()
    return [content[end - row_bytes * height : end] for end, height in zip(ends, heights, strict=True)]


def _starts(stored: list[bytes], start: int) -> Iterator[int]:
    for piece in stored:
        yield start
        start += len(piece)


def _unpacked(piece: bytes, layout: Layout, rows: int) -> npt.NDArray[np.uint8]:
    """uint8 `[rows, part width, samples]`: scaled to 8 bits, but for places in a palette."""
    samples, bits, columns = _samples_a_pixel(layout), layout.bits, layout.part_width
    values: npt.NDArray[Any]
    if bits in (8, 16, 32, 64):
        values = np.frombuffer(piece, np.dtype(f"{layout.order}u{bits // 8}")).reshape(rows, columns, samples)
        if layout.predictor == 2 and layout.compression in (*tiff.LZW, *tiff.DEFLATE, *tiff.LZMA, *tiff.ZSTD):
            values = np.cumsum(values, axis=1, dtype=np.dtype(f"u{bits // 8}"))
    else:
        each = np.unpackbits(np.frombuffer(piece, np.uint8).reshape(rows, -1), axis=1)[:, : columns * samples * bits]
        values = each.reshape(rows, columns, samples, bits) @ (1 << np.arange(bits)[::-1]).astype(np.uint16)
    if bits == 8 or layout.photometric == tiff.PALETTE:
        return values.astype(np.uint8)
    return to_8_bits(values.astype(values.dtype.newbyteorder("=")), (1 << bits) - 1)


def _from_jpeg(piece: bytes, layout: Layout, part: _Part) -> npt.NDArray[np.uint8]:
    """A part that is a JPEG without its tables. What its colours are is said by the TIFF, and so it is told to the decoder."""
    samples = _samples_a_pixel(layout)
    tables = layout.jpeg_tables[2:-2] if layout.jpeg_tables.startswith(b"\xff\xd8") else b""
    transform = bytes([layout.photometric == tiff.YCBCR and samples == 3])
    whole = b"\xff\xd8" + _ADOBE + transform + tables + piece[2:]
    height, width, _, _ = simplejpeg.decode_jpeg_header(whole)
    if width != layout.part_width or not part.rows <= height <= layout.part_height:
        raise _Damaged("a part is of another size")
    return np.asarray(simplejpeg.decode_jpeg(whole, {1: "GRAY", 3: "RGB", 4: "CMYK"}[samples]))


def _from_units(units: npt.NDArray[np.uint8], subsampling: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Units of some Y, then one Cb and Cr, `[unit rows, unit columns, n]` -> YCbCr of every pixel (TIFF 6.0, section 21)."""
    across, down = subsampling
    rows, columns, _ = units.shape
    made = np.empty((rows * down, columns * across, 3), np.uint8)
    luma = units[..., :-2].reshape(rows, columns, down, across)
    made[..., 0] = luma.transpose(0, 2, 1, 3).reshape(rows * down, columns * across)
    made[..., 1:] = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return made


def _picture(layout: Layout, samples: npt.NDArray[np.uint8]) -> Image.Image:
    """L, RGB or CMYK, on white."""
    colour = samples[..., : layout.base]
    alpha = samples[..., layout.base] if layout.alpha is not None else None
    if layout.guessed_alpha and alpha is not None and not alpha.any():
        alpha = None
    if layout.photometric == tiff.PALETTE:
        colour = _palette(layout)[colour[..., 0]]
    elif layout.photometric == tiff.BLACK_IS_255:
        # Premultiplied, 0 is white of what the pixel covers, and not of the whole.
        colour = (
            (alpha[..., None] - np.minimum(colour, alpha[..., None]))
            if alpha is not None and layout.premultiplied
            else 255 - colour
        )
    elif layout.photometric == tiff.YCBCR and layout.samples > 1 and layout.compression not in tiff.JPEG:
        colour = _from_ycbcr(colour, layout)
    if alpha is not None and layout.photometric != tiff.CMYK:
        colour = _on_white(colour, alpha, layout.premultiplied)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[colour.shape[-1]]
    return Image.frombytes(mode, (layout.width, layout.height), np.ascontiguousarray(colour).tobytes())


def _on_white(colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8], premultiplied: bool) -> npt.NDArray[np.uint8]:
    made = np.empty_like(colour)
    for row in range(0, len(colour), 256):  # not all at once: a sample takes four bytes meanwhile
        part, cover = colour[row : row + 256].astype(np.uint32), alpha[row : row + 256, :, None].astype(np.uint32)
        covered = part * 255 if premultiplied else part * cover
        made[row : row + 256] = np.minimum(255, (covered + (255 - cover) * 255 + 127) // 255)
    return made


def _palette(layout: Layout) -> npt.NDArray[np.uint8]:
    """uint8 `[2 ** bits, 3]`. Some writers fill a palette of 16 bits with 8, as libtiff knows."""
    places = 1 << layout.bits
    if len(layout.palette) < 3 * places:
        raise BadImage("is truncated or damaged in its header: its palette is too short", reason="IMAGE_UNREADABLE")
    colours = np.array(layout.palette[: 3 * places], np.uint32).reshape(3, places).T
    made = np.zeros((256, 3), np.uint8)
    made[:places] = colours if colours.max() < 256 else colours >> 8
    return made


def _from_ycbcr(colour: npt.NDArray[np.uint8], layout: Layout) -> npt.NDArray[np.uint8]:
    """TIFF 6.0, section 20 and 21."""
    red, green, blue = layout.luma
    black_y, white_y, black_b, white_b, black_r, white_r = layout.reference
    made = np.empty_like(colour)
    for row in range(0, len(colour), 256):
        part = colour[row : row + 256].astype(np.float32)
        y = (part[..., 0] - black_y) * (255 / (white_y - black_y))
        cb = (part[..., 1] - black_b) * (127 / (white_b - black_b))
        cr = (part[..., 2] - black_r) * (127 / (white_r - black_r))
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / green
        made[row : row + 256] = np.clip(np.rint(np.stack([r, g, b], -1)), 0, 255).astype(np.uint8)
    return made
