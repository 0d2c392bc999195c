"""How small a picture may be decoded, or be averaged down, before the one resize that follows. Called by `pictures.decode`.

Owns the rules: they depend on the picture's size and on the tower's side, never on what else is wanted of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

SHARED_SIDE = 224
"""Towers up to this side (that of the shipped `photo`) see the very decode that the histogram's canvas is made from."""
SHOWN_SIDE = 512
"""Longest side of what is made to be looked at, in pixels."""
_LONGER, _SHORTER = 10 / 7, 15 / 14
"""Least sides of a decoded JPEG, as multiples of the tower's side: 320 x 240 for 224, so that the
canvas of 256 is never larger than the decode.

Less would save time and cost truth. Of 16 to 30 photographs, as `photo` sees them, the one furthest from its full decode has
a cosine of .998 from 500 x 375, .994 from 320 x 240, .990 from 300 x 225, .981 from 250 x 188 and .956 from 224 x 224; no
filter of the last resize helps (bicubic, Lanczos, Hamming, box). Half the scale once more would save a fifth of the time at
best: the Huffman code is read in full at every scale, and is most of what is left.
"""
_LONGER_AT_AN_EIGHTH = 512
"""At 1/8 a JPEG gives nothing but each block's mean, of which its quantisation leaves few levels. A canvas that does not
average several of them has a histogram like a comb, .3 of L1 away from that of a full decode."""
_AVERAGED = (512, 384)
"""Longer and shorter side that are left of what was decoded in full: there decoding takes the time, and the resize may take
more."""


@dataclass(frozen=True, slots=True)
class Least:
    """The least (longer, shorter) side in pixels: `drafted` of a JPEG decoded at a reduced scale, `averaged` of a picture that
    is averaged down by a whole factor afterwards. A shorter side of 0 means any."""

    drafted: tuple[int, int]
    averaged: tuple[int, int]

    def draft_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) to ask of the JPEG decoder for a picture of `size`; the scale is 1, 1/2, 1/4 or 1/8."""
        longer, shorter = self.drafted
        for scale in (8, 4, 2):
            longest, shortest = max(size) / scale, min(size) / scale
            if longest >= longer and shortest >= shorter and (scale < 8 or longest >= _LONGER_AT_AN_EIGHTH):
                return max(1, size[0] // scale), max(1, size[1] // scale)
        return size

    def factor(self, size: tuple[int, int]) -> int:
        """The largest whole factor, 1 or more, to average a picture of `size` down by."""
        longer, shorter = self.averaged
        return max(1, min(max(size) // longer, min(size) // shorter if shorter else max(size)))

    def reduced(self, picture: Image.Image) -> Image.Image:
        """`picture` averaged down by that factor."""
        factor = self.factor(picture.size)
        return picture.reduce(factor) if factor > 1 else picture


SHOWN = Least((SHOWN_SIDE, 0), (SHOWN_SIDE, 0))
"""For thumbnails and whole pictures, which keep their shape, however narrow."""


def least_for(side: int) -> Least:
    """For a tower of `side` pixels; up to `SHARED_SIDE`, and for none (0), for the canvas as well."""
    side = max(side, SHARED_SIDE)
    drafted = math.ceil(side * _LONGER), math.ceil(side * _SHORTER)
    return Least(drafted, (max(drafted[0], _AVERAGED[0]), max(drafted[1], _AVERAGED[1])))
