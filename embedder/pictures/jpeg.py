"""JPEG -> pixels, or where it is damaged. Called by `embedder.pictures.reading`.

Owns the strictness that Pillow lacks: libjpeg decodes damaged data to the end and only warns, and Pillow drops its warnings.
simplejpeg has the same libjpeg-turbo (the pixels are the same to the bit) and says what it warned of. What is wrong around the
pixels alone (junk between segments, short or odd ones, no end) is repaired: the file is put together anew from its sound parts
and decoded once more, as strictly.

A hole of zeros may decode without a warning, since zeros are a code as well. But in a coder's tables that code either ends a
block, as in flat parts of a picture, or fills block after block with coefficients of one value, as no picture does.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image

from embedder.pictures.headers.header import Header
from embedder.pictures.headers.jpeg import EOI, FRAMES, MAX_SEGMENTS, NEXT_MARKER, PROGRESSIVE, SOS
from embedder.pictures.refusals import damaged, unsupported

_OTHER_KINDS = {
    "lossless": "lossless JPEG (SOF3)", "lossless arithmetic": "lossless JPEG with arithmetic codes (SOF11)",
    "arithmetic": "JPEG with arithmetic codes (SOF9)", "progressive arithmetic": "JPEG with arithmetic codes (SOF10)",
    **{f"SOF{n}": f"hierarchical JPEG (SOF{n})" for n in (5, 6, 7, 13, 14, 15)},
}  # fmt: skip
_ADVICE = "save it as an ordinary JPEG (baseline, 8 bits)"
_FORMATS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_DHT, _APP0, _APP1, _APP2, _APP14 = 0xC4, 0xE0, 0xE1, 0xE2, 0xEE
_TABLES = frozenset({_DHT, 0xCC, 0xDB, 0xDD})
"""DHT, DAC, DQT, DRI."""
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xda-\xdf\xe0-\xef\xfe\xd9])", re.DOTALL)
"""What may stand between segments. RST0 to RST7 may not."""
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_FEW = 2
"""Most surplus bytes before the end that are a coder's padding."""
_HOLE = bytes(64)
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_NO_NAME = "Could not determine subsampling level"
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")
_END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Metadata:
    """`orientation`: EXIF, 1 to 8. `profile`: the ICC profile; empty where pieces of it are missing."""

    orientation: int
    profile: bytes | None


@dataclass(frozen=True, slots=True)
class _Segment:
    """`start` is that of its marker, `end` that of the next; a scan's coded data starts at `data`."""

    marker: int
    start: int
    data: int
    end: int


def decoded(
    data: bytes, mode: str, size: tuple[int, int], *, several_scans: bool = False
) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in `mode` (L, RGB or CMYK) and of `size`, which is its own over 1, 2, 4 or 8; and what was repaired.

    Raises `BadImage` where the pixels are damaged.
    """
    repaired: tuple[str, ...] = ()
    try:
        pixels = _strictly(data, mode, size)
    except ValueError as error:
        if _NO_NAME in str(error):
            return _by_pillow(data, mode, size), repaired
        data, pixels, repaired = _repaired(data, mode, size, str(error))
    if several_scans and not _is_complete(data):
        raise damaged("it ends before its last scans", part="pixels")
    if _has_hole(data):
        raise damaged("a part of its pixels is overwritten with zeros", part="pixels")
    if mode == "CMYK":
        # Inverted, as Adobe stores it and every reader takes it to be.
        pixels = 255 - pixels
    # By the buffer: `fromarray` would copy it once more.
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1), repaired


def check_kind(header: Header) -> None:
    """Raises `BadImage` for a kind that libjpeg-turbo does not decode to 8 bits, by its name."""
    if header.variant in _OTHER_KINDS:
        raise unsupported(f"a {_OTHER_KINDS[header.variant]}", _ADVICE)
    if header.bits in (12, 16):
        raise unsupported(f"a {header.bits}-bit JPEG", _ADVICE)
    if header.bits == 8 and header.samples not in (1, 3, 4):
        raise unsupported(f"a JPEG of {header.samples} bands", _ADVICE)


def metadata(data: bytes) -> Metadata:
    """What stands beside the pixels and matters to them. Nothing of it can cost the picture."""
    exif, xmp, pieces = b"", b"", dict[int, bytes]()
    for segment in _segments(data, scans=False):
        if segment.marker == _APP1 and data.startswith(_EXIF, segment.start + 4):
            exif = exif or data[segment.start + 4 : segment.data]
        elif segment.marker == _APP1 and data.startswith(_XMP, segment.start + 4):
            xmp = data[segment.start + 4 : segment.data]
        elif segment.marker == _APP2 and data.startswith(_ICC, segment.start + 4) and segment.data - segment.start > 18:
            number, count = data[segment.start + 16 : segment.start + 18]
            pieces[number] = data[segment.start + 18 : segment.data]
    profile = None
    if pieces:
        profile = b"".join(pieces[number] for number in sorted(pieces)) if len(pieces) == count else b""
    return Metadata(_orientation(exif, xmp), profile)


def _orientation(exif: bytes, xmp: bytes) -> int:
    """As EXIF says, or XMP where EXIF does not say."""
    value = None
    if exif:
        read = Image.Exif()
        with contextlib.suppress(OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):  # damaged EXIF
            read.load(exif)
            value = read.get(ExifTags.Base.Orientation)
    if value is None and (found := _XMP_ORIENTATION.search(xmp)):
        value = int(found[1])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _strictly(data: bytes, mode: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 `[height, width, bands]`. Raises `ValueError` with what libjpeg warned of first."""
    width, height = size
    pixels = _by_turbo(data, mode, size, strict=True)
    if pixels.shape != (height, width, len(mode)):
        raise ValueError("its size is given twice")
    return pixels


def _by_turbo(data: bytes, mode: str, size: tuple[int, int], *, strict: bool) -> npt.NDArray[np.uint8]:
    """uint8 `[height, width, bands]`. The size is that of our own limits: a second one in the file does not fit the buffer."""
    width, height = size
    buffer = np.empty(width * height * len(mode), np.uint8)
    found = simplejpeg.decode_jpeg(
        data, _FORMATS[mode], min_height=height, min_width=width, min_factor=1, buffer=buffer, strict=strict
    )
    return np.asarray(found)


def _by_pillow(data: bytes, mode: str, size: tuple[int, int]) -> Image.Image:
    """Not strictly: samples of the colours in proportions that TurboJPEG has no name for, such as 4:1:0."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft(None, size)
        if (image.mode, image.size) != (mode, size):
            raise damaged("its size is given twice", part="pixels")
        image.load()
        return image.copy()


def _repaired(
    data: bytes, mode: str, size: tuple[int, int], problem: str
) -> tuple[bytes, npt.NDArray[np.uint8], tuple[str, ...]]:
    """The file that could be decoded, its pixels, and what was repaired. Raises `BadImage`, of the damage that is left."""
    rebuilt = _rebuilt(data)
    attempts = [rebuilt, rebuilt[: -len(_END)].rstrip(b"\0") + _END]
    kind = "jpeg end" if problem.startswith("Premature") else "jpeg segments"
    while attempts:
        attempt = attempts.pop(0)
        try:
            return attempt, _strictly(attempt, mode, size), (kind,)
        except ValueError as error:
            problem = str(error)
        padded = _EXTRANEOUS.search(problem)
        if padded and _is_padding(attempt[: -len(_END)][-int(padded[1]) :]):
            attempts, kind = [attempt[: -len(_END) - int(padded[1])] + _END], kind if kind == "jpeg end" else "jpeg padding"
    raise damaged(_where(rebuilt, mode, size, problem), part="pixels")


def _is_padding(tail: bytes) -> bool:
    return len(tail) <= _FEW or not tail.strip(b"\0\xff")


def _segments(data: bytes, *, scans: bool = True) -> Iterator[_Segment]:
    """The segments of the first picture in the file, its end not among them, `MAX_SEGMENTS` at most. What lies between
    segments is passed over. Without `scans`, those before the first."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found[1][0] == EOI:
            return
        marker, position = found[1][0], found.end()
        after = position + int.from_bytes(data[position : position + 2])
        if after < position + 2 or after > len(data):
            return
        end = after
        if marker == SOS:
            if not scans:
                return
            following = NEXT_MARKER.search(data, after)
            # Without the bytes that fill up before a marker.
            end = after + len(data[after : following.start()].rstrip(b"\xff")) if following else len(data)
        yield _Segment(marker, found.end() - 2, after, end)
        position = end


def _rebuilt(data: bytes) -> bytes:
    """The tables, the frame and the scans, and what is said of the colours; nothing else."""
    parts = [b"\xff\xd8"]
    progressive = False
    for segment in _segments(data):
        marker, content = segment.marker, data[segment.start + 4 : segment.data]
        whole = data[segment.start : segment.end]
        if marker == _APP0 and content.startswith(b"JFIF\0"):
            parts.append(_JFIF)
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            parts.append(ADOBE + bytes([min(content[11], 2)]))
        elif marker in FRAMES or marker in _TABLES:
            progressive = progressive or marker in PROGRESSIVE
            parts.append(whole)
        elif marker == SOS:
            # A coder of one pass may have left the last three bytes, which matter to several passes only, as they were.
            header = whole[: segment.data - segment.start]
            parts.append((header if progressive else header[:-3] + b"\0\x3f\0") + whole[segment.data - segment.start :])
    return b"".join(parts) + _END


def _where(data: bytes, mode: str, size: tuple[int, int], problem: str) -> str:
    """What is wrong, and after which row where the data just ends."""
    if "remature" not in problem:
        return problem.removeprefix("Corrupt JPEG data: ").strip().rstrip(".")
    try:
        pixels = _by_turbo(data, mode, size, strict=False)
    except ValueError:
        return "it ends too early"
    # libjpeg goes on with what it had last: rows of one colour.
    same = (pixels == pixels[:, -1:]).all(axis=(1, 2))
    height = size[1]
    rows = height - int(np.argmin(same[::-1])) if not same.all() else 0
    return f"it ends after some {rows / height:.0%} of its rows"


def _is_complete(data: bytes) -> bool:
    """Whether every coefficient of every component is there to its last bit (ITU-T T.81, G.1.1.1): libjpeg says nothing of a
    progressive picture that is cut between two scans."""
    missing: dict[int, list[bool]] = {}
    for segment in _segments(data):
        content = data[segment.start + 4 : segment.data]
        if segment.marker in FRAMES:
            missing = {content[at]: [True] * 64 for at in range(6, 6 + 3 * content[5], 3)}
        elif segment.marker == SOS:
            first, last, bits = content[-3:]
            for component in content[1 : 1 + 2 * content[0] : 2]:
                if component in missing:
                    missing[component][first : last + 1] = [bits & 15 > 0] * len(missing[component][first : last + 1])
    return not any(any(one) for one in missing.values())


def _has_hole(data: bytes) -> bool:
    """Whether coded data holds a run of zeros that no coder writes."""
    first = data.find(_HOLE)
    if first < 0:
        return False
    zero_codes: dict[int, int] = {}
    for segment in _segments(data):
        if segment.marker == _DHT:
            zero_codes.update(_zero_codes(data[segment.start + 4 : segment.data]))
        elif segment.marker == SOS and data.find(_HOLE, segment.data, segment.end) >= 0:
            header = data[segment.start + 4 : segment.data]
            tables = {16 + (pair & 15) for pair in header[2 : 1 + 2 * header[0] : 2]}
            first, last, bits = header[-3:]
            # A pass over the means of blocks alone, or one that refines, may be zeros where the picture is flat or even.
            if (
                last
                and not bits >> 4
                and any(_fills_blocks(zero_codes.get(table), last - max(first, 1) + 1) for table in tables)
            ):
                return True
    return False


def _zero_codes(content: bytes) -> Iterator[tuple[int, int]]:
    """(class and number of a Huffman table, what the code of zeros alone stands for): the first of the shortest codes."""
    position = 0
    while position + 17 < len(content):
        yield content[position], content[position + 17]
        position += 17 + sum(content[position + 1 : position + 17])


def _fills_blocks(symbol: int | None, coefficients: int) -> bool:
    """Whether a Huffman symbol, again and again, fills blocks of `coefficients` with what no coder writes: it ends no
    block, and goes past its end, or makes at least four of its coefficients the same."""
    if symbol is None or (symbol & 15 == 0 and symbol >> 4 < 15):
        return False
    step = (symbol >> 4) + 1
    return coefficients % step > 0 or coefficients // step >= 4
