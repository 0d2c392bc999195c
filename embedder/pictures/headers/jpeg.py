"""A JPEG's header: its segments up to the first scan, and of a file with several scans every scan (ITU-T T.81).

Owns what a JPEG costs. A decoder holds one row of blocks of a picture with a single scan, but all coefficients of a picture
with more, and goes over them once a scan, however little the scan holds: 98 bytes cost 53 ms at 49 megapixels.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from embedder.pictures.headers.header import METADATA_BYTES, WORK_A_BYTE, WORK_A_PART, Header
from embedder.pictures.refusals import damaged
from lookalike.errors import BadImage

MAX_SEGMENTS = 4096
"""Segments before the first scan, and tables between scans, that are walked. A profile has 255 at most, 20 MB of XMP 320."""
MAX_SCANS = 1024
"""Scans that are walked. Encoders write some ten."""
_SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15: all of 0xC0 to 0xCF but DHT, JPG and DAC."""
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01, _SOI}
"""Markers without a length: RST0 to RST7, TEM, SOI."""
_VARIANTS = {
    0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless", 0xC9: "arithmetic",
    0xCA: "progressive arithmetic", 0xCB: "lossless arithmetic",
}  # fmt: skip
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_MARKER = re.compile(rb"\xff[^\x00\xff]")
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""ITU-T T.81, B.1.1.5: in coded data 0xFF00 is a byte of it, 0xFFD0 to 0xFFD7 restart it, 0xFFFF fills. What may repeat is no
part of the pattern: a search for it would take the square of the time in a file of nothing else."""
_MADE_BYTES = {1: 3, 3: 8, 4: 16}
"""Samples a pixel -> bytes that are made of it: the decoder's array and Pillow's picture, for CMYK two of each."""
_SCAN_WORK = 8
"""Pixels that a scan passes for the work of one: what is neither read nor transformed is only passed over."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Of the start of frame: `planes` maps a component's number to the pixels (whole blocks) that it stores."""

    marker: int
    bits: int
    width: int
    height: int
    planes: dict[int, int]
    samples: int


def read(data: bytes) -> Header:
    """Raises `BadImage` where there is no frame to be found."""
    frame: _Frame | None = None
    scans: list[int] = []
    plain = True
    position, segments = 2, 0
    while segments < MAX_SEGMENTS and len(scans) < MAX_SCANS:
        marker, position, clean = _marker(data, position)
        plain = plain and clean
        if marker is None or marker == EOI:
            break
        segments += 1
        if marker in _ALONE:
            plain = False
            continue
        length = int.from_bytes(data[position : position + 2])
        content = data[position + 2 : position + length] if marker in FRAMES or marker == SOS else b""
        position += length
        plain = plain and length >= 2 and position <= len(data)
        if marker in FRAMES:
            # Pillow believes the last frame, libjpeg takes the first and then gives up.
            plain = plain and frame is None
            frame = _larger(frame, _frame(marker, content))
        elif marker == SOS and frame is not None:
            planes = _scanned(content, frame)
            scans.append(sum(planes))
            plain = plain and (len(scans) > 1 or position <= METADATA_BYTES)
            if not scans[1:] and frame.marker not in PROGRESSIVE and len(planes) >= frame.samples:
                break  # the only scan: a decoder reads no further
            found = NEXT_MARKER.search(data, position)
            position = found.start() if found else len(data)
    if frame is None and segments == MAX_SEGMENTS:
        raise BadImage(f"has more than {MAX_SEGMENTS:,} segments before its pixels", reason="IMAGE_TOO_COSTLY")
    if frame is None:
        raise damaged(part="header")
    if segments == MAX_SEGMENTS or len(scans) == MAX_SCANS:
        # The rest at a glance: each of these bytes could begin a scan of everything.
        plain = False
        scans += [sum(frame.planes.values())] * data.count(b"\xff\xda", position)
    return _header(data, frame, scans or [sum(frame.planes.values())], segments, plain)


def _marker(data: bytes, position: int) -> tuple[int | None, int, bool]:
    """The next marker, where what follows it starts, and whether nothing but fill bytes stands before it."""
    found = _MARKER.search(data, position)
    if found is None:
        return None, len(data), False
    start = found.start()
    return data[start + 1], start + 2, start == position or data.count(b"\xff", position, start) == start - position


def _frame(marker: int, content: bytes) -> _Frame:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise damaged(part="header")
    bits, height, width, samples = struct.unpack_from(">BHHB", content)
    factors = [(content[at], content[at + 1] >> 4 or 1, content[at + 1] & 15 or 1) for at in range(6, 6 + 3 * samples, 3)]
    widest = max((across for _, across, _ in factors), default=1)
    tallest = max((down for _, _, down in factors), default=1)
    # Blocks of 8 x 8 come in whole units of the largest factors.
    columns, rows = -(-width // (8 * widest)), -(-height // (8 * tallest))
    planes = {number: 64 * columns * across * rows * down for number, across, down in factors}
    return _Frame(marker, bits, width, height, planes, samples)


def _larger(one: _Frame | None, other: _Frame) -> _Frame:
    return other if one is None or one.width * one.height < other.width * other.height else one


def _scanned(content: bytes, frame: _Frame) -> list[int]:
    """The pixels of each component that a scan goes over."""
    count = min(content[0] if content else 0, 4)
    return [frame.planes.get(number, 0) for number in content[1 : 1 + 2 * count : 2]]


def _header(data: bytes, frame: _Frame, scans: list[int], segments: int, plain: bool) -> Header:
    pixels = frame.width * frame.height
    several = len(scans) > 1 or frame.marker in PROGRESSIVE
    coefficients = 2 * sum(frame.planes.values()) if several else 0
    rows = 64 * frame.samples * frame.width
    return Header(
        format="JPEG",
        width=frame.width,
        height=frame.height,
        samples=frame.samples,
        bits=frame.bits,
        memory_bytes=pixels * _MADE_BYTES.get(frame.samples, 16) + coefficients + rows,
        work=pixels + sum(scans) // _SCAN_WORK + WORK_A_BYTE * len(data) + WORK_A_PART * segments,
        variant=_VARIANTS.get(frame.marker, f"SOF{frame.marker - 0xC0}"),
        scans=len(scans),
        interlaced=frame.marker in PROGRESSIVE,
        tile_pixels=frame.width * 8,
        plain=plain and frame.marker in (0xC0, 0xC1, 0xC2) and frame.bits == 8,
    )
