"""A GIF's header: the screen and the first frame, up to where its pixels start (GIF89a).

Owns what a GIF costs. Pillow makes a canvas of screen and frame together while it opens the file, and another to dispose of.
"""

from __future__ import annotations

import struct

from embedder.pictures.headers.header import WORK_A_BYTE, WORK_A_PART, Header
from embedder.pictures.refusals import damaged

MAX_BLOCKS = 20_000
"""Blocks before the first frame that are walked: 5 MB of comments."""
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_HAS_TABLE, _INTERLACED, _TABLE_SIZE = 0x80, 0x40, 0x07


def read(data: bytes) -> Header:
    """Raises `BadImage` where the screen is cut off."""
    if len(data) < 13:
        raise damaged(part="header")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, blocks = 13 + _table_bytes(flags), 0
    while position < len(data) and data[position] == _EXTENSION and blocks < MAX_BLOCKS:
        position, walked = _after_blocks(data, position + 2)
        blocks += walked
    found = position + 10 <= len(data) and data[position] == _IMAGE
    frame_flags = 0
    if found:
        left, top, across, down, frame_flags = struct.unpack_from("<HHHHB", data, position + 1)
        width, height = max(width, left + across), max(height, top + down)
    pixels = width * height
    return Header(
        format="GIF",
        width=width,
        height=height,
        samples=1,
        bits=8,
        # Two canvases of indices, then RGBA and RGB.
        memory_bytes=pixels * (2 + 8),
        work=2 * pixels + WORK_A_BYTE * len(data) + WORK_A_PART * blocks,
        interlaced=bool(frame_flags & _INTERLACED),
        tile_pixels=pixels,
        plain=found,
    )


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & _TABLE_SIZE) + 1) if flags & _HAS_TABLE else 0


def _after_blocks(data: bytes, position: int) -> tuple[int, int]:
    """Where a chain of sub-blocks ends, and how many there were."""
    for walked in range(MAX_BLOCKS):
        if position >= len(data):
            return len(data), walked
        length = data[position]
        position += 1 + length
        if not length:
            return position, walked + 1
    return len(data), MAX_BLOCKS
