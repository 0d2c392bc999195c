"""What becomes of a photograph on its way through the world: cut, turned, darkened, written on, compressed, made small.

Owns the operations, each a function of an RGB Pillow picture. `embedder.training.views` draws them at random to train with;
`embedder.evaluation.attacks` applies them in fixed strengths to measure with. Lengths are parts of the picture's own sides, so
that an operation looks the same on a small picture and on a large one.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

WORDS = ("FOR SALE", "Holiday 2024", "breaking news", "look at this!", "SAMPLE", "so true", "New in store", "#nofilter")
LEAST_SIDE = 16
"""No operation makes a picture smaller than this: there would be nothing to find."""
Colour = tuple[int, int, int]


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture as a JPEG file; `quality` is Pillow's, 1 to 95."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def crop(picture: Image.Image, rng: np.random.Generator, area: float, aspect: float = 1.0) -> Image.Image:
    """A part of the picture with `area` (0 to 1) of its pixels, anywhere in it; `aspect` times as wide for its height as it."""
    width = _side(picture.width * math.sqrt(area * aspect), picture.width)
    height = _side(picture.height * math.sqrt(area / aspect), picture.height)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def resized(picture: Image.Image, longest: int) -> Image.Image:
    """Shrunk until its longest side is `longest` pixels; never enlarged."""
    if max(picture.size) <= longest:
        return picture
    scale = longest / max(picture.size)
    size = (_side(picture.width * scale, picture.width), _side(picture.height * scale, picture.height))
    return picture.resize(size, Image.Resampling.BILINEAR)


def mirrored(picture: Image.Image) -> Image.Image:
    return ImageOps.mirror(picture)


def rotated(picture: Image.Image, degrees: float, fill: Colour = (0, 0, 0)) -> Image.Image:
    """Turned against the clock within its own frame; the corners that come free are of colour `fill`."""
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)


def blurred(picture: Image.Image, radius: float) -> Image.Image:
    """Gaussian, with a standard deviation of `radius` times the longest side."""
    return picture.filter(ImageFilter.GaussianBlur(radius * max(picture.size)))


def grey(picture: Image.Image) -> Image.Image:
    """ITU-R 601 luma in all three channels."""
    return picture.convert("L").convert("RGB")


def adjusted(picture: Image.Image, *, brightness: float = 1.0, contrast: float = 1.0, colour: float = 1.0) -> Image.Image:
    """Each factor: 1 leaves the picture as it is, 0 makes it black, flat grey, or grey (Pillow's `ImageEnhance`)."""
    if brightness != 1:
        picture = ImageEnhance.Brightness(picture).enhance(brightness)
    if contrast != 1:
        picture = ImageEnhance.Contrast(picture).enhance(contrast)
    return ImageEnhance.Color(picture).enhance(colour) if colour != 1 else picture


def tinted(picture: Image.Image, factors: tuple[float, float, float]) -> Image.Image:
    """Red, green and blue each multiplied: a warmer or colder light, or a filter."""
    tables = [min(255, round(value * factor)) for factor in factors for value in range(256)]
    return picture.point(tables)


def stickered(picture: Image.Image, rng: np.random.Generator, area: float) -> Image.Image:
    """A disc or a box of one colour, with a rim, covering `area` of the picture, anywhere in it."""
    side = math.sqrt(area * picture.width * picture.height)
    width, height = _side(side, picture.width), _side(side, picture.height)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    box = (left, top, left + width - 1, top + height - 1)
    changed = picture.copy()
    draw = ImageDraw.Draw(changed)
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape(box, fill=_colour(rng), outline=_colour(rng), width=max(1, round(side / 12)))
    return changed


def captioned(picture: Image.Image, rng: np.random.Generator, height: float) -> Image.Image:
    """Words on a bar across the top or the foot of the picture, the bar being `height` of the picture's own."""
    bar = max(LEAST_SIDE // 2, round(picture.height * height))
    top = 0 if rng.random() < 0.5 else picture.height - bar
    dark = rng.random() < 0.5
    changed = picture.copy()
    draw = ImageDraw.Draw(changed)
    draw.rectangle((0, top, picture.width, top + bar), fill=(0, 0, 0) if dark else (255, 255, 255))
    words = WORDS[int(rng.integers(len(WORDS)))]
    at = (picture.width / 2, top + bar / 2)
    draw.text(at, words, fill=(255, 255, 255) if dark else (0, 0, 0), font=ImageFont.load_default(bar * 0.7), anchor="mm")
    return changed


def framed(picture: Image.Image, width: float, colour: Colour) -> Image.Image:
    """A border of `width` times the longest side around the picture."""
    return ImageOps.expand(picture, border=max(1, round(width * max(picture.size))), fill=colour)


def _side(wanted: float, available: int) -> int:
    return min(available, max(LEAST_SIDE, round(wanted)))


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(part) for part in rng.integers(0, 256, 3))
    return red, green, blue
