"""How small a picture may become is decided by its size and the tower's side alone."""

from __future__ import annotations

import pytest

from embedder.pictures.working_size import SHOWN, least_for


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((640, 480), 2), ((480, 640), 2), ((639, 480), 1), ((640, 479), 1), ((800, 600), 2), ((1279, 960), 2), ((1280, 960), 4),
        ((2000, 1500), 4), ((960, 960), 2), ((1280, 1280), 4), ((4000, 3000), 4), ((4095, 3000), 4), ((4096, 3072), 8),
        ((5000, 479), 1), ((5000, 480), 2), ((5000, 2), 1), ((1, 1), 1),
    ],
)  # fmt: skip
def test_a_jpeg_is_decoded_to_320_x_240_or_more_and_at_an_eighth_to_512(size: tuple[int, int], scale: int) -> None:
    for side in (0, 28, 224):
        assert least_for(side).draft_size(size) == (size[0] // scale, size[1] // scale)


@pytest.mark.parametrize("side", [225, 256, 384, 512])
def test_a_larger_tower_gets_more_pixels_than_its_side(side: int) -> None:
    least = least_for(side)
    for size in ((640, 480), (2000, 1500), (3000, 900), (4000, 3000), (9000, 7000)):
        width, height = least.draft_size(size)
        assert (width, height) == size or (min(width, height) > side and max(width, height) > 1.4 * side)
        assert least.factor(size) == 1 or min(size) / least.factor(size) > side


@pytest.mark.parametrize(
    ("size", "factor"), [((511, 511), 1), ((1024, 768), 2), ((1024, 767), 1), ((4000, 3000), 7), ((4000, 500), 1), ((3, 1), 1)]
)
def test_other_pictures_are_averaged_down_to_512_x_384_or_more(size: tuple[int, int], factor: int) -> None:
    assert least_for(224).factor(size) == least_for(224).factor(size[::-1]) == factor


def test_what_is_shown_keeps_its_longest_side_at_512_however_narrow() -> None:
    assert SHOWN.draft_size((4096, 40)) == (512, 5)
    assert SHOWN.draft_size((4096, 3)) == (512, 1)
    assert SHOWN.draft_size((1023, 767)) == (1023, 767)
    assert [SHOWN.factor(size) for size in ((5120, 1), (1023, 1023), (1024, 20))] == [10, 1, 2]
