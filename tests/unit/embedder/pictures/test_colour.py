"""Pictures with a profile come out in sRGB, as the definition of their colours has it."""

from __future__ import annotations

import itertools
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from embedder.pictures import colour
from embedder.pictures.decode import Decoder, Wanted
from embedder.pictures.matrix_profile import BT709, BT2020, DISPLAY_P3, SRGB_CURVE, Primaries, matrix_profile
from tests.pictures.made_pictures import encoded, png

ADOBE = Primaries((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = Primaries((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
SPACES = {
    "Adobe RGB": (ADOBE, (2.19921875,)), "ProPhoto": (PROPHOTO, (1.8,)), "Display P3": (DISPLAY_P3, SRGB_CURVE),
    "BT.2020": (BT2020, SRGB_CURVE), "linear": (BT709, (1.0,)), "gamma 1.4": (BT709, (1.4,)),
}  # fmt: skip
SWATCHES = (
    np.array([*itertools.product((0, 60, 128, 200, 255), repeat=3)], np.uint8).reshape(5, 25, 3).repeat(2, 0).repeat(2, 1)
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def canvas(data: bytes, channels: int = 3) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((channels,))).canvas
    assert made is not None
    return made


def to_xyz(primaries: Primaries) -> npt.NDArray[np.float64]:
    """Linear RGB -> XYZ under D50, by Bradford (Lindbloom)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (primaries.red, primaries.green, primaries.blue)]).T
    x, y = primaries.white
    white = np.array([x / y, 1, (1 - x - y) / y])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    cones = np.diag((bradford @ [0.9642, 1.0, 0.8249]) / (bradford @ white))
    return np.asarray(np.linalg.inv(bradford) @ cones @ bradford @ columns @ np.diag(np.linalg.inv(columns) @ white))


def in_srgb(pixels: npt.NDArray[np.uint8], primaries: Primaries, curve: tuple[float, ...]) -> npt.NDArray[np.float64]:
    values = pixels / 255
    if len(curve) == 1:
        linear = values ** curve[0]
    else:
        linear = np.where(values >= 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    made = np.clip(linear @ (np.linalg.inv(to_xyz(BT709)) @ to_xyz(primaries)).T, 0, 1)
    return np.asarray(np.where(made > 0.0031308, 1.055 * made ** (1 / 2.4) - 0.055, made * 12.92) * 255)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_an_embedded_profile_is_applied(kind: str, name: str) -> None:
    ways: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = ways.get(kind, {})
    data = encoded(SWATCHES, kind, icc_profile=matrix_profile(*SPACES[name]), **options)
    plain = canvas(encoded(SWATCHES, kind, **options))
    away = np.abs(canvas(data) - in_srgb(plain, *SPACES[name]))
    # A curve that is steep near black magnifies what 8 bits leave of it.
    assert (np.median(away), away.max()) <= (0.6, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_grey_picture_takes_the_curve_of_its_profile(kind: str) -> None:
    greys = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(16, 0)
    data = encoded(greys, kind, icc_profile=matrix_profile(BT709, (1.0,)), **({"quality": 100} if kind == "JPEG" else {}))
    plain = canvas(encoded(greys, kind, **({"quality": 100} if kind == "JPEG" else {})))
    away = np.abs(canvas(data) - in_srgb(plain, BT709, (1.0,)))
    assert away.max() <= 2
    assert (np.abs(np.diff(canvas(data).astype(int), axis=-1)) <= 0).all()


def cmyk_profile() -> bytes:
    """A press of four inks, by a table of its 16 full overprints (lut8Type, ICC.1:2022, 10.11)."""
    corners = bytearray()
    for cyan, magenta, yellow, black in itertools.product((0, 1), repeat=4):
        light = 1 - black  # full black is L 0, so that there is nothing for black point compensation to do
        corners += bytes([(255 - 80 * cyan - 90 * magenta - 15 * yellow) * light])
        corners += bytes([128 + (40 * magenta - 40 * cyan) * light, 128 + (80 * yellow - 45 * cyan) * light])
    steps = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += steps * 4 + bytes(corners) + steps * 3
    start = 128 + 4 + 12
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(table), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", start, len(table)) + table


def from_lab(lightness: float, a: float, b: float) -> npt.NDArray[np.float64]:
    """CIELab under D50 -> sRGB (CIE 15:2004)."""
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1.0, 0.8249]
    made = np.clip(np.linalg.inv(to_xyz(BT709)) @ xyz, 0, 1)
    return np.asarray(np.where(made > 0.0031308, 1.055 * made ** (1 / 2.4) - 0.055, made * 12.92) * 255)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_takes_the_colours_of_its_press(kind: str) -> None:
    profile, options = cmyk_profile(), {"quality": 100} if kind == "JPEG" else {}
    for inks, lab in (
        ((0, 0, 0, 0), (100, 0, 0)),
        ((255, 0, 0, 0), (175 / 2.55, -40, -45)),
        ((0, 255, 0, 0), (165 / 2.55, 40, 0)),
    ):
        data = encoded(Image.new("CMYK", (16, 16), inks), kind, icc_profile=profile, **options)
        assert np.abs(canvas(data)[8, 8] - from_lab(*lab)).max() <= 3
        unmanaged = canvas(encoded(Image.new("CMYK", (16, 16), inks), kind, **options))[8, 8]
        assert np.abs(unmanaged.astype(int) - (255 - np.array(inks[:3]))).max() <= 2


def chunk_gama(exponent: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 / exponent))


def chunk_chrm(primaries: Primaries) -> tuple[bytes, bytes]:
    xy = (*primaries.white, *primaries.red, *primaries.green, *primaries.blue)
    return b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in xy))


ICC_P3 = (b"iCCP", b"p\0\0" + zlib.compress(matrix_profile(DISPLAY_P3, SRGB_CURVE)))


@pytest.mark.parametrize(
    ("chunks", "space"),
    [
        ([(b"cICP", bytes([12, 13, 0, 1]))], (DISPLAY_P3, SRGB_CURVE)),
        ([(b"cICP", bytes([9, 13, 0, 1])), ICC_P3], (BT2020, SRGB_CURVE)),
        ([(b"cICP", bytes([1, 13, 0, 1])), ICC_P3], None),
        ([ICC_P3, chunk_gama(1.0)], (DISPLAY_P3, SRGB_CURVE)),
        ([(b"sRGB", b"\0"), chunk_gama(1.0)], None),
        ([chunk_gama(1.4)], (BT709, (1.4,))),
        ([chunk_gama(2.2), chunk_chrm(ADOBE)], (ADOBE, SRGB_CURVE)),
        ([chunk_gama(2.2), chunk_chrm(BT709)], None),
        ([chunk_chrm(ADOBE)], None),
        ([(b"gAMA", bytes(4))], None),
        ([chunk_gama(2.2), (b"cHRM", bytes(32))], None),
        ([(b"cICP", bytes([9, 16, 0, 1]))], None),
    ],
    ids=["cICP P3", "cICP before iCCP", "cICP sRGB before iCCP", "iCCP before gAMA", "sRGB before gAMA", "gAMA",
         "gAMA and cHRM", "sRGB by numbers", "cHRM alone", "no gamma", "no primaries", "PQ"],
)  # fmt: skip
def test_what_a_png_says_of_its_colours(
    chunks: list[tuple[bytes, bytes]], space: tuple[Primaries, tuple[float, ...]] | None
) -> None:
    made = canvas(png(50, 10, 8, 2, SWATCHES.tobytes(), *chunks))
    wanted = SWATCHES if space is None else in_srgb(SWATCHES, *space)
    assert np.abs(made - wanted.astype(float)).max() <= 2.5


def decoded(data: bytes) -> tuple[npt.NDArray[np.uint8], list[str]]:
    repairs: list[str] = []
    made = Decoder(repaired=repairs.append).decode(data, Wanted((3,))).canvas
    assert made is not None
    return made, repairs


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile", SRGB[:100], bytes(4000), matrix_profile(ADOBE, (2.2,))[:200], cmyk_profile(),
        SRGB[:16] + b"GRAY" + SRGB[20:], SRGB[:12] + b"link" + SRGB[16:], b"\xff" * 128 + SRGB[128:],
        SRGB + bytes(colour.MAX_PROFILE_BYTES),
    ],
    ids=["text", "cut in its header", "zeros", "cut", "of CMYK", "of grey", "a link", "damaged", "huge"],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_left_out_and_reported(profile: bytes) -> None:
    made, repairs = decoded(encoded(SWATCHES, "TIFF", icc_profile=profile))
    np.testing.assert_array_equal(made, SWATCHES)
    assert repairs == ["profile"]


def test_srgb_by_any_name_changes_nothing_and_is_looked_at_once() -> None:
    for profile in (SRGB, SRGB + bytes(1_600_000), matrix_profile(BT709, SRGB_CURVE)):
        made, repairs = decoded(encoded(SWATCHES, "TIFF", icc_profile=profile))
        np.testing.assert_array_equal(made, SWATCHES)
        assert repairs == []
        assert colour._CACHE.get("RGB", profile).transform is None


def test_transparency_lies_on_white_in_the_colours_of_the_profile() -> None:
    clear = np.dstack([SWATCHES, np.zeros(SWATCHES.shape[:2], np.uint8)])
    data = encoded(clear, "PNG", icc_profile=matrix_profile(*SPACES["ProPhoto"]))
    assert (canvas(data) >= 254).all()


def test_few_profiles_are_kept_compiled_and_threads_share_them() -> None:
    profiles = [matrix_profile(ADOBE, (1.5 + step / 100,)) for step in range(colour.MAX_COMPILED + 8)]
    data = [encoded(SWATCHES, "TIFF", icc_profile=profile) for profile in profiles]
    wanted = [canvas(one) for one in data]
    assert len(colour._CACHE._known) <= colour.MAX_COMPILED
    with ThreadPoolExecutor(4) as pool:
        for made, expected in zip(pool.map(canvas, data), wanted, strict=True):
            np.testing.assert_array_equal(made, expected)
