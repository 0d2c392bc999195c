"""A large TIFF is read by bands: in parts of any size it is the same picture, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedder.pictures.decode import Decoder, TowerInput, Wanted
from embedder.pictures.formats import read_header
from lookalike.errors import BadImage
from tests.pictures.hostile_pictures import tiff_of_strips
from tests.pictures.made_pictures import encoded
from tests.unit.embedder.pictures.made_tiffs import DEFLATE, LZW, PACKBITS, RAW, Samples, tiff, tiff_of

WIDTH, HEIGHT = 1571, 1130
GREY, RGB = 1, 2
SCAN_SIDE = 7071
"""The side of a scan of 50 megapixels, the most that are allowed by default."""
BY_BANDS_BYTES = 100_000_000
EACH_WAY = {
    *((compression, False, parts) for compression in (RAW, DEFLATE, LZW) for parts in ("{}", "{'tile': 1600}")),
    *((DEFLATE, False, parts) for parts in ("{'strip_rows': 77}", "{'tile': 240}", "{'tile': 1104}")),
    *((RAW, True, parts) for parts in ("{}", "{'tile': 240}", "{'tile': 1600}")),
    (LZW, True, "{'strip_rows': 77}"),
}
"""Compression, separate planes, parts: each way of reading, each shape of parts. `make hostile` tries all that there are."""


@pytest.fixture(scope="module")
def rgba() -> Samples:
    rng = np.random.default_rng(1)
    made = np.empty((HEIGHT, WIDTH, 4), np.uint64)
    made[..., 0], made[..., 1] = np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT)[:, None]
    made[..., 2:] = rng.integers(0, 256, (HEIGHT, WIDTH, 2))
    return made


@pytest.fixture(scope="module")
def opaque(rgba: Samples) -> npt.NDArray[np.uint8]:
    """What is read of the same picture without its transparency, as a PNG."""
    return picture(encoded(rgba[..., :3].astype(np.uint8), "PNG", compress_level=1))


def scan(compression: int, *, samples: int, bits: int = 8, side: int = SCAN_SIDE, strip: bytes = b"x") -> bytes:
    """In one strip, as a scanner writes it."""
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [side]), 257: ("I", [side]), 258: ("H", [bits] * samples), 259: ("H", [compression]), 262: ("H", [2]),
        277: ("H", [samples]), 278: ("I", [side]), **({338: ("H", [2])} if samples == 4 else {}),
    }  # fmt: skip
    return tiff(tags, [strip])


def picture(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Decoder().picture(data))


# Parts above 4 MiB are read by bands, smaller ones together; each compression has a way of its own only in large parts.
KINDS_OF_PARTS = [
    pytest.param(
        compression,
        separate,
        parts,
        id=f"{compression}-{'planes' if separate else 'together'}-{parts}",
        marks=[] if (compression, separate, str(parts)) in EACH_WAY else [pytest.mark.long],
    )
    for parts in ({}, {"strip_rows": 77}, {"tile": 240}, {"tile": 1104}, {"tile": 1600})
    for separate in (False, True)
    for compression in (RAW, DEFLATE, LZW)
]


@pytest.mark.parametrize(("compression", "separate", "parts"), KINDS_OF_PARTS)
def test_a_picture_is_the_same_in_parts_of_any_size(
    rgba: Samples, opaque: npt.NDArray[np.uint8], compression: int, separate: bool, parts: dict[str, Any]
) -> None:
    data = tiff_of(rgba[..., :3], 8, RGB, compression=compression, separate=separate, **parts)
    np.testing.assert_array_equal(picture(data), opaque)


@pytest.mark.parametrize("first", [0, 3, 700, HEIGHT - 1])
def test_a_transparency_that_shows_itself_late_holds_for_the_rows_before(rgba: Samples, first: int) -> None:
    late = rgba.copy()
    late[:first, :, 3] = 0
    late[first:, :, 3] |= 1
    undeclared, declared = tiff_of(late, 8, RGB), tiff_of(late, 8, RGB, extra=(2,))
    np.testing.assert_array_equal(picture(undeclared), picture(declared))
    late[..., 3] = 0
    np.testing.assert_array_equal(picture(tiff_of(late, 8, RGB)), picture(tiff_of(late[..., :3], 8, RGB)))


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [3, 4])
def test_a_scan_in_one_strip_takes_no_more_than_a_band_and_the_working_picture(
    samples: int, bits: int, compression: int
) -> None:
    header = Decoder().header(scan(compression, samples=samples, bits=bits))
    assert header.memory_bytes < BY_BANDS_BYTES


@pytest.mark.parametrize("compression", [LZW, PACKBITS, 34925, 50000])
def test_a_scan_of_a_compression_that_gives_whole_strips_takes_them_twice(compression: int) -> None:
    header = Decoder().header(scan(compression, samples=4))
    assert 2 * 4 * SCAN_SIDE**2 < header.memory_bytes < 2 * 4 * SCAN_SIDE**2 + BY_BANDS_BYTES


def test_what_a_large_deflated_strip_takes_is_what_its_header_says() -> None:
    side = 4000
    data = scan(DEFLATE, samples=4, side=side, strip=zlib.compress(bytes(range(256)) * (4 * side * side // 256), 1))
    said = read_header(data).memory_bytes
    tracemalloc.start()
    try:
        Decoder().decode(data, Wanted((3,), (TowerInput(224, 3),)))
        held = tracemalloc.get_traced_memory()[1]  # NumPy's and zlib's; Pillow's are no more than a band of pixels.
    finally:
        tracemalloc.stop()
    assert held < 2 * side * side  # Two bytes of the four that a pixel has.
    assert held < said < 8 * side * side


def test_a_refusal_says_that_a_part_cannot_be_decoded_in_pieces() -> None:
    with pytest.raises(
        BadImage, match=r"memory to decode, since its parts of 49,999,041 pixels in LZW cannot be decoded in "
    ) as caught:
        Decoder().header(scan(LZW, samples=4, bits=32))
    assert caught.value.reason == "IMAGE_TOO_COSTLY"
    with pytest.raises(BadImage, match="memory to decode; at most"):
        Decoder(max_memory_bytes=30_000_000).header(scan(DEFLATE, samples=4))


@pytest.mark.parametrize("rows_there", [0, 1, 600, HEIGHT - 1])
@pytest.mark.parametrize("compression", [RAW, DEFLATE])
def test_a_strip_that_ends_too_early_is_refused_with_the_rows_that_were_there(
    rgba: Samples, compression: int, rows_there: int
) -> None:
    content = rgba.astype(np.uint8).tobytes()[: rows_there * WIDTH * 4 + 7]
    strip = zlib.compress(content) if compression == DEFLATE else content
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 258: ("H", [8] * 4), 259: ("H", [compression]), 262: ("H", [2]),
        277: ("H", [4]), 278: ("I", [HEIGHT]), 338: ("H", [2]),
    }  # fmt: skip
    with pytest.raises(BadImage, match=r"it is damaged or ends after row [\d,]+ of 1,130") as caught:
        picture(tiff(tags, [strip]))
    row = int(caught.value.message.partition("after row ")[2].partition(" ")[0].replace(",", ""))
    assert row <= rows_there < row + HEIGHT // 1.5


@pytest.mark.parametrize("bad", ["checksum", "hole"])
def test_a_large_deflated_strip_is_checked_to_its_end(rgba: Samples, bad: str) -> None:
    data = bytearray(tiff_of(rgba, 8, RGB, compression=DEFLATE, extra=(2,)))
    if bad == "checksum":
        data[-1] ^= 1
    else:
        data[100_000:100_200] = bytes(200)
    with pytest.raises(BadImage, match=r"is truncated or damaged: it is damaged or ends after row"):
        picture(bytes(data))


def test_a_large_strip_that_goes_on_without_end_is_refused() -> None:
    side = 2100
    strip = zlib.compress(bytes(side * side + 40_000_000), 1)
    with pytest.raises(BadImage, match="is truncated or damaged"):
        picture(tiff_of_strips(DEFLATE, strip, (side, side)))


def test_small_parts_that_share_their_bytes_are_not_copied_for_each() -> None:
    row = tiff_of(np.full((1, 60, 1), 9, np.uint64), 8, GREY, compression=LZW)
    strip = row[-row[::-1].index(bytes([0x80])) - 1 :]  # The clear code stands at its beginning.
    data = tiff_of_strips(LZW, strip + bytes(4_000_000), (60, 100), parts=100)
    tracemalloc.start()
    try:
        found = picture(data)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found == 9).all()
    assert held < 100_000_000
