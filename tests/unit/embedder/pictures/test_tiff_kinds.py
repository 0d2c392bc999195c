"""Every layout of TIFF comes out as the array it was made from, or is refused by name."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from embedder.pictures.decode import Decoder, Wanted
from lookalike.errors import BadImage
from tests.pictures.made_pictures import encoded
from tests.unit.embedder.pictures.made_tiffs import DEFLATE, LZW, PACKBITS, RAW, Samples, tiff, tiff_of

WIDTH, HEIGHT = 37, 23
GREY_IS_INK, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
KINDS = [  # photometric, samples, extra samples
    (GREY_IS_INK, 1, ()), (GREY, 1, ()), (GREY, 2, (0,)), (GREY, 2, (1,)), (GREY, 2, (2,)), (GREY_IS_INK, 2, (2,)),
    (RGB, 3, ()),
    (RGB, 4, ()), (RGB, 4, (0,)), (RGB, 4, (1,)), (RGB, 4, (2,)), (RGB, 5, (0, 2)), (CMYK, 4, ()), (CMYK, 5, (0,)),
]  # fmt: skip
WAYS = list(
    itertools.product("<>", (RAW, DEFLATE, LZW, PACKBITS), ({}, {"strip_rows": 5}, {"tile": 16}), (1, 2), (False, True))
)


def canvas(data: bytes) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((3,))).canvas
    assert made is not None
    return made


def samples(count: int, bits: int, *, alpha: int | None = None, premultiplied: bool = False) -> Samples:
    """Gradients and noise; where there is transparency it is a gradient too."""
    rng = np.random.default_rng(bits * 10 + count)
    top = (1 << bits) - 1
    made = rng.integers(0, top, (HEIGHT, WIDTH, count), np.uint64, endpoint=True)
    made[..., 0] = np.linspace(0, 1, WIDTH) * float(top - top // 1000)
    if alpha is not None:
        made[..., alpha] = (np.linspace(0, 1, HEIGHT)[:, None] * float(top - top // 1000)).astype(np.uint64)
        if premultiplied:
            made[..., :alpha] = (made[..., :alpha] / float(top) * made[..., alpha : alpha + 1].astype(float)).astype(np.uint64)
    return made


def expected(made: Samples, bits: int, photometric: int, alpha: int | None, premultiplied: bool) -> npt.NDArray[np.floating]:
    """By the definition, in floating point: [0, 255]."""
    part = made.astype(float) / float((1 << bits) - 1)
    cover = 1.0 if alpha is None else part[..., alpha : alpha + 1]
    base = {GREY: 1, GREY_IS_INK: 1, RGB: 3, CMYK: 4}[photometric]
    colour = part[..., :base]
    if photometric == GREY_IS_INK:
        colour = 1 - colour
    if photometric == CMYK:
        colour = (1 - colour[..., :3]) * (1 - colour[..., 3:])
    on_white = (colour if premultiplied else colour * cover) + 1 - cover
    return np.broadcast_to(on_white * 255, (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 32, 64])
@pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: f"photometric{kind[0]}-{kind[1]}samples-extra{'.'.join(map(str, kind[2]))}"
)
def test_every_layout_comes_out_as_what_it_was_made_from(kind: tuple[int, int, tuple[int, ...]], bits: int) -> None:
    photometric, count, extra = kind
    base = {GREY: 1, GREY_IS_INK: 1, RGB: 3, CMYK: 4}[photometric]
    alpha = next((base + place for place, one in enumerate(extra) if one in (1, 2)), 3 if kind == (RGB, 4, ()) else None)
    made = samples(count, bits, alpha=alpha, premultiplied=1 in extra)
    wanted = expected(made, bits, photometric, alpha, 1 in extra)
    # Every kind and depth in some ways to store it: any two of kind, depth, order, compression, parts, predictor and planes
    # come up together, and nearly any three.
    for order, compression, parts, predictor, separate in WAYS[(KINDS.index(kind) * 12 + bits) % 19 :: 19]:
        if predictor == 2 and (bits not in (8, 16, 32, 64) or compression not in (LZW, DEFLATE)):
            predictor = 1
        data = tiff_of(
            made, bits, photometric, order=order, separate=separate, extra=extra, compression=compression, predictor=predictor,
            big=bits == 8 and order == ">", **cast("dict[str, Any]", parts),
        )  # fmt: skip
        away = np.abs(canvas(data) - wanted)
        assert away.max() <= (3 if 1 in extra or photometric == CMYK else 2), (order, compression, parts, predictor, separate)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [257, 1], ids=["16 bits", "8 bits, as some write it"])
def test_palettes(bits: int, scale: int) -> None:
    colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
    made = samples(1, bits)
    for separate, compression in ((False, RAW), (False, LZW)):
        data = tiff_of(
            made, bits, PALETTE, separate=separate, compression=compression, palette=(colours.T * scale).ravel().tolist()
        )
        np.testing.assert_array_equal(canvas(data), colours[made[..., 0].astype(int)])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_bits_the_other_way_round(bits: int) -> None:
    made = samples(1, bits)
    np.testing.assert_array_equal(canvas(tiff_of(made, bits, GREY, fill_order=2)), canvas(tiff_of(made, bits, GREY)))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 2), (1, 2)])
def test_ycbcr_that_no_jpeg_made(subsampling: tuple[int, int]) -> None:
    across, down = subsampling
    rng = np.random.default_rng(across)
    y = rng.integers(0, 256, (24, 40))
    cb, cr = rng.integers(100, 156, (2, 24 // down, 40 // across))
    units = y.reshape(24 // down, down, 40 // across, across).transpose(0, 2, 1, 3).reshape(24 // down, 40 // across, -1)
    stored = np.concatenate([units, cb[..., None], cr[..., None]], -1).astype(np.uint8).tobytes()
    tags = {256: ("H", [40]), 257: ("H", [24]), 258: ("H", [8] * 3), 259: ("H", [1]), 262: ("H", [6]), 277: ("H", [3]),
            278: ("H", [24]), 530: ("H", subsampling)}  # fmt: skip
    wide_b, wide_r = (one.repeat(down, 0).repeat(across, 1) - 128.0 for one in (cb, cr))
    rgb = np.stack([y + 1.402 * wide_r, y - 0.344136 * wide_b - 0.714136 * wide_r, y + 1.772 * wide_b], -1)
    made = canvas(tiff(tags, [stored]))
    assert np.abs(made - np.clip(rgb, 0, 255)).max() <= 1


def test_alpha_of_all_zeros_that_nobody_declared_means_none() -> None:
    made = samples(4, 8)
    made[..., 3] = 0
    np.testing.assert_array_equal(canvas(tiff_of(made, 8, RGB)), made[..., :3])
    assert (canvas(tiff_of(made, 8, RGB, extra=(2,))) == 255).all()


def test_a_page_that_is_a_preview_is_passed_over() -> None:
    preview = tiff_of(samples(1, 8), 8, GREY, more={254: ("I", [1])})
    page = bytearray(preview)
    whole = tiff_of(samples(3, 8), 8, RGB)
    # The second page's places are moved behind the first.
    moved = _moved(whole, len(preview))
    count = int.from_bytes(preview[8:10], "little")
    page[10 + 12 * count : 14 + 12 * count] = (len(preview) + 8).to_bytes(4, "little")
    np.testing.assert_array_equal(canvas(bytes(page) + moved), canvas(whole))


def _moved(data: bytes, by: int) -> bytes:
    made, count = bytearray(data), int.from_bytes(data[8:10], "little")
    for at in range(10, 10 + 12 * count, 12):
        tag, kind, length = (int.from_bytes(data[a:b], "little") for a, b in ((at, at + 2), (at + 2, at + 4), (at + 4, at + 8)))
        value = int.from_bytes(data[at + 8 : at + 12], "little")
        if tag == 273 or {3: 2, 4: 4}[kind] * length > 4:
            made[at + 8 : at + 12] = (value + by).to_bytes(4, "little")
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (tiff_of(samples(5, 8), 8, GREY), "a TIFF of 5 bands"),
        (tiff_of(samples(1, 8), 8, GREY, sample_format=2), "a TIFF of signed 8-bit samples"),
        (tiff_of(samples(1, 32), 32, GREY, sample_format=3), "a TIFF of floating-point 32-bit samples"),
        (tiff_of(samples(3, 64), 64, RGB, sample_format=3), "a TIFF of floating-point 64-bit samples"),
        (tiff_of(samples(3, 8), 8, 8), "a TIFF of CIELab colours"),
        (tiff_of(samples(1, 8), 8, 32803), "a camera's raw picture"),
        (tiff_of(samples(3, 8), 8, 34892), "a camera's raw picture"),
        (tiff_of(samples(1, 1), 1, 4), "a transparency mask"),
        (tiff_of(samples(4, 8), 8, CMYK, more={332: ("H", [2])}), "inks other than CMYK"),
        (tiff_of(samples(1, 8), 8, GREY, more={50706: ("B", [1, 4, 0, 0])}), "a camera's raw picture"),
        (tiff_of(samples(1, 8), 8, GREY, more={259: ("H", [34712])}), "compressed by JPEG 2000"),
        (tiff_of(samples(1, 8), 8, GREY, more={259: ("H", [9999])}), "compressed by method 9999"),
        (tiff_of(samples(1, 20), 20, GREY), "20-bit samples"),
        (tiff_of(samples(3, 8), 8, RGB, more={258: ("H", [5, 6, 5])}), "different depths"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a camera's raw picture (CR2)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_kind_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        canvas(data)
    assert caught.value.reason == "IMAGE_FORMAT_UNKNOWN"
    assert name in caught.value.message
    assert "which is not supported; " in caught.value.message


@pytest.mark.parametrize("compression", [RAW, DEFLATE, LZW, PACKBITS])
def test_a_part_that_is_cut_off_or_missing_is_said_with_its_row(compression: int) -> None:
    data = tiff_of(samples(3, 8), 8, RGB, compression=compression, strip_rows=5)
    with pytest.raises(BadImage, match=r"damaged: it is damaged or ends after row \d+ of 23"):
        canvas(data[:-20])


def test_a_hole_of_zeros_in_deflated_samples_is_refused() -> None:
    data = tiff_of(samples(3, 8), 8, RGB, compression=DEFLATE)
    for place in (600, 1000, 2000):
        with pytest.raises(BadImage, match="is truncated or damaged"):
            canvas(data[:place] + bytes(200) + data[place + 200 :])


def test_jpeg_in_tiff_keeps_its_colours() -> None:
    picture = encoded(np.full((32, 48, 3), (200, 60, 20), np.uint8), "TIFF", compression="jpeg", quality=95)
    np.testing.assert_allclose(canvas(picture)[5, 5].astype(int), (200, 60, 20), atol=3)
