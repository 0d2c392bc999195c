"""Encoded bytes -> pixels: the only place that decodes pictures. Called by `embedder.serving.service`.

Owns the limits that are checked on the header before anything is decoded, and what is made of the working picture (grey or RGB
in sRGB, on white) that `reading` gives. From one decode come the canvases of histograms and the inputs of towers (a side of
more than 224 pixels has a decode of its own), or a thumbnail: at no larger a size than `working_size` says. The decoders
release the GIL, so threads run side by side.

The pixels decide the vectors: a change to them here raises the versions of the maths in `lookalike.spaces` and
`embedder.models.bundle`, which are part of the fingerprints. Of an animation, a burst or several pages the first picture
counts.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedder.pictures import formats
from embedder.pictures.headers.header import Header
from embedder.pictures.headers.limits import Limits
from embedder.pictures.working_size import SHOWN, SHOWN_SIDE, Least, least_for
from lookalike.errors import BadImage
from lookalike.names import MAX_IMAGE_BYTES

Pixels = npt.NDArray[np.uint8]
"""uint8 `[height, width, channels]`, channels 1 (grey) or 3 (RGB)."""

CANVAS_SIDE = 256
"""Longest side of the histogram's canvas in pixels: part of what the `histogram` space is, whatever model stands beside it."""
MAX_SIDE = SHOWN_SIDE
"""Largest tower input and thumbnail: no picture is decoded smaller, or needs a longer side."""
LARGE_PIXELS = 8_000_000
"""Pixels to decode above which pictures take turns: at up to 14 bytes a pixel while decoding, a default limit of 50
megapixels, and a thread per core, memory would otherwise be bounded by luck alone."""
LARGE_AT_ONCE = 2
_THUMBNAIL_QUALITY = 85
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, Orientation -> what puts the picture upright (1 is upright)."""


@dataclass(frozen=True, slots=True)
class TowerInput:
    """What a tower sees: `[side, side, channels]`, 16 to 512 pixels, 1 (grey) or 3 (RGB) channels. `fit` is that of the
    bundle's `InputSpec`."""

    side: int
    channels: int
    fit: Literal["pad", "squash"] = "pad"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of a picture: a canvas for each number of channels in `canvases`, 1 (grey) or 3 (RGB), and an input for each
    of `towers`."""

    canvases: tuple[int, ...] = ()
    towers: tuple[TowerInput, ...] = ()

    @property
    def least(self) -> Least:
        """How small the picture may be decoded for all of it."""
        return least_for(max((tower.side for tower in self.towers), default=0))


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was wanted, in its order. `canvases` `[h, w, channels]`: longest side at most 256, never enlarged. `towers`: `[side,
    side, channels]`."""

    canvases: tuple[Pixels, ...]
    towers: tuple[Pixels, ...]

    @property
    def canvas(self) -> Pixels:
        """The canvas, where one was wanted."""
        (canvas,) = self.canvases
        return canvas

    @property
    def tower(self) -> Pixels:
        """The input of a tower, where one was wanted."""
        (tower,) = self.towers
        return tower


class Decoder:
    """Decodes under fixed limits: `max_bytes` encoded, `max_pixels` (width x height, from the header), and `max_memory_bytes`
    while it decodes, by default in proportion to the pixels, as work is. `repaired` is called with each repair, one of
    `reading.REPAIRS`. Thread-safe."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_IMAGE_BYTES,
        max_pixels: int = 50_000_000,
        max_memory_bytes: int | None = None,
        repaired: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._repaired = repaired
        self.max_bytes, self.max_pixels = max_bytes, max_pixels
        self._limits = Limits.of_pixels(max_pixels, max_memory_bytes)
        self._large = threading.BoundedSemaphore(LARGE_AT_ONCE)
        # Ours is exact, names the limit and refuses; Pillow's would warn from 89 megapixels and raise from 179.
        Image.MAX_IMAGE_PIXELS = None

    def header(self, data: bytes) -> Header:
        """What `data` is, checked against the limits before anything is decoded. Raises `BadImage`."""
        self._check_size(data)
        header = formats.read_header(data)
        self._limits.check(header)
        return header

    def decode(self, data: bytes, wanted: Wanted) -> Decoded:
        """Decode `data` into what is wanted. Raises `BadImage`.

        No result depends on what else is wanted: a query asks for one space and ingest for all, and they must get the same
        vectors.
        """
        header = self.header(data)
        canvases: dict[int, Pixels] = {}
        towers: dict[TowerInput, Pixels] = {}
        sizes = [*(least_for(0) for _ in wanted.canvases), *(least_for(tower.side) for tower in wanted.towers)]
        # One decode for each working size, and one working picture in memory at a time.
        for least in dict.fromkeys(sizes):
            picture, orientation = self._working_picture(data, header, least)
            if least == least_for(0):
                canvases = {channels: _canvas(picture, orientation, channels) for channels in wanted.canvases}
            towers |= {one: _tower(picture, orientation, one) for one in wanted.towers if least_for(one.side) == least}
        return Decoded(tuple(canvases[channels] for channels in wanted.canvases), tuple(towers[one] for one in wanted.towers))

    def picture(self, data: bytes) -> Image.Image:
        """`data` as an upright RGB picture at working size: longest side under twice 512 pixels. Raises `BadImage`."""
        picture, orientation = self._working_picture(data, self.header(data), SHOWN)
        return _upright(picture.convert("RGB"), orientation)

    def thumbnail(self, data: bytes, max_side: int) -> bytes:
        """A JPEG (RGB, upright, on white) whose longest side is at most `max_side` pixels, 1 to 512. Raises `BadImage`."""
        picture, orientation = self._working_picture(data, self.header(data), SHOWN)
        width, height = _size_within(picture.size, max_side)
        if max(picture.size) > max_side:
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        _upright(picture.convert("RGB"), orientation).save(stream, "JPEG", quality=_THUMBNAIL_QUALITY, optimize=True)
        return stream.getvalue()

    def _working_picture(self, data: bytes, header: Header, least: Least) -> tuple[Image.Image, int]:
        """`data` as mode L or RGB, at working size, not yet turned; and its EXIF orientation, 1 to 8."""
        with self._large if formats.decoded_pixels(header, least) > LARGE_PIXELS else nullcontext():
            working = formats.decode(data, header, least, self.max_pixels)
        for kind in working.repaired:
            self._repaired(kind)
        return working.picture, working.orientation

    def _check_size(self, data: bytes) -> None:
        if not data:
            raise BadImage("holds no bytes", reason="IMAGE_EMPTY")
        if len(data) > self.max_bytes:
            raise BadImage(f"is {len(data):,} bytes long; at most {self.max_bytes:,} are allowed", reason="IMAGE_TOO_LARGE")


def _canvas(picture: Image.Image, orientation: int, channels: int) -> Pixels:
    return _array(_shrunk(_without_colour(picture, channels), CANVAS_SIDE), orientation, channels)


def _tower(picture: Image.Image, orientation: int, wanted: TowerInput) -> Pixels:
    picture = _without_colour(picture, wanted.channels)
    made = _squashed(picture, wanted.side) if wanted.fit == "squash" else _fitted(picture, wanted.side)
    return _centred(_array(made, orientation, wanted.channels), wanted.side)


def _without_colour(picture: Image.Image, channels: int) -> Image.Image:
    """Grey where `channels` is 1, by ITU-R 601 luma (Pillow's `L`): 0.299 R + 0.587 G + 0.114 B.

    Before the resize, which takes three times as long in colour; grey becomes RGB after it, in `_array`.
    """
    return picture.convert("L") if channels == 1 and picture.mode != "L" else picture


def _size_within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """`size` scaled so that the longest side is `side`, no side under 1."""
    longest = max(size)
    return max(1, round(size[0] * side / longest)), max(1, round(size[1] * side / longest))


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    """Area averaging down to `side`; smaller pictures stay as they are."""
    return picture if max(picture.size) <= side else picture.resize(_size_within(picture.size, side), Image.Resampling.BOX)


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    """Longest side exactly `side`: area averaging when shrinking, bicubic when enlarging."""
    if max(picture.size) < side:
        return picture.resize(_size_within(picture.size, side), Image.Resampling.BICUBIC)
    return _shrunk(picture, side)


def _squashed(picture: Image.Image, side: int) -> Image.Image:
    """Both sides exactly `side`, by bilinear interpolation, which Pillow widens to an antialiasing filter when shrinking."""
    return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.BILINEAR)


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _array(picture: Image.Image, orientation: int, channels: int) -> Pixels:
    """uint8 `[height, width, channels]`, upright."""
    mode = "L" if channels == 1 else "RGB"
    converted = picture if picture.mode == mode else picture.convert(mode)
    pixels = np.asarray(_upright(converted, orientation), np.uint8)
    return pixels[..., None] if channels == 1 else pixels


def _centred(pixels: Pixels, side: int) -> Pixels:
    """In the middle of a black square; of an odd margin the smaller half is above and to the left."""
    height, width, channels = pixels.shape
    if height == width == side:
        return pixels
    square = np.zeros((side, side, channels), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
