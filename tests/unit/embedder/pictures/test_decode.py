"""Every kind of picture becomes the right pixels, and its canvas, tower input and thumbnail are what they should be."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from embedder.pictures.decode import Decoded, Decoder, Pixels, TowerInput, Wanted
from tests.pictures.made_pictures import corners, encoded, noise, png

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # damaged files make Pillow grumble

COLOR = Wanted((3,))
GREY = Wanted((1,))
TURNS = {1: "upright", 2: "mirrored", 3: "180", 4: "flipped", 5: "transposed", 6: "90", 7: "transverse", 8: "270"}


def canvas(data: bytes, wanted: Wanted = COLOR) -> Pixels:
    made = Decoder().decode(data, wanted).canvas
    assert made is not None
    return made


def tower(data: bytes, side: int, channels: int) -> Pixels:
    made = Decoder().decode(data, Wanted(towers=(TowerInput(side, channels),))).tower
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True}),
    ],
)  # fmt: skip
def test_lossless_formats_give_the_very_pixels(kind: str, options: dict[str, object]) -> None:
    pixels = noise(20, 30, 3)
    np.testing.assert_array_equal(canvas(encoded(pixels, kind, **options)), pixels)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 100}), ("WEBP", {"quality": 100}), ("GIF", {})])
def test_lossy_formats_give_nearly_the_pixels(kind: str, options: dict[str, object]) -> None:
    made = canvas(encoded(corners(), kind, **options)).astype(int)
    assert np.abs(made - np.asarray(corners()).astype(int)).mean() < 6


def test_a_small_grey_picture_passes_bit_for_bit() -> None:
    pixels = noise(28, 28)
    decoded = Decoder().decode(encoded(pixels), Wanted((1,), (TowerInput(28, 1),)))
    np.testing.assert_array_equal(decoded.canvas[..., 0], pixels)
    np.testing.assert_array_equal(decoded.tower[..., 0], pixels)


def test_a_tower_that_wants_its_square_filled_gets_the_picture_stretched() -> None:
    wide = np.zeros((20, 60, 1), np.uint8)
    wide[:, 30:] = 200
    made = Decoder().decode(encoded(wide[..., 0]), Wanted(towers=(TowerInput(16, 1, "squash"),))).tower
    assert made is not None
    assert made.shape == (16, 16, 1)
    assert made[:, :6].max() == 0
    assert made[:, 10:].min() == 200
    np.testing.assert_array_equal(made, made[:1].repeat(16, 0))


def test_only_what_is_wanted_is_made() -> None:
    data = encoded(noise(8, 8))
    assert Decoder().decode(data, Wanted(towers=(TowerInput(16, 1),))).canvases == ()
    assert Decoder().decode(data, GREY).towers == ()
    assert Decoder().decode(data, Wanted()) == Decoded((), ())


def test_grey_is_luma() -> None:
    made = canvas(encoded(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)), GREY)
    assert made[0, :, 0].tolist() == [76, 150, 29, 9]


def test_a_grey_picture_in_colour_has_equal_channels() -> None:
    pixels = noise(5, 7)
    np.testing.assert_array_equal(canvas(encoded(pixels)), np.repeat(pixels[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS, ids=TURNS.get)
def test_turned_pictures_come_upright(kind: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = corners() if orientation == 1 else corners().transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {"lossless": True}))
    made = canvas(data)
    assert made.shape == (24, 40, 3)
    assert np.abs(made.astype(int) - np.asarray(corners())).mean() < 6
    small = Image.open(io.BytesIO(Decoder().thumbnail(data, 20)))
    assert small.size == (20, 12)
    assert small.convert("RGB").getpixel((2, 2)) == pytest.approx((255, 0, 0), abs=40)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    assert canvas(encoded(corners(), "JPEG", exif=exif)).shape == (24, 40, 3)


def test_cmyk_comes_out_in_its_colours() -> None:
    ink = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (255, 0, 0, 0)])  # cyan
    for data in (encoded(ink, "JPEG", quality=100), encoded(ink, "TIFF")):
        np.testing.assert_allclose(canvas(data)[8, 8].astype(int), (0, 255, 255), atol=3)


def test_cmyk_jpeg_of_adobe_is_stored_inverted_and_read_so() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100)
    assert b"Adobe" in data
    np.testing.assert_allclose(canvas(data)[8, 8].astype(int), (255, 255, 255), atol=2)


def test_transparency_is_put_on_white() -> None:
    colour = np.array([[[200, 10, 10, 255], [200, 10, 10, 0], [0, 0, 0, 128]]], np.uint8)
    for kind in ("PNG", "TIFF"):
        assert canvas(encoded(colour, kind))[0].tolist() == [[200, 10, 10], [255, 255, 255], [127, 127, 127]]
    grey = Image.merge("LA", [Image.fromarray(colour[..., 0]), Image.fromarray(colour[..., 3])])
    assert canvas(encoded(grey), GREY)[0, :, 0].tolist() == [200, 255, 127]


def test_palette_with_and_without_transparency() -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert canvas(encoded(picture))[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    for transparency in (1, b"\xff\x00\xff"):
        made = canvas(encoded(picture, transparency=transparency))
        assert made[0].tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]
    assert canvas(encoded(picture, "GIF", transparency=1))[0, 1].tolist() == [255, 255, 255]


def test_a_transparent_colour_in_grey_and_rgb() -> None:
    assert canvas(png(3, 1, 8, 0, bytes([7, 8, 9]), (b"tRNS", b"\x00\x08")), GREY)[0, :, 0].tolist() == [7, 255, 9]
    made = canvas(png(2, 1, 8, 2, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", bytes([0, 4, 0, 5, 0, 6]))))
    assert made[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 4660, 32768, 65535]], ">u2")
    expected = np.rint(values / 257.0).astype(int)[0].tolist()
    assert canvas(png(7, 1, 16, 0, values.tobytes()), GREY)[0, :, 0].tolist() == expected
    assert canvas(encoded(values.astype("<u2"), "TIFF"), GREY)[0, :, 0].tolist() == expected
    keyed = canvas(png(7, 1, 16, 0, values.tobytes(), (b"tRNS", b"\x12\x34")), GREY)
    assert keyed[0, :, 0].tolist() == [*expected[:4], 255, *expected[5:]]


def test_16_bit_grey_tiff_where_0_is_white() -> None:
    data = encoded(np.array([[0, 65535]], "<u2"), "TIFF", tiffinfo={262: 0})
    assert canvas(data, GREY)[0, :, 0].tolist() == [255, 0]


def test_16_bit_colour_and_alpha() -> None:
    values = np.array([[0, 32768, 65535], [0x1234, 0x5678, 0x9ABC]], ">u2")
    assert canvas(png(2, 1, 16, 2, values.tobytes()))[0].tolist() == [[0, 128, 255], [0x12, 0x56, 0x9A]]
    keyed = canvas(png(2, 1, 16, 2, values.tobytes(), (b"tRNS", values[1].tobytes())))
    assert keyed[0].tolist() == [[0, 128, 255], [255, 255, 255]]
    grey_alpha = np.array([[257 * 40, 65535], [257 * 40, 0]], ">u2")
    assert canvas(png(2, 1, 16, 4, grey_alpha.tobytes()), GREY)[0, :, 0].tolist() == [40, 255]


def test_1_bit_is_black_and_white() -> None:
    picture = Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).convert("1")
    for kind, options in (("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "group4"}), ("BMP", {})):
        assert canvas(encoded(picture, kind, **options), GREY)[0, :, 0].tolist() == [0, 255, 255, 0]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_or_pages_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (12, 12), color) for color in ("red", "lime", "blue")]
    made = canvas(encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
    np.testing.assert_allclose(made[5, 5].astype(int), (255, 0, 0), atol=2)


def test_a_camera_burst_gives_its_first_picture() -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    made = canvas(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(made[5, 5].astype(int), (255, 0, 0), atol=3)


@pytest.mark.parametrize(("size", "expected"), [((256, 100), (100, 256)), ((300, 150), (128, 256)), ((3000, 2), (1, 256))])
def test_the_canvas_shrinks_to_256_and_is_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert canvas(encoded(Image.new("L", size)), GREY).shape == (*expected, 1)


@pytest.mark.parametrize("width", [512, 2048])
def test_shrinking_averages_areas(width: int) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (width, width // 2))
    for made in (canvas(encoded(stripes), GREY), tower(encoded(stripes), 32, 1)):
        assert set(np.unique(made)) <= {127, 128}


def test_a_large_jpeg_is_decoded_small_and_waits_for_no_turn() -> None:
    decoder, data = Decoder(), encoded(Image.new("L", (3200, 3200), 77), "JPEG")
    with ThreadPoolExecutor(1) as pool, decoder._large, decoder._large:
        made = pool.submit(decoder.decode, data, GREY).result(10).canvas
    assert made is not None
    assert made.shape == (256, 256, 1)


def test_a_large_jpeg_averages_to_what_the_same_png_does() -> None:
    picture = Image.fromarray(noise(60, 80, 3)).resize((2400, 1800), Image.Resampling.BICUBIC)
    made = canvas(encoded(picture, "JPEG", quality=95)).astype(int)
    exact = canvas(encoded(picture, compress_level=1)).astype(int)
    assert made.shape == exact.shape == (192, 256, 3)
    assert np.abs(made - exact).mean() < 2


@pytest.mark.parametrize("size", [(700, 900), (1500, 2000), (300, 2600)])
def test_no_part_depends_on_what_else_is_wanted(size: tuple[int, int]) -> None:
    data = encoded(Image.fromarray(noise(*size, 3)), "JPEG")
    wanted = Wanted((3, 1), (TowerInput(512, 3, "squash"), TowerInput(28, 1), TowerInput(224, 3, "squash"), TowerInput(225, 3)))
    together = Decoder().decode(data, wanted)
    for channels, made in zip(wanted.canvases, together.canvases, strict=True):
        np.testing.assert_array_equal(made, canvas(data, Wanted((channels,))))
    for seen, made in zip(wanted.towers, together.towers, strict=True):
        np.testing.assert_array_equal(made, Decoder().decode(data, Wanted(towers=(seen,))).tower)


def test_a_picture_is_decoded_once_for_all_that_is_as_small() -> None:
    repairs: list[str] = []  # One for each decode of a file without its end.
    decoder, data = Decoder(repaired=repairs.append), encoded(noise(300, 400, 3), "JPEG")[:-2]
    decoder.decode(data, Wanted((1, 3), (TowerInput(28, 1), TowerInput(224, 3), TowerInput(96, 3, "squash"))))
    assert len(repairs) == 1
    decoder.decode(data, Wanted((1, 3), (TowerInput(28, 1), TowerInput(300, 3), TowerInput(300, 1))))
    assert len(repairs) == 3, "a larger side has a decode of its own"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_tower_that_wants_its_square_filled_sees_a_narrow_picture_sharp(kind: str) -> None:
    stripes = np.repeat(np.tile(np.array([0, 255], np.uint8), 32)[:, None], 4, 0).repeat(3000, 1)  # 64 lines of 4 pixels
    made = Decoder().decode(encoded(stripes, kind), Wanted(towers=(TowerInput(224, 1, "squash"),))).tower
    assert made is not None
    assert made.min() < 30
    assert made.max() > 225


def test_the_tower_sees_the_whole_picture_centred_on_black() -> None:
    wide = tower(encoded(np.full((10, 40), 200, np.uint8)), 20, 1)
    assert wide.shape == (20, 20, 1)
    assert wide[:, :, 0].any(axis=1).tolist() == [False] * 7 + [True] * 5 + [False] * 8
    assert set(np.unique(wide)) == {0, 200}
    tall = tower(encoded(np.full((40, 11), 200, np.uint8)), 20, 3)
    assert tall[10, :, 1].nonzero()[0].tolist() == list(range(7, 13))


def test_the_tower_enlarges_small_pictures() -> None:
    made = tower(encoded(np.array([[0, 255], [0, 255]], np.uint8)), 28, 1)
    assert made[14, 0, 0] < 10 < 245 < made[14, 27, 0]
    assert (np.diff(made[14, :, 0].astype(int)) >= 0).all()


def test_thumbnails_are_rgb_jpegs_that_are_never_enlarged() -> None:
    decoder = Decoder()
    for picture, size in ((Image.new("CMYK", (900, 300)), (160, 53)), (Image.new("LA", (90, 30)), (90, 30))):
        kind = "PNG" if picture.mode == "LA" else "JPEG"
        made = Image.open(io.BytesIO(decoder.thumbnail(encoded(picture, kind), 160)))
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", size)
