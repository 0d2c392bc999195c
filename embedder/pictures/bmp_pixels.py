"""A BMP's samples -> its picture. Called by `embedder.pictures.reading`.

Owned here, because Pillow knows only a part of what BMP has grown to: headers of OS/2 and of Windows 1 to 5, any masks, 2 bits
a pixel, and transparency that is all zeros and means none. Pixels that runs leave out are white, as what no frame of a GIF
covers. JPEG, PNG, fax and 24-bit runs inside of a BMP are refused by name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedder.pictures.flatten import flattened, to_8_bits
from embedder.pictures.refusals import check_pixels, damaged, unsupported

_FILE_HEADER = 14
_CORE, _INFO, _V2, _V3, _OS2, _V5 = 12, 40, 52, 56, 64, 124
_SIZES = (*range(_INFO - 24, _OS2 + 1), 108, _V5)
_RGB, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHA_BITFIELDS = range(7)
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_EMBEDDED = b"DEBM"
"""LogColorSpace `MBED`: the profile is in the file."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """`masks`: of red, green, blue and transparency, for 16 bits and more; else `palette` uint8 `[n, 3]`."""

    width: int
    height: int
    bits: int
    compression: int
    top_down: bool
    pixels_at: int
    masks: tuple[int, int, int, int]
    palette: npt.NDArray[np.uint8] = field(repr=False)
    profile: bytes | None = field(repr=False)


def read_bmp(data: bytes, max_pixels: int) -> tuple[Image.Image, bytes | None]:
    """The picture as L or RGB on white, and its ICC profile. Raises `BadImage`."""
    try:
        layout = _layout(data)
    except struct.error as error:
        raise damaged(part="header") from error
    check_pixels(layout.width, layout.height, max_pixels)
    if layout.compression in (_RLE8, _RLE4):
        indices, drawn = _from_runs(data, layout)
        colour = layout.palette[indices]
        colour[~drawn] = 255
    elif layout.bits <= 8:
        colour = layout.palette[_indices(data, layout)]
    else:
        colour = _by_masks(data, layout)
    colour = colour if layout.top_down else colour[::-1]
    return Image.fromarray(np.ascontiguousarray(colour)), layout.profile


def _layout(data: bytes) -> _Layout:
    (pixels_at, size) = struct.unpack_from("<II", data, 10)
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        header, compression, used = b"", _RGB, 0
    elif size in _SIZES:
        # Of the short headers of OS/2 the fields that are left out are zero.
        header = data[_FILE_HEADER : _FILE_HEADER + size].ljust(_V5, b"\0")
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", header, 4)
        (used,) = struct.unpack_from("<I", header, 32)
    else:
        raise damaged(part="header")
    if size == _OS2 and compression in (_BITFIELDS, _JPEG):
        raise unsupported(f"a BMP of OS/2 compressed by {'fax' if compression == _BITFIELDS else '24-bit runs'}")
    if compression in (_JPEG, _PNG):
        raise unsupported(f"a BMP with a {'JPEG' if compression == _JPEG else 'PNG'} inside")
    if bits not in (1, 2, 4, 8, 16, 24, 32):
        raise unsupported(f"a BMP of {bits} bits a pixel")
    runs = {_RLE8: 8, _RLE4: 4}.get(compression, bits)
    if width < 1 or height == 0 or compression > _ALPHA_BITFIELDS or runs != bits:
        raise damaged(part="header")
    after = _FILE_HEADER + size
    masks = _DEFAULT_MASKS.get(bits, (0, 0, 0, 0))
    if compression in (_BITFIELDS, _ALPHA_BITFIELDS) and bits > 8:
        count = 4 if size >= _V3 or compression == _ALPHA_BITFIELDS else 3
        found = struct.unpack_from(f"<{count}I", data, _FILE_HEADER + _INFO)
        masks = (*found[:3], found[3] if count == 4 else 0)
        after += 4 * count if size == _INFO else 0
    entry = 3 if size == _CORE else 4
    palette, after = _palette(data, after, entry, used, bits, pixels_at)
    if pixels_at <= _FILE_HEADER + size and bits <= 8:
        pixels_at = after  # some writers forget the palette
    return _Layout(
        width, abs(height), bits, compression, height < 0, pixels_at or after, masks, palette, _profile(data, header, size)
    )


def _palette(data: bytes, start: int, entry: int, used: int, bits: int, pixels_at: int) -> tuple[npt.NDArray[np.uint8], int]:
    """uint8 `[256, 3]`, black where there is no colour; and where it ends."""
    made = np.zeros((256, 3), np.uint8)
    if bits > 8:
        return made, start
    count = min(used or 1 << bits, 256)
    if start < pixels_at:
        count = min(count, (pixels_at - start) // entry)
    stored = np.frombuffer(data[start : start + count * entry], np.uint8)
    stored = stored[: len(stored) // entry * entry].reshape(-1, entry)
    made[: len(stored)] = stored[:, 2::-1]
    return made, start + count * entry


def _profile(data: bytes, header: bytes, size: int) -> bytes | None:
    if size != _V5 or header[56:60] != _EMBEDDED:
        return None
    start, length = struct.unpack_from("<II", header, 112)
    return data[_FILE_HEADER + start : _FILE_HEADER + start + length] or None


def _rows(data: bytes, layout: _Layout) -> npt.NDArray[np.uint8]:
    """uint8 `[height, bytes a row]`, as stored. Raises `BadImage` where they are not all there."""
    used, stride = -(-layout.width * layout.bits // 8), -(-layout.width * layout.bits // 32) * 4
    stored = data[layout.pixels_at : layout.pixels_at + stride * layout.height]
    if len(stored) < stride * (layout.height - 1) + used:
        rows = len(stored) // stride
        raise damaged(f"it ends after {rows:,} of {layout.height:,} stored rows")
    return np.frombuffer(stored.ljust(stride * layout.height, b"\0"), np.uint8).reshape(layout.height, stride)


def _indices(data: bytes, layout: _Layout) -> npt.NDArray[np.uint8]:
    rows = _rows(data, layout)
    if layout.bits == 8:
        return rows[:, : layout.width]
    shifts = np.arange(8 - layout.bits, -1, -layout.bits).astype(np.uint8)
    spread = (rows[..., None] >> shifts) & np.uint8((1 << layout.bits) - 1)
    return np.asarray(spread.reshape(layout.height, -1)[:, : layout.width], np.uint8)


def _by_masks(data: bytes, layout: _Layout) -> npt.NDArray[np.uint8]:
    rows = _rows(data, layout)
    if layout.bits == 24 and layout.masks == _DEFAULT_MASKS[24]:
        return rows[:, : 3 * layout.width].reshape(layout.height, layout.width, 3)[..., ::-1]
    made = np.empty((layout.height, layout.width, 4), np.uint8)
    for start in range(0, layout.height, 256):  # not all at once: a sample takes twelve bytes meanwhile
        part = rows[start : start + 256]
        if layout.bits == 24:
            wide = part[:, : 3 * layout.width].reshape(len(part), -1, 3).astype(np.uint32)
            values = wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)
        else:
            values = part.view(f"<u{layout.bits // 8}")[:, : layout.width].astype(np.uint32)
        for band, mask in enumerate(layout.masks):
            made[start : start + 256, :, band] = _band(values, mask)
    alpha = made[..., 3]
    if not layout.masks[3] or not alpha.any():
        return made[..., :3]
    return np.asarray(flattened(Image.fromarray(made), "RGBA"))


def _band(values: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint8]:
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    return to_8_bits((values & np.uint32(mask)) >> np.uint32(shift), mask >> shift)


def _from_runs(data: bytes, layout: _Layout) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Places in the palette, and which pixels were drawn at all, as stored. Raises `BadImage` where the runs do not end."""
    width, height, half = layout.width, layout.height, layout.compression == _RLE4
    made, drawn = bytearray(width * height), bytearray(width * height)
    position, column, row = layout.pixels_at, 0, 0
    try:
        while row < height:
            count, value = data[position], data[position + 1]
            position += 2
            if count:
                run = (bytes((value >> 4, value & 15)) * (count // 2 + 1))[:count] if half else bytes((value,)) * count
            elif value == 0:
                column, row = 0, row + 1
                continue
            elif value == 1:
                break
            elif value == 2:
                column, row = column + data[position], row + data[position + 1]
                position += 2
                continue
            else:
                size = -(-value // 2) if half else value
                stored = data[position : position + size]
                if len(stored) < size:
                    raise IndexError
                run = bytes(part for byte in stored for part in (byte >> 4, byte & 15))[:value] if half else stored
                position += size + size % 2
            fits = run[: max(0, width - column)]
            start = row * width + column
            made[start : start + len(fits)] = fits
            drawn[start : start + len(fits)] = b"\1" * len(fits)
            column += len(run)
    except IndexError:
        raise damaged(f"it ends after {row:,} of {height:,} stored rows") from None
    shape = (height, width)
    return np.frombuffer(made, np.uint8).reshape(shape), np.frombuffer(drawn, np.bool_).reshape(shape)
