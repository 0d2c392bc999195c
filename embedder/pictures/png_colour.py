"""What a PNG says of its colours, as an ICC profile. Called by `embedder.pictures.reading`.

Owns the order of PNG, third edition, which browsers follow: cICP counts before iCCP, that before sRGB, that before gAMA and
cHRM. A gamma of 1/2.2 within 5 % means sRGB's curve, as libpng has it: that is what writers of it mean. Brightness beyond
white (the curves PQ and HLG of cICP) is not brought back: such a picture is taken as it is, and counts as repaired.
"""

from __future__ import annotations

import struct
import zlib

from embedder.pictures.matrix_profile import BT709, BT2020, DISPLAY_P3, SRGB_CURVE, Primaries, matrix_profile
from embedder.pictures.png import chunks

_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_PRIMARIES = {1: BT709, 9: BT2020, 12: DISPLAY_P3}
"""ITU-T H.273, colour primaries."""
_CURVES = {1: SRGB_CURVE, 6: SRGB_CURVE, 14: SRGB_CURVE, 15: SRGB_CURVE, 13: SRGB_CURVE, 4: (2.2,), 5: (2.8,), 8: (1.0,)}
"""ITU-T H.273, transfer characteristics. What television encodes (1, 6, 14, 15) browsers show by sRGB's curve."""
_NARROW = 0.05
_GAMMAS = (0.1, 10.0)
UNUSABLE = b""
"""In place of a profile that there is but cannot be used."""


def profile(data: bytes, most_bytes: int) -> bytes | None:
    """The ICC profile of at most `most_bytes`, or the start of a longer one; `UNUSABLE`; or None where it is sRGB."""
    found: dict[bytes, bytes] = {}
    embedded: bytes | None = None
    for kind, start, end, sound in chunks(data):
        if kind == b"IDAT":
            break
        if kind == b"iCCP" and embedded is None:
            embedded = _inflated(data[start:end], most_bytes) if sound else UNUSABLE
        elif sound and end - start == _LENGTHS.get(kind):
            found.setdefault(kind, data[start:end])
    if b"cICP" in found:
        return _by_code(found[b"cICP"])
    if embedded is not None or b"sRGB" in found:
        return embedded
    return _by_numbers(found.get(b"gAMA"), found.get(b"cHRM"))


def _inflated(content: bytes, most_bytes: int) -> bytes:
    _, _, deflated = content.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(deflated[1:], most_bytes)
    except zlib.error:
        return UNUSABLE


def _by_code(content: bytes) -> bytes | None:
    colours, curve, matrix, full_range = content
    if colours not in _PRIMARIES or curve not in _CURVES or matrix or not full_range:
        return UNUSABLE
    if (_PRIMARIES[colours], _CURVES[curve]) == (BT709, SRGB_CURVE):
        return None
    return matrix_profile(_PRIMARIES[colours], _CURVES[curve])


def _by_numbers(gamma: bytes | None, chromaticities: bytes | None) -> bytes | None:
    if gamma is None:
        return None  # without a curve, primaries say too little: browsers leave them
    (value,) = struct.unpack(">I", gamma)
    exponent = 100_000 / value if value else 0.0
    if not _GAMMAS[0] <= exponent <= _GAMMAS[1]:
        return UNUSABLE
    curve = SRGB_CURVE if abs(exponent / 2.2 - 1) <= _NARROW else (exponent,)
    primaries = BT709
    if chromaticities is not None:
        xy = [part / 100_000 for part in struct.unpack(">8I", chromaticities)]
        primaries = Primaries((xy[0], xy[1]), (xy[2], xy[3]), (xy[4], xy[5]), (xy[6], xy[7]))
    try:
        return matrix_profile(primaries, curve)
    except (ValueError, OverflowError, struct.error):
        return UNUSABLE
