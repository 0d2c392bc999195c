"""Every kind of JPEG comes out in its colours, whatever is wrong beside its pixels; damage to them is refused and said."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embedder.pictures.decode import Decoder, Wanted
from lookalike.errors import BadImage
from tests.pictures.made_pictures import encoded, noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # odd segments make Pillow grumble
END = b"\xff\xd9"


def scene(grain: float) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:128, 0:192]
    waves = np.stack([255 * x / 192, 255 * y / 128, 127 + 120 * np.sin((x + y) / 9)], -1)
    scene: npt.NDArray[np.uint8] = (waves + noise(128, 192, 3) * grain).clip(0, 255).astype(np.uint8)
    return scene


SMOOTH, SCENE = scene(0), scene(0.25)
PLAIN = encoded(SCENE, "JPEG", quality=90, subsampling=0)
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {}, "optimised": {"optimize": True}, "progressive": {"progressive": True}, "halves": {"subsampling": 2},
    "restarts": {"restart_marker_rows": 1}, "restarts within rows": {"restart_marker_blocks": 3},
}  # fmt: skip


def canvas(data: bytes) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((3,))).canvas
    assert made is not None
    return made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGB as such", "CMYK"])
def test_every_kind_comes_out_in_its_colours(mode: str, way: str) -> None:
    options: dict[str, Any] = {"quality": 95, "subsampling": 0, **WAYS[way]}
    if mode == "RGB as such" and way == "halves":
        options["subsampling"] = 0  # Pillow writes no other
    picture = Image.fromarray(SMOOTH).convert(mode[:3] if mode.startswith("RGB") else mode)
    data = encoded(picture, "JPEG", **options, **({"keep_rgb": True} if mode == "RGB as such" else {}))
    away = np.abs(canvas(data).astype(int) - np.asarray(picture.convert("RGB")))
    assert away.mean() < (12 if way == "halves" else 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_what_is_decoded_small_is_what_pillow_decodes(mode: str) -> None:
    picture = Image.fromarray(SCENE).convert(mode).resize((1601, 1203))
    data = encoded(picture, "JPEG", quality=85)
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (400, 300))
        wanted = image.convert("RGB").resize((256, 192), Image.Resampling.BOX)
        np.testing.assert_array_equal(canvas(data), wanted)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_without_its_end_is_decoded_as_with_it(way: str) -> None:
    data = encoded(SCENE, "JPEG", quality=90, **WAYS[way])
    whole, repairs = canvas(data), list[str]()
    for cut in (data[:-2], data[:-1], data[:-2] + bytes(4096), data[:-2] + b"\0"):
        made = Decoder(repaired=repairs.append).decode(cut, Wanted((3,))).canvas
        np.testing.assert_array_equal(made, whole)
    assert repairs == ["jpeg end"] * 4


def inserted(*segments: tuple[int, bytes]) -> bytes:
    added = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments)
    return PLAIN[:2] + added + PLAIN[2:]


@pytest.mark.parametrize(
    "data",
    [
        inserted((0xEE, b"Adobe")), inserted((0xEE, b"Adobe\0\x64\0\0\0\0\7")), inserted((0xE0, b"JFIF\0")),
        inserted((0xE0, b"JFIF\0\x05\1\0\0\1\0\1\0\0")), inserted((0xE2, b"ICC_PROFILE\0\1\3abc")),
        inserted((0xE2, b"ICC_PROFILE\0")), inserted((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        inserted((0xE2, b"MPF\0garbage")), inserted((0xED, b"Photoshop 3.0\0" + b"8BIM\4")), inserted((0xFE, b"")),
        PLAIN[:20] + b"junk" + PLAIN[20:], PLAIN[:2] + b"\xff\xff\xff" + PLAIN[3:],
        PLAIN[:-2] + b"\0\0" + END, PLAIN[:-2] + b"\xff\xff" + END,
        PLAIN[:-2] + bytes(5000) + END, PLAIN + bytes(5000), PLAIN + b"a trailer of the camera" + PLAIN,
    ],
    ids=range(17),
)  # fmt: skip
def test_what_is_wrong_beside_the_pixels_costs_nothing(data: bytes) -> None:
    np.testing.assert_array_equal(canvas(data), canvas(PLAIN))


def test_a_short_segment_does_not_cost_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(SCENE, "JPEG", quality=90, exif=exif)
    np.testing.assert_array_equal(canvas(turned[:2] + b"\xff\xee\0\x07Adobe" + turned[2:]), canvas(turned))
    assert canvas(turned).shape == (192, 128, 3)


def test_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    assert canvas(inserted((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))).shape == (192, 128, 3)


def hurt(data: bytes, place: float) -> dict[str, bytes]:
    """`data` hurt in five ways at a place (0 to 1) of its pixels, its end as it was."""
    start = data.index(b"\xff\xda") + 14
    at = start + int((len(data) - start) * place)
    rest = data[at + 512 :]
    return {
        "zeros": data[:at] + bytes(512) + rest, "ones": data[:at] + b"\xff" * 512 + rest, "missing": data[:at] + rest,
        "noise": data[:at] + noise(1, 512, seed=at).clip(0, 254).tobytes() + rest, "cut": data[:at] + END,
    }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_damage_in_the_pixels_is_refused_though_the_file_goes_on_to_its_end(way: str) -> None:
    data = encoded(SCENE, "JPEG", quality=90, **WAYS[way])
    whole, wrong = canvas(data).astype(int), []
    for place in np.linspace(0.05, 0.95, 10):
        for kind, damaged in hurt(data, float(place)).items():
            try:
                made = canvas(damaged)
            except BadImage as error:
                # Noise may hold a marker, and a second size with it.
                wrong += [] if error.reason in ("IMAGE_UNREADABLE", "IMAGE_TOO_MANY_PIXELS") else [error.reason]
                continue
            # The last pass of a progressive picture moves a coefficient by one step, and its zeros are seen by nobody.
            wrong += [kind] if np.abs(made - whole).mean() > 3 else []
    assert wrong in ([], ["noise"], ["missing"])  # without a checksum a code may come out even, by chance


def test_where_it_ends_is_said() -> None:
    start = PLAIN.index(b"\xff\xda") + 14
    with pytest.raises(BadImage, match=r"in its pixels: it ends after some (4|5)\d% of its rows$"):
        canvas(PLAIN[: (start + len(PLAIN)) // 2])


def test_flat_and_even_pictures_are_no_holes() -> None:
    for value, options in ((255, {"optimize": True}), (0, {}), (127, {"progressive": True, "optimize": True})):
        for mode in ("L", "RGB"):
            made = canvas(encoded(Image.new("L", (1500, 1500), value).convert(mode), "JPEG", **options))
            assert np.abs(made.astype(int) - value).max() <= 1
    stripes = Image.fromarray(np.tile(np.repeat(np.array([0, 255], np.uint8), 4), (512, 64)))
    for options in WAYS.values():
        canvas(encoded(stripes, "JPEG", quality=95, **options))


@pytest.mark.parametrize(
    ("marker", "bits", "name"),
    [
        (0xC0, 12, "a 12-bit JPEG"), (0xC3, 8, "a lossless JPEG (SOF3)"), (0xC9, 8, "a JPEG with arithmetic codes (SOF9)"),
        (0xC5, 8, "a hierarchical JPEG (SOF5)"), (0xCB, 8, "a lossless JPEG with arithmetic codes (SOF11)"),
    ],
)  # fmt: skip
def test_a_kind_that_is_not_read_is_named(marker: int, bits: int, name: str) -> None:
    at = PLAIN.index(b"\xff\xc0")
    with pytest.raises(BadImage) as caught:
        canvas(PLAIN[: at + 1] + bytes([marker]) + PLAIN[at + 2 : at + 4] + bytes([bits]) + PLAIN[at + 5 :])
    assert (caught.value.reason, caught.value.message) == (
        "IMAGE_FORMAT_UNKNOWN",
        f"image: is {name}, which is not supported; save it as an ordinary JPEG (baseline, 8 bits)",
    )
