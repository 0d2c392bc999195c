"""TIFF files of every layout, written from arrays: Pillow writes few of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

RAW, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
Samples = npt.NDArray[np.uint64]
"""Whole numbers `[height, width, samples]`, each below 2 ** bits."""


def tiff(tags: dict[int, tuple[str, Sequence[int]]], parts: Sequence[bytes], *, order: str = "<", big: bool = False) -> bytes:
    """A file of one page. `tags`: number -> (`H`, `I` or `B`, values); `parts` are its strips or tiles, in order."""
    word, inline = ("Q", 8) if big else ("I", 4)
    place, tiled = (324, True) if 322 in tags else (273, False)
    tags = {**tags, place: (word, [0] * len(parts)), (325 if tiled else 279): ("I", [len(part) for part in parts])}
    entry_size, count_code = (20, "Q") if big else (12, "H")
    start = 16 if big else 8
    after = start + struct.calcsize(count_code) + entry_size * len(tags) + inline
    lists = {tag: len(values) * struct.calcsize("=" + code) for tag, (code, values) in tags.items()}
    pixels_at = after + sum(size for size in lists.values() if size > inline)
    offsets = [pixels_at + sum(map(len, parts[:index])) for index in range(len(parts))]
    tags[place] = (word, offsets)
    entries, stored = b"", b""
    for tag, (code, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > inline:
            packed, stored = struct.pack(order + word, after + len(stored)), stored + packed
        kind = {"B": 1, "H": 3, "I": 4, "Q": 16}[code]
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + packed.ljust(inline, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    return head + struct.pack(order + count_code, len(tags)) + entries + bytes(inline) + stored + b"".join(parts)


def tiff_of(
    samples: Samples, bits: int, photometric: int, *, order: str = "<", separate: bool = False, extra: Sequence[int] = (),
    compression: int = RAW, predictor: int = 1, tile: int = 0, strip_rows: int = 0, fill_order: int = 1, sample_format: int = 1,
    palette: Sequence[int] = (), big: bool = False, more: dict[int, tuple[str, Sequence[int]]] | None = None,
) -> bytes:  # fmt: skip
    """A file of these samples. `tile`: the side of its square tiles; else strips of `strip_rows` rows (0: one strip)."""
    height, width, count = samples.shape
    planes = [samples[..., index : index + 1] for index in range(count)] if separate else [samples]
    rows = tile or strip_rows or height
    parts = []
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, tile or width):
                part = plane[top : top + rows, left : left + (tile or width)]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)), "edge")
                parts.append(_compressed(_packed(part, bits, order, predictor, fill_order), compression))
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * count), 259: ("H", [compression]),
        262: ("H", [photometric]), 266: ("H", [fill_order]), 277: ("H", [count]), 284: ("H", [2 if separate else 1]),
        317: ("H", [predictor]), 339: ("H", [sample_format] * count),
    }  # fmt: skip
    tags |= {322: ("I", [tile]), 323: ("I", [tile])} if tile else {278: ("I", [rows])}
    tags |= {338: ("H", extra)} if extra else {}
    tags |= {320: ("H", palette)} if palette else {}
    return tiff(tags | (more or {}), parts, order=order, big=big)


def _packed(part: npt.NDArray[Any], bits: int, order: str, predictor: int, fill_order: int) -> bytes:
    values = part.astype(f"u{max(8, bits) // 8}" if bits in (8, 16, 32, 64) else "u4")
    if predictor == 2:
        values = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
    if bits in (8, 16, 32, 64):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    spread = (values[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint32)) & np.uint32(1)
    rows = np.packbits(spread.reshape(len(values), -1).astype(np.uint8), axis=1)
    packed = rows.tobytes()
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in packed) if fill_order == 2 else packed


def _compressed(data: bytes, compression: int) -> bytes:
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == PACKBITS:
        return b"".join(bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128))
    if compression == LZW:
        stream = io.BytesIO()
        Image.frombytes("L", (len(data), 1), data).save(stream, "TIFF", compression="tiff_lzw")
        with Image.open(stream) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            (start,), (size,) = tags[273], tags[279]
            return stream.getvalue()[start : start + size]
    return data
