"""Augmented views: one photograph as it might come back. Two views of one photograph are a pair to learn from.

Owns which alterations are drawn, how often and how strong. `embedder.training.near_duplicates` trains on what comes out.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from embedder.pictures import alterations as alter

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def view(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """A random view of `picture` (RGB) as a JPEG file; every draw is `rng`'s.

    Each alteration is made or left out by itself, in the order in which they happen to pictures: what the camera's owner does
    (crop, mirror, turn), what a filter does (light, colour, grey, blur), what is put on top, and what sending it does.
    """
    picture = _reframed(picture, rng)
    picture = _filtered(picture, rng)
    if rng.random() < 0.2:
        picture = alter.captioned(picture, rng, height=rng.uniform(0.06, 0.2))
    if rng.random() < 0.3:
        picture = alter.stickered(picture, rng, area=rng.uniform(0.01, 0.2))
    if rng.random() < 0.1:
        picture = alter.framed(picture, rng.uniform(0.01, 0.08), _BLACK if rng.random() < 0.5 else _WHITE)
    if rng.random() < 0.15:
        picture = alter.resized(picture, int(rng.integers(56, 160)))
    return alter.jpeg(picture, int(rng.integers(5, 60)) if rng.random() < 0.5 else 90)


def _reframed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.8:
        picture = alter.crop(picture, rng, area=_log_uniform(rng, 0.06, 1.0), aspect=_log_uniform(rng, 0.75, 1.33))
    if rng.random() < 0.3:
        picture = alter.mirrored(picture)
    if rng.random() < 0.25:
        picture = alter.rotated(picture, rng.uniform(-20, 20), _BLACK if rng.random() < 0.5 else _WHITE)
    return picture


def _filtered(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        brightness, contrast, colour = (_log_uniform(rng, 0.55, 1.8) for _ in range(3))
        picture = alter.adjusted(picture, brightness=brightness, contrast=contrast, colour=colour)
    if rng.random() < 0.2:
        red, green, blue = (_log_uniform(rng, 0.7, 1.4) for _ in range(3))
        picture = alter.tinted(picture, (red, green, blue))
    if rng.random() < 0.2:
        picture = alter.grey(picture)
    if rng.random() < 0.25:
        picture = alter.blurred(picture, rng.uniform(0.003, 0.025))
    return picture


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
