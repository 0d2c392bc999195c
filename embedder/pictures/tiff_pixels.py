"""A TIFF's samples -> its picture at working size. Called by `embedder.pictures.reading`.

Owned here, because Pillow misreads or refuses a good part of what TIFF can store: how samples become colours. The picture is
made and averaged down by bands of rows, so that no more is held than a band and the picture at working size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedder.pictures import tiff_directory as tiff
from embedder.pictures.headers.tiff import BAND_PIXELS
from embedder.pictures.refusals import check_pixels, damaged, too_many_pixels
from embedder.pictures.tiff_layout import Layout, read_layout
from embedder.pictures.tiff_samples import Samples, samples
from embedder.pictures.working_size import Least

_STEP_PIXELS = 1 << 16
"""Pixels that go through arithmetic together: a sample takes four bytes and more meanwhile."""


@dataclass(frozen=True, slots=True)
class Page:
    """`picture` is L, RGB or CMYK, on white, at working size, not yet turned. `profile`: its ICC profile."""

    picture: Image.Image
    orientation: int
    profile: bytes | None


def read_page(data: bytes, least: Least, max_pixels: int) -> Page:
    """The first page. Raises `BadImage`."""
    layout = read_layout(data)
    # Once more: the header's reader looked at the first page, which may be a preview of this one.
    if max(layout.width * layout.height, layout.part_width * min(layout.part_height, layout.height)) > max_pixels:
        raise too_many_pixels(layout.width, layout.height, max_pixels)
    if layout.compression in tiff.OLD_JPEG:
        return Page(least.reduced(_by_pillow(data, max_pixels)), 1, layout.profile)
    working = _Working(layout, least.factor((layout.width, layout.height)))
    for band in samples(data, layout):
        working.add(band)
    return Page(working.picture(), layout.orientation, layout.profile)


def _by_pillow(data: bytes, max_pixels: int) -> Image.Image:
    """JPEG of the old kind, of which libtiff alone knows the many ways; turned already."""
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            check_pixels(*image.size, max_pixels)  # Pillow believes the last of equal tags
            image.load()
            return image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SyntaxError) as error:
        raise damaged() from error


class _Working:
    """The picture at working size, of which each pixel is the mean of `factor` x `factor`, made from top to bottom.

    Rows wait until they fill a band of a multiple of `factor` rows: the picture is then the same as if all of it had been
    averaged down together.
    """

    def __init__(self, layout: Layout, factor: int) -> None:
        self._layout, self._factor = layout, factor
        rows = factor * max(1, BAND_PIXELS // (layout.width * factor))
        self._colours = _palette(layout) if layout.photometric == tiff.PALETTE else None
        count = layout.base + (layout.alpha is not None)
        self._waiting = np.empty((min(rows, layout.height), layout.width, count), np.uint8)
        self._filled = self._done = 0
        self._made: Image.Image | None = None
        self._transparent = layout.alpha is not None and not layout.guessed_alpha

    def add(self, band: Samples) -> None:
        """The next rows, `[rows, width, n]`."""
        start = 0
        while start < len(band):
            rows = min(len(band) - start, len(self._waiting) - self._filled)
            self._waiting[self._filled : self._filled + rows] = band[start : start + rows]
            start, self._filled = start + rows, self._filled + rows
            if self._filled == len(self._waiting):
                self._finish_band()

    def picture(self) -> Image.Image:
        """L, RGB or CMYK, on white."""
        if self._filled:
            self._finish_band()
        assert self._made is not None  # noqa: S101 - a layout has pixels
        return self._made

    def _finish_band(self) -> None:
        band = self._waiting[: self._filled]
        if self._layout.guessed_alpha and not self._transparent and band[..., self._layout.base].any():
            # It is one after all. What came before has none but zeros in it, and is not to be seen.
            self._transparent = True
            if self._made is not None:
                self._made.paste((255, 255, 255), (0, 0, self._made.width, self._done))  # It is RGB: no other is guessed.
        picture = _picture(self._layout, band, self._colours, transparent=self._transparent)
        small = picture.reduce(self._factor) if self._factor > 1 else picture
        if self._made is None:
            height = -(-self._layout.height // self._factor)
            if small.height == height:
                self._made = small
            else:
                self._made = Image.new(small.mode, (small.width, height))
        if self._made is not small:
            self._made.paste(small, (0, self._done))
        self._done, self._filled = self._done + small.height, 0


def _picture(layout: Layout, band: Samples, colours: Samples | None, *, transparent: bool) -> Image.Image:
    """Rows of samples as L, RGB or CMYK, on white. `colours`: of a palette."""
    colour = band[..., : layout.base]
    alpha = band[..., layout.base] if transparent else None
    if colours is not None:
        colour = colours[colour[..., 0]]
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
    return Image.frombytes(mode, (layout.width, len(band)), np.ascontiguousarray(colour).tobytes())


def _on_white(colour: Samples, alpha: Samples, premultiplied: bool) -> Samples:
    made = np.empty(colour.shape, np.uint8)
    flat, cover, target = colour.reshape(-1, colour.shape[-1]), alpha.reshape(-1, 1), made.reshape(-1, colour.shape[-1])
    for start in range(0, len(flat), _STEP_PIXELS):
        part = flat[start : start + _STEP_PIXELS].astype(np.uint32)
        share = cover[start : start + _STEP_PIXELS].astype(np.uint32)
        covered = part * 255 if premultiplied else part * share
        target[start : start + _STEP_PIXELS] = np.minimum(255, (covered + (255 - share) * 255 + 127) // 255)
    return made


def _palette(layout: Layout) -> Samples:
    """uint8 `[2 ** bits, 3]`. Some writers fill a palette of 16 bits with 8, as libtiff knows."""
    places = 1 << layout.bits
    if len(layout.palette) < 3 * places:
        raise damaged("its palette is too short", part="header")
    colours = np.array(layout.palette[: 3 * places], np.uint32).reshape(3, places).T
    made = np.zeros((256, 3), np.uint8)
    made[:places] = colours if colours.max() < 256 else colours >> 8
    return made


def _from_ycbcr(colour: Samples, layout: Layout) -> Samples:
    """TIFF 6.0, section 20 and 21."""
    red, green, blue = layout.luma
    black_y, white_y, black_b, white_b, black_r, white_r = layout.reference
    made = np.empty(colour.shape, np.uint8)
    flat, target = colour.reshape(-1, colour.shape[-1]), made.reshape(-1, colour.shape[-1])
    for start in range(0, len(flat), _STEP_PIXELS):
        part = flat[start : start + _STEP_PIXELS].astype(np.float32)
        y = (part[..., 0] - black_y) * (255 / (white_y - black_y))
        cb = (part[..., 1] - black_b) * (127 / (white_b - black_b))
        cr = (part[..., 2] - black_r) * (127 / (white_r - black_r))
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / green
        target[start : start + _STEP_PIXELS] = np.clip(np.rint(np.stack([r, g, b], -1)), 0, 255).astype(np.uint8)
    return made
