"""A TIFF's parts -> its samples of 8 bits, from top to bottom. Called by `embedder.pictures.tiff_pixels`.

Owned here: in what order parts are read, and how much of the picture is held meanwhile. Small parts are read a row of them
after another. Of large ones that can be read by bands the same rows are read of all that stand side by side; of others the
samples of a row of parts are gathered.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from embedder.pictures import tiff_directory as tiff
from embedder.pictures.flatten import to_8_bits
from embedder.pictures.headers.tiff import BAND_BYTES, MAX_SIDE_BY_SIDE, unpacked_bytes
from embedder.pictures.jpeg import ADOBE
from embedder.pictures.refusals import damaged
from embedder.pictures.tiff_layout import Layout
from embedder.pictures.tiff_parts import Damaged, Part, bands, stored, whole

Samples = npt.NDArray[np.uint8]


def samples(data: bytes, layout: Layout) -> Iterator[Samples]:
    """uint8 `[rows, width, n]`, all rows from top to bottom, some at a time: the colour's samples, and the transparency where
    there is one. Raises `BadImage`, which says in which row the picture is damaged."""
    part_bytes = max(_row_bytes(layout), layout.part_width * _samples_a_pixel(layout)) * layout.part_height
    side_by_side = layout.across * (len(_wanted(layout)) if layout.separate else 1)
    if layout.compression not in tiff.JPEG and part_bytes <= BAND_BYTES:
        yield from _of_small_parts(data, layout, max(1, BAND_BYTES // part_bytes))
    elif side_by_side == 1 or (side_by_side <= MAX_SIDE_BY_SIDE and layout.compression in tiff.BY_BANDS):
        yield from _side_by_side(data, layout, _band_rows(layout, side_by_side))
    else:
        yield from _after_another(data, layout, _band_rows(layout, 1))


def _wanted(layout: Layout) -> list[int]:
    return [*range(layout.base), *([] if layout.alpha is None else [layout.alpha])]


def _part_rows(layout: Layout) -> Iterator[list[Part]]:
    """The parts that stand side by side, of all planes that are wanted, from top to bottom."""
    a_plane = layout.across * layout.down
    planes = _wanted(layout) if layout.separate else [0]
    for down in range(layout.down):
        top = down * layout.part_height
        rows = layout.part_height if layout.tiled else min(layout.part_height, layout.height - top)
        yield [
            Part(plane, plane * a_plane + down * layout.across + across, across * layout.part_width, top, rows)
            for plane in planes
            for across in range(layout.across)
        ]


def _band_rows(layout: Layout, parts: int) -> int:
    """Rows of a large part that are unpacked together, where `parts` of them are read at the same time."""
    row_bytes = layout.part_width * _samples_a_pixel(layout) * unpacked_bytes(layout.bits) * parts
    down = layout.subsampling[1] if _is_subsampled(layout) else 1
    return max(down, BAND_BYTES // row_bytes // down * down)


def _of_small_parts(data: bytes, layout: Layout, at_once: int) -> Iterator[Samples]:
    """As many rows of parts as come to `at_once` parts together, or one."""
    rows_of_parts: list[list[Part]] = []
    for row in _part_rows(layout):
        rows_of_parts.append(row)
        if len(rows_of_parts) * len(row) >= at_once:
            yield _gathered(data, layout, rows_of_parts, at_once)
            rows_of_parts = []
    if rows_of_parts:
        yield _gathered(data, layout, rows_of_parts, at_once)


def _gathered(data: bytes, layout: Layout, rows_of_parts: Sequence[Sequence[Part]], at_once: int) -> Samples:
    """The samples of whole rows of small parts, of which `at_once` are decompressed together."""
    top, last = rows_of_parts[0][0].top, rows_of_parts[-1][0]
    made = _empty(layout, min(last.top + last.rows, layout.height) - top)
    planes = {part.plane for part in rows_of_parts[0]}
    band_rows = _band_rows(layout, 1)
    for plane in sorted(planes):
        parts = [part for row in rows_of_parts for part in row if part.plane == plane]
        for start in range(0, len(parts), at_once):
            run = parts[start : start + at_once]
            with _damage_named(layout, run[0].top):
                pieces = [stored(data, layout, part) for part in run]
                heights = [_stored_rows(layout, part.rows) for part in run]
                for part, content in zip(run, whole(pieces, layout, _stored_row_bytes(layout), heights), strict=True):
                    for at in range(0, part.rows, band_rows):
                        rows = min(band_rows, part.rows - at)
                        begin, end = (_stored_rows(layout, row) * _stored_row_bytes(layout) for row in (at, at + rows))
                        _put(made, layout, part, part.top + at - top, _unpacked(content[begin:end], layout, rows))
    return made


def _side_by_side(data: bytes, layout: Layout, band_rows: int) -> Iterator[Samples]:
    """The same rows of all parts that stand side by side."""
    for row in _part_rows(layout):
        top = row[0].top
        streams = [_unpacked_bands(data, layout, part, band_rows) for part in row]
        for start in range(0, row[0].rows, band_rows):
            made = _empty(layout, min(band_rows, row[0].rows - start, max(0, layout.height - top - start)))
            with _damage_named(layout, top, min(top + start, layout.height - 1)):
                for part, stream in zip(row, streams, strict=True):
                    _put(made, layout, part, 0, next(stream))
            if len(made):
                yield made
        with _damage_named(layout, top):
            for stream in streams:
                next(stream, None)  # What lies behind the pixels is looked at too.


def _after_another(data: bytes, layout: Layout, band_rows: int) -> Iterator[Samples]:
    """The samples of a row of large parts, of which each is decoded as a whole, or of which there are many."""
    for row in _part_rows(layout):
        top = row[0].top
        made = _empty(layout, min(row[0].rows, layout.height - top))
        for part in row:
            with _damage_named(layout, top):
                at = 0
                for found in _unpacked_bands(data, layout, part, band_rows):
                    _put(made, layout, part, at, found)
                    at += len(found)
        yield made


def _empty(layout: Layout, rows: int) -> Samples:
    return np.empty((rows, layout.width, len(_wanted(layout))), np.uint8)


def _put(made: Samples, layout: Layout, part: Part, at: int, found: Samples) -> None:
    """Rows of a part into `made`, from its row `at` on; what reaches out of the picture is left out."""
    wanted = _wanted(layout)
    rows, columns = max(0, min(len(found), len(made) - at)), min(layout.part_width, layout.width - part.left)
    target = made[at : at + rows, part.left : part.left + columns]
    if layout.separate:
        target[..., wanted.index(part.plane)] = found[:rows, :columns, 0]
    else:
        target[...] = found[:rows, :columns, wanted]


@contextmanager
def _damage_named(layout: Layout, row: int, known: int | None = None) -> Iterator[None]:
    """Damage is in the parts that begin at `row`; where they end too early it is after row `known`."""
    try:
        yield
    except (Damaged, ValueError, OSError, zlib.error) as error:
        row = known if isinstance(error, Damaged) and known is not None else row
        raise damaged(f"it is damaged or ends after row {row:,} of {layout.height:,}") from error


def _unpacked_bands(data: bytes, layout: Layout, part: Part, band_rows: int) -> Iterator[Samples]:
    """uint8 `[rows, part width, samples]`, `band_rows` of a large part after another. Raises what its decoder does."""
    piece = stored(data, layout, part)
    heights = [min(band_rows, part.rows - start) for start in range(0, part.rows, band_rows)]
    if layout.compression in tiff.JPEG:
        decoded, start = _from_jpeg(bytes(piece), layout, part), 0
        for rows in heights:
            yield decoded[start : start + rows]
            start += rows
        return
    stored_heights = [_stored_rows(layout, rows) for rows in heights]
    found = bands(piece, layout, _stored_row_bytes(layout), stored_heights)
    for content, rows in zip(found, heights, strict=True):
        yield _unpacked(content, layout, rows)


def _samples_a_pixel(layout: Layout) -> int:
    return 1 if layout.separate else layout.samples


def _row_bytes(layout: Layout) -> int:
    return -(-layout.part_width * _samples_a_pixel(layout) * layout.bits // 8)


def _is_subsampled(layout: Layout) -> bool:
    plain = layout.subsampling == (1, 1) or layout.samples == 1 or layout.compression in tiff.JPEG
    return layout.photometric == tiff.YCBCR and not plain


def _stored_rows(layout: Layout, rows: int) -> int:
    """How many rows of units or pixels `rows` rows of pixels are stored as."""
    return -(-rows // layout.subsampling[1]) if _is_subsampled(layout) else rows


def _stored_row_bytes(layout: Layout) -> int:
    if not _is_subsampled(layout):
        return _row_bytes(layout)
    across, down = layout.subsampling
    return -(-layout.part_width // across) * (across * down + 2)


def _unpacked(content: bytes, layout: Layout, rows: int) -> Samples:
    """uint8 `[rows, part width, samples]`: scaled to 8 bits, but for places in a palette."""
    if _is_subsampled(layout):
        across, down = layout.subsampling
        units = np.frombuffer(content, np.uint8).reshape(-1, -(-layout.part_width // across), across * down + 2)
        return _from_units(units, layout.subsampling)[:rows, : layout.part_width]
    count, bits, columns = _samples_a_pixel(layout), layout.bits, layout.part_width
    values: npt.NDArray[Any]
    if bits in (8, 16, 32, 64):
        values = np.frombuffer(content, np.dtype(f"{layout.order}u{bits // 8}")).reshape(rows, columns, count)
        if layout.is_predicted:
            values = np.cumsum(values, axis=1, dtype=np.dtype(f"u{bits // 8}"))
    else:
        each = np.unpackbits(np.frombuffer(content, np.uint8).reshape(rows, -1), axis=1)[:, : columns * count * bits]
        values = each.reshape(rows, columns, count, bits) @ (1 << np.arange(bits)[::-1]).astype(np.uint16)
    if bits == 8 or layout.photometric == tiff.PALETTE:
        return values.astype(np.uint8)
    return to_8_bits(values.astype(values.dtype.newbyteorder("=")), (1 << bits) - 1)


def _from_jpeg(piece: bytes, layout: Layout, part: Part) -> Samples:
    """A part that is a JPEG without its tables. The TIFF says what its colours are, and the decoder is given that."""
    count = _samples_a_pixel(layout)
    tables = layout.jpeg_tables[2:-2] if layout.jpeg_tables.startswith(b"\xff\xd8") else b""
    transform = bytes([layout.photometric == tiff.YCBCR and count == 3])
    complete = b"\xff\xd8" + ADOBE + transform + tables + piece[2:]
    height, width, _, _ = simplejpeg.decode_jpeg_header(complete)
    if width != layout.part_width or not part.rows <= height <= layout.part_height:
        raise Damaged("a part is of another size")
    return np.asarray(simplejpeg.decode_jpeg(complete, {1: "GRAY", 3: "RGB", 4: "CMYK"}[count]))


def _from_units(units: Samples, subsampling: tuple[int, int]) -> Samples:
    """Units of some Y, then one Cb and Cr, `[unit rows, unit columns, n]` -> YCbCr of every pixel (TIFF 6.0, section 21)."""
    across, down = subsampling
    rows, columns, _ = units.shape
    made = np.empty((rows * down, columns * across, 3), np.uint8)
    luma = units[..., :-2].reshape(rows, columns, down, across)
    made[..., 0] = luma.transpose(0, 2, 1, 3).reshape(rows * down, columns * across)
    made[..., 1:] = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return made
