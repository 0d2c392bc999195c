"""Alterations do what they say, in parts of the picture's own size, and views draw from them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from embedder.pictures import alterations as alter
from embedder.training.views import view
from tests.pictures.scenes import scene


def draws(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(float)


@pytest.mark.parametrize("area", [0.06, 0.25, 0.8, 1.0])
@pytest.mark.parametrize("aspect", [0.75, 1.0, 1.33])
def test_a_crop_is_a_part_of_the_picture_of_that_area(area: float, aspect: float) -> None:
    whole = scene(1)
    part = alter.crop(whole, draws(), area, aspect)
    assert part.width <= whole.width
    assert part.height <= whole.height
    if area * aspect <= 1 and area / aspect <= 1:  # else a side was all there is
        assert part.width * part.height == pytest.approx(area * 320 * 240, rel=0.03)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(whole)[..., 0], (part.height, part.width))
    first = np.asarray(part)[..., 0]
    assert any(np.array_equal(windows[y, x], first) for y in range(windows.shape[0]) for x in range(windows.shape[1])
               if windows[y, x, 0, 0] == first[0, 0])  # fmt: skip


def test_no_picture_becomes_too_small_to_be_found() -> None:
    tiny = scene(1, 20, 18)
    assert min(alter.crop(tiny, draws(), 0.01).size) >= alter.LEAST_SIDE
    assert min(alter.resized(scene(1, 400, 20), 50).size) >= alter.LEAST_SIDE
    assert alter.resized(tiny, 512) is tiny


def test_a_sticker_covers_as_much_as_it_says_and_nothing_else_changes() -> None:
    changed = [
        (pixels(alter.stickered(scene(seed), draws(seed), 0.2)) != pixels(scene(seed))).any(-1).mean() for seed in range(8)
    ]
    assert all(0.14 < share < 0.21 for share in changed)  # a disc fills pi / 4 of its box


def test_a_caption_lies_at_the_top_or_the_foot() -> None:
    tops = set()
    for seed in range(8):
        rows = (pixels(alter.captioned(scene(1), draws(seed), 0.15)) != pixels(scene(1))).any((1, 2))
        assert rows.mean() == pytest.approx(0.15, abs=0.02)
        tops.add(bool(rows[0]))
    assert tops == {True, False}


def test_blur_is_as_strong_on_a_large_picture_as_on_a_small_one() -> None:
    small, large = scene(3), scene(3).resize((960, 720))
    blurred = alter.blurred(large, 0.02).resize((320, 240))
    assert np.abs(pixels(blurred) - pixels(alter.blurred(small, 0.02))).mean() < 3
    assert np.abs(pixels(small) - pixels(blurred)).mean() > 6


def test_light_and_colour() -> None:
    picture = scene(4)
    assert pixels(alter.adjusted(picture, brightness=0.5)).mean() == pytest.approx(pixels(picture).mean() / 2, rel=0.02)
    assert alter.adjusted(picture) is picture
    tinted = pixels(alter.tinted(picture, (1.0, 1.0, 0.5)))
    assert np.array_equal(tinted[..., :2], pixels(picture)[..., :2])
    assert tinted[..., 2].mean() == pytest.approx(pixels(picture)[..., 2].mean() / 2, rel=0.02)
    assert np.ptp(pixels(alter.grey(picture)), axis=2).max() == 0


def test_a_frame_goes_around_the_picture() -> None:
    framed = alter.framed(scene(5), 0.05, (255, 255, 255))
    assert framed.size == (352, 272)
    assert (np.asarray(framed)[:16] == 255).all()
    assert np.array_equal(np.asarray(framed)[16:-16, 16:-16], np.asarray(scene(5)))


def test_views_are_the_same_for_the_same_draws_and_others_for_others() -> None:
    assert view(scene(6), draws(1)) == view(scene(6), draws(1))
    assert len({view(scene(6), draws(seed)) for seed in range(30)}) == 30


def test_views_differ_in_size_colour_and_weight() -> None:
    """Each kind of alteration is among some dozens of views, and none is in all of them."""
    files = [view(scene(7), draws(seed)) for seed in range(60)]
    opened = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    greys = [np.ptp(pixels(picture), axis=2).mean() < 4 for picture in opened]
    small = [max(picture.size) < 160 for picture in opened]
    for found in (greys, small):
        assert 0 < sum(found) < 45
    assert min(len(file) for file in files) * 8 < max(len(file) for file in files)
