"""Every kind of PNG comes out as the array it was made from, whatever is wrong beside its pixels; damage to them is refused."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from embedder.pictures.decode import Decoder, Wanted
from lookalike.errors import BadImage
from tests.pictures.made_pictures import noise, png

WIDTH, HEIGHT = 13, 11
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
COUNTS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
KINDS = [
    *((GREY, bits) for bits in (1, 2, 4, 8, 16)), *((PALETTE, bits) for bits in (1, 2, 4, 8)),
    *itertools.product((RGB, GREY_ALPHA, RGBA), (8, 16)),
]  # fmt: skip
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
SCENE = noise(20, 30, 3)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # odd chunks make Pillow grumble

BAD, SHORT = "bad checksum", "short or odd"


def canvas(data: bytes) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((3,))).canvas
    assert made is not None
    return made


def chunk(kind: bytes, data: bytes, *, sound: bool = True) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (not sound))


def rows(samples: npt.NDArray[np.integer], bits: int) -> bytes:
    """Filter 0 and the samples of each row, packed."""
    if bits >= 8:
        return b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in samples)
    spread = (samples[..., 0, None] >> np.arange(bits - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in spread)


def file(samples: npt.NDArray[np.integer], bits: int, kind: int, *before: bytes, interlaced: bool = False) -> bytes:
    height, width, _ = samples.shape
    parts = [samples[top::down, left::across] for left, top, across, down in ADAM7] if interlaced else [samples]
    stored = b"".join(rows(part, bits) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(stored)), chunk(b"IEND", b""))
    )


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("interlaced", [False, True], ids=["", "interlaced"])
@pytest.mark.parametrize("keyed", [False, True], ids=["", "keyed"])
def test_every_kind_comes_out_as_what_it_was_made_from(kind: int, bits: int, interlaced: bool, keyed: bool) -> None:
    rng = np.random.default_rng(bits)
    top = (1 << bits) - 1
    samples = rng.integers(0, top, (HEIGHT, WIDTH, COUNTS[kind]), endpoint=True)
    samples[0, 1] = samples[0, 0]
    part, before, cover = samples / top, [], np.ones((HEIGHT, WIDTH, 1))
    if kind == PALETTE:
        colours, alphas = rng.integers(0, 256, (top + 1, 3)), rng.integers(0, 256, (top + 1) // 2 + 1)
        before = [chunk(b"PLTE", colours.astype(np.uint8).tobytes())]
        if keyed:
            before.append(chunk(b"tRNS", alphas.astype(np.uint8).tobytes()))
            cover = np.append(alphas, [255] * top)[samples] / 255
        part = colours[samples[..., 0]] / 255
    elif kind in (GREY_ALPHA, RGBA):
        part, cover = part[..., :-1], part[..., -1:]
    elif keyed:
        key = samples[0, 0]
        before = [chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))]
        cover = (samples != key).any(axis=-1, keepdims=True).astype(float)
        if bits == 16:
            samples[0, 2] = key ^ 1  # another colour of the same upper byte, which stays
            part, cover[0, 2] = samples / top, 1
    wanted = (part * cover + 1 - cover) * 255
    made = canvas(file(samples, bits, kind, *before, interlaced=interlaced))
    # Of 16 bits Pillow keeps the upper byte, of colour and of transparency.
    assert np.abs(made - wanted).max() <= (2 if bits == 16 else 1)


def oddities() -> list[tuple[str, bytes]]:
    profile, text = zlib.compress(bytes(1_600_000)), zlib.compress(b'{"node":1}' * 200_000)
    sound = [
        (b"tEXt", b"Comment\0hi"), (b"pHYs", struct.pack(">IIB", 1000, 1000, 1)), (b"iCCP", b"x\0\0" + zlib.compress(b"p")),
        (b"tIME", b"\x07\xe5\1\1\0\0\0"), (b"zzZz", b"?"), (b"gAMA", struct.pack(">I", 45455)),
        (b"eXIf", b"II*\0\x08\0\0\0\0\0"), (b"sBIT", b"\x08\x08\x08"), (b"bKGD", bytes(6)), (b"acTL", bytes(8)),
        (b"tRNS", bytes(6)),
    ]  # fmt: skip
    odd = [
        (b"gAMA", b"\0\0"), (b"pHYs", b"\0\0\0\1"), (b"cHRM", bytes(8)), (b"sRGB", b""), (b"tRNS", b"\0\1"),
        (b"iCCP", b"x\0\1abc"), (b"iCCP", b"no end"), (b"zTXt", b"k\0\1xx"), (b"iTXt", b"k"), (b"tIME", b""), (b"cICP", b"\1"),
        (b"acTL", b"\0"), (b"fcTL", b"\0"), (b"iCCP", b"p\0\0" + profile), (b"zTXt", b"Raw profile type xmp\0\0" + text),
        (b"iTXt", b"workflow\0\1\0\0\0" + text),
    ]  # fmt: skip
    return [(f"{BAD} {kind!r}", chunk(kind, data, sound=False)) for kind, data in sound] + [
        (f"{SHORT} {kind!r} {len(data)}", chunk(kind, data)) for kind, data in odd
    ]


@pytest.mark.parametrize(("name", "before"), oddities(), ids=[name for name, _ in oddities()])
def test_what_is_wrong_beside_the_pixels_costs_nothing(name: str, before: bytes) -> None:
    np.testing.assert_array_equal(canvas(file(SCENE, 8, RGB, before)), SCENE)


def test_a_repaired_picture_is_reported_with_what_was_repaired() -> None:
    repairs: list[str] = []
    decoder = Decoder(repaired=repairs.append)
    for data in (
        file(SCENE, 8, RGB),
        file(SCENE, 8, RGB, chunk(b"tEXt", b"Comment\0hi", sound=False)),
        file(SCENE, 8, RGB, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile at all"))),
        file(SCENE, 8, RGB).replace(chunk(b"IDAT", idat())[-4:], b"\1\2\3\4"),
    ):
        decoder.decode(data, Wanted((3,)))
    assert repairs == ["png surroundings", "profile", "png checksum"]


def idat() -> bytes:
    return zlib.compress(rows(SCENE, 8))


@pytest.mark.parametrize("level", [0, 9], ids=["stored", "deflated"])
def test_damage_in_the_pixels_is_refused_and_said_where(level: int) -> None:
    stored = bytearray(zlib.compress(rows(SCENE, 8), level))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, RGB, 0, 0, 0))
    sound = chunk(b"IDAT", bytes(stored))
    half = len(sound) // 2
    for hole in (sound[:half] + bytes(64) + sound[half + 64 :], sound[:half] + bytes([sound[half] ^ 1]) + sound[half + 1 :]):
        with pytest.raises(BadImage, match="checksum of its pixels does not hold in the part at byte 41"):
            canvas(b"\x89PNG\r\n\x1a\n" + header + hole + chunk(b"IEND", b""))


@pytest.mark.parametrize("interlaced", [False, True])
def test_pixels_that_end_are_said_with_their_row(interlaced: bool) -> None:
    data = file(SCENE, 8, RGB, interlaced=interlaced)
    with pytest.raises(BadImage, match=r"^image: is truncated or damaged: it ends after row \d+ of 20$"):
        canvas(data[: len(data) // 2])


def test_damage_in_the_header_and_the_pixels_is_refused() -> None:
    data = bytearray(file(SCENE, 8, RGB))
    data[-17] ^= 1  # of the pixels' checksum
    for place in (16, 24, 29):  # the width, the depth, the checksum
        hurt = bytearray(data)
        hurt[place] ^= 5
        with pytest.raises(BadImage) as caught:
            canvas(bytes(hurt))
        assert caught.value.reason in ("IMAGE_UNREADABLE", "IMAGE_TOO_MANY_PIXELS")


def test_a_file_without_its_end_is_whole_where_its_pixels_are() -> None:
    data = file(SCENE, 8, RGB)
    for cut in (
        data[:-12],
        data[:-8],
        data[:-3],
        data[:-12] + chunk(b"fdAT", b"") + data[-12:],
        data[:-12] + b"\0\0\0\5tEXt\0",
    ):
        np.testing.assert_array_equal(canvas(cut), SCENE)


def test_pixels_in_many_parts_some_empty() -> None:
    stored = idat()
    parts = [stored[at : at + 100] for at in range(0, len(stored), 100)]
    whole = png(30, 20, 8, RGB, SCENE.tobytes())
    start = whole.index(b"IDAT") - 4
    many = b"".join(chunk(b"IDAT", part) + chunk(b"IDAT", b"") for part in parts)
    np.testing.assert_array_equal(canvas(whole[:start] + many + chunk(b"IEND", b"")), SCENE)
