"""A JPEG decoded at a reduced scale is nearly what a full decode gives: in pixels, in its histogram and in its embedding.

What is compared with is the very same pixels as a BMP, which is always decoded in full. Pictures here are made up. Of 84
photographs of 576 to 6,028 pixels (those of `make photographs` that are decoded at a reduced scale) the worst had a cosine of
.990 (one of 640 x 480; half of them have over .999), .104 and .085 of L1, and 4.3 and 10.2 levels of mean difference in tower
and canvas.
"""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image

from embedder.models.bundle import SHIPPED, load
from embedder.models.model import Model
from embedder.pictures.decode import Decoded, Decoder, Pixels, TowerInput, Wanted
from embedder.serving.spaces import ToCount, ToShow, TracedModel, Work
from lookalike.spaces import HistogramSettings, Vector
from tests.bench.inputs import photographs
from tests.pictures.made_pictures import encoded
from tests.servers.embedder import warm_spaces

LARGEST_DIFFERENCE = 2.5
"""The mean difference of the tower's pixels over all values, of 256 levels."""
LARGEST_CANVAS_DIFFERENCE = 5.0
"""The mean difference of the canvas's pixels: area averaging from 320 to 256 pixels moves edges by up to half a pixel, which a
histogram does not see."""
LARGEST_L1 = 0.1
"""The difference of two histograms that sum to 1, where 2 is the most there is."""
LEAST_COSINE = 0.99
SIZES = ((640, 480), (800, 600), (2000, 1500), (1500, 1100), (1200, 1600), (2800, 2100))
BARELY = ((642, 482), (1280, 960), (1285, 966), (962, 1284), (700, 480), (2001, 961))
"""Decoded to hardly more than 320 x 240, the least there is."""


@functools.cache
def photo() -> TracedModel:
    return TracedModel(Model(load(SHIPPED / "photo")), 2)


@functools.cache
def pair(size: tuple[int, int]) -> tuple[Decoded, Decoded]:
    """A photograph of `size`, decoded as it is served and in full; a grey canvas, and what `photo` sees."""
    (data,) = photographs(1, *size)
    bundle = photo().bundle
    wanted = Wanted((1,), (TowerInput(bundle.tower.input_size, bundle.tower.channels, bundle.input.fit),))
    return Decoder().decode(data, wanted), Decoder().decode(encoded(Image.open(io.BytesIO(data)), "BMP"), wanted)


def difference(some: Pixels, others: Pixels) -> float:
    return float(np.abs(some.astype(int) - others.astype(int)).mean())


def embedded(size: tuple[int, int], settings: HistogramSettings) -> tuple[list[Vector], list[Vector]]:
    """Histograms and `photo` vectors of both."""
    works = [Work((ToCount(settings, one.canvas), ToShow(photo(), one.tower))) for one in pair(size)]
    made = warm_spaces().compute(works)
    return [counts for counts, _ in made], [vector for _, vector in made]


@pytest.mark.parametrize("size", SIZES + BARELY)
def test_pixels_differ_little_on_average_but_not_by_nothing(size: tuple[int, int]) -> None:
    reduced, full = pair(size)
    # Not by nothing: else this picture was decoded in full as well, and nothing here is tested.
    assert 0 < difference(reduced.canvas, full.canvas) <= LARGEST_CANVAS_DIFFERENCE
    assert 0 < difference(reduced.tower, full.tower) <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("size", SIZES + BARELY)
def test_the_embedding_is_nearly_the_same(size: tuple[int, int]) -> None:
    _, (reduced, full) = embedded(size, HistogramSettings())
    assert LEAST_COSINE <= float(reduced @ full) < 1.0001


@pytest.mark.parametrize("size", SIZES + BARELY)
@pytest.mark.parametrize("settings", [HistogramSettings(), HistogramSettings(16, 4)])
def test_the_histograms_differ_little(size: tuple[int, int], settings: HistogramSettings) -> None:
    (reduced, full), _ = embedded(size, settings)
    assert 0 < np.abs(reduced - full).sum() <= LARGEST_L1


def test_just_under_twice_320_x_240_nothing_is_lost() -> None:
    for size in ((638, 480), (640, 478)):
        reduced, full = pair(size)
        assert difference(reduced.tower, full.tower) == difference(reduced.canvas, full.canvas) == 0
