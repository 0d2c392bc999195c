"""Any mode that a decoder gives -> grey or RGB without transparency. Called by `embedder.pictures.reading`.

Owns what transparency and deep samples mean. Pictures lie on white, a part that no frame covers is white as well, and samples
of any depth are scaled with rounding, never cut off. Pillow's own conversions are avoided where they misread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

WHITE = (255, 255, 255)
Box = tuple[int, int, int, int]
"""Left, upper, right, lower; in pixels."""


def raw_mode(image: Image.Image) -> str:
    """How the file stores its samples, in Pillow's words (`L`, `RGB;16B`, ...). Known before loading only."""
    arguments = image.tile[0][3] if getattr(image, "tile", None) else None  # type: ignore[attr-defined]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def covered(image: Image.Image, data: bytes) -> Box:
    """The part of the picture that its first frame covers. Known before loading only."""
    tiles = getattr(image, "tile", None)
    if image.format == "GIF" and tiles:
        left, upper, right, lower = tiles[0][1]
        return left, upper, right, lower
    if image.format == "WEBP" and getattr(image, "n_frames", 1) > 1 and (start := data.find(b"ANMF")) >= 0:
        # WebP container: places in units of two pixels, sides less one, three bytes each.
        left, upper, width, height = (int.from_bytes(data[at : at + 3], "little") for at in range(start + 8, start + 20, 3))
        return 2 * left, 2 * upper, 2 * left + width + 1, 2 * upper + height + 1
    return 0, 0, *image.size


def flattened(image: Image.Image, stored: str) -> Image.Image:
    """A loaded picture as L, RGB or CMYK, transparency on white; `stored` is its `raw_mode`."""
    key = image.info.pop("transparency", None)
    if image.mode.startswith("I;16"):
        return _from_16_bit_grey(image, key)
    if image.mode in ("1", "L") and isinstance(key, int):
        return _with_grey_key(image.convert("L"), _scaled_key(key, stored))
    if image.mode == "RGB" and isinstance(key, tuple):
        return _with_colour_key(image, tuple(part & 255 for part in key))
    if key is not None:
        image.info["transparency"] = key
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        flat = Image.new("RGB", image.size, WHITE)
        flat.paste(layer, mask=layer)
        return flat.convert("L") if image.mode in ("1", "L", "LA") else flat
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def on_white(picture: Image.Image, box: Box) -> Image.Image:
    """`picture` with all that lies outside of `box` white."""
    if box == (0, 0, *picture.size):
        return picture
    whole = Image.new(picture.mode, picture.size, 255 if picture.mode == "L" else WHITE)
    whole.paste(picture.crop(box), box[:2])
    return whole


def _scaled_key(key: int, stored: str) -> int:
    """A transparent grey of 1, 2 or 4 bits as Pillow scales the samples themselves, but not the key."""
    bits = {"1": 1, "L;2": 2, "L;4": 4}.get(stored, 8)
    top = (1 << bits) - 1
    return (key & top) * 255 // top


def _with_grey_key(picture: Image.Image, key: int) -> Image.Image:
    """Grey `key` becomes white."""
    return picture.point([255 if value == key else value for value in range(256)])


def _with_colour_key(picture: Image.Image, key: tuple[int, ...]) -> Image.Image:
    """The colour `key` becomes white."""
    pixels = np.array(picture)
    pixels[(pixels == np.array(key, np.uint8)).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def to_8_bits(samples: npt.NDArray[Any], top: int) -> npt.NDArray[np.uint8]:
    """Samples of 0 to `top` -> 0 to 255, rounded."""
    if top > 65535:  # their products with 255 would not fit; 16 bits are more than enough
        shift = top.bit_length() - 16
        samples, top = samples >> samples.dtype.type(shift), top >> shift
    return np.asarray((samples.astype(np.uint32) * np.uint32(255) + np.uint32(top // 2)) // np.uint32(top), np.uint8)


def _from_16_bit_grey(image: Image.Image, key: object) -> Image.Image:
    """16-bit grey -> L by dividing with rounding, since Pillow's own conversion clips at 255."""
    samples = np.asarray(image)
    grey = to_8_bits(samples, 65535)
    if isinstance(key, int):
        grey[samples == key] = 255
    return Image.fromarray(grey)
