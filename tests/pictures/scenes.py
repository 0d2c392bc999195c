"""Pictures with as much in them as a photograph, made in memory: something left to find after cutting and blurring."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A sky over ground with a few dozen shapes and some grain, all by `seed`."""
    rng = np.random.default_rng(seed)
    sky, ground = rng.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, height)[:, None, None]
    pixels = np.broadcast_to(sky * (1 - ramp) + ground * ramp, (height, width, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels.copy())
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(10, 50))):
        x, y = rng.integers(0, width), rng.integers(0, height)
        size = rng.integers(8, 90, 2)
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        shape = (draw.ellipse, draw.rectangle, draw.line)[int(rng.integers(3))]
        shape((int(x), int(y), int(x + size[0]), int(y + size[1])), fill=colour)
    grain = rng.normal(0, rng.uniform(0, 25), (height, width, 1))
    grained = np.clip(np.asarray(picture.filter(ImageFilter.GaussianBlur(1))) + grain, 0, 255)
    return Image.fromarray(grained.astype(np.uint8))
