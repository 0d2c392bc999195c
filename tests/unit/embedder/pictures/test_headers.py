"""What our own reader of headers says of a file: the truth about sound ones, and enough about bombs to refuse them."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.pictures.formats import READERS, read_header
from embedder.pictures.headers.limits import Limits
from lookalike.errors import BadImage
from tests.pictures.hostile_pictures import (
    bmp_of_runs,
    gif_of_one_colour,
    jpeg_of_scans,
    png_in_one_row,
    tiff,
    tiff_tiled,
    webp_canvas,
)
from tests.pictures.made_pictures import bomb, encoded, noise

SOUND = {
    "JPEG": encoded(noise(30, 47, 3), "JPEG"),
    "grey JPEG": encoded(noise(30, 47), "JPEG"),
    "CMYK JPEG": encoded(Image.fromarray(noise(30, 47, 3)).convert("CMYK"), "JPEG"),
    "progressive JPEG": encoded(noise(30, 47, 3), "JPEG", progressive=True),
    "PNG": encoded(noise(30, 47, 3), "PNG"),
    "16-bit PNG": encoded(noise(30, 47).astype(np.uint16), "PNG"),
    "palette PNG": encoded(Image.fromarray(noise(30, 47, 3)).quantize(7), "PNG"),
    "GIF": encoded(Image.fromarray(noise(30, 47, 3)).quantize(7), "GIF"),
    "BMP": encoded(noise(30, 47, 3), "BMP"),
    "TIFF": encoded(noise(30, 47, 3), "TIFF"),
    "LZW TIFF": encoded(noise(30, 47, 3), "TIFF", compression="tiff_lzw"),
    "big TIFF": encoded(noise(30, 47, 3), "TIFF", big_tiff=True),
    "WEBP": encoded(noise(30, 47, 3), "WEBP"),
    "lossless WEBP": encoded(noise(30, 47, 3), "WEBP", lossless=True),
}
LIMITS = Limits.of_pixels(50_000_000)


def reason(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(BadImage) as caught:
        (limits or LIMITS).check(read_header(data))
    return caught.value.reason


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_header_is_plain_and_its_size_is_the_pictures(name: str) -> None:
    header = read_header(SOUND[name])
    assert (header.format, header.width, header.height) == (name.split()[-1], 47, 30)
    assert header.plain
    assert 47 * 30 <= header.work < 200_000
    LIMITS.check(header)


def test_a_header_says_what_is_coded() -> None:
    assert read_header(SOUND["JPEG"]).scans == 1
    progressive = read_header(SOUND["progressive JPEG"])
    assert progressive.interlaced
    assert progressive.scans == SOUND["progressive JPEG"].count(b"\xff\xda")
    assert (read_header(SOUND["16-bit PNG"]).bits, read_header(SOUND["CMYK JPEG"]).samples) == (16, 4)
    frames = [Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        assert read_header(encoded(frames[0], kind, save_all=True, append_images=frames[1:])).frames == 2


BOMBS = {
    "pixels of a PNG": (bomb(), "IMAGE_TOO_MANY_PIXELS"),
    "a GIF's screen": (gif_of_one_colour(40_000, 40_000), "IMAGE_TOO_MANY_PIXELS"),
    "a GIF's frame": (gif_of_one_colour(65_535, 65_535, screen=(1, 1)), "IMAGE_TOO_MANY_PIXELS"),
    "a TIFF's tile": (tiff_tiled((46_320, 46_320)), "IMAGE_TOO_MANY_PIXELS"),
    "a BigTIFF's tile": (tiff_tiled((46_320, 46_320), big=True), "IMAGE_TOO_MANY_PIXELS"),
    "a TIFF's samples": (tiff_tiled((7000, 7000), samples=40, bits=16), "IMAGE_TOO_COSTLY"),
    "many large tiles": (tiff_tiled((16, 3_000_000), (50_000, 1000)), "IMAGE_TOO_COSTLY"),
    "a row of RGBA": (png_in_one_row(50_000_000), "IMAGE_TOO_COSTLY"),
    "scans": (jpeg_of_scans(2000, 3000), "IMAGE_TOO_COSTLY"),
    "runs": (bmp_of_runs(5000, 5000, b"\1\1" * 9_000_000), "IMAGE_TOO_COSTLY"),
    "a WebP's canvas": (webp_canvas(16_000, 16_000), "IMAGE_TOO_MANY_PIXELS"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_from_its_header(name: str) -> None:
    data, expected = BOMBS[name]
    assert reason(data) == expected


def test_a_refusal_names_the_number_and_the_limit() -> None:
    with pytest.raises(BadImage, match=r"^image: is stored in parts of 2,145,542,400 pixels; at most 50,000,000 are allowed$"):
        LIMITS.check(read_header(tiff_tiled((46_320, 46_320))))
    with pytest.raises(BadImage, match=r"^image: would take [\d,]+ MB of memory to decode; at most 1,100 MB are allowed$"):
        LIMITS.check(read_header(BOMBS["a row of RGBA"][0]))
    with pytest.raises(
        BadImage, match=r"^image: would take as much work in 3,0\d\d scans as [\d,]+ pixels; at most 1,000,000,000 are"
    ):
        LIMITS.check(read_header(BOMBS["scans"][0]))


def test_what_a_file_contradicts_is_not_plain() -> None:
    sound, second = SOUND["PNG"], encoded(noise(9, 9), "PNG")[8:33]
    assert not read_header(sound[:33] + second + sound[33:]).plain
    jpeg = SOUND["JPEG"]
    assert not read_header(jpeg[:20] + b"junk" + jpeg[20:]).plain
    assert not read_header(webp_canvas(50, 50)).plain
    many = [(256, 4, [8]), (257, 4, [8]), *((40_000 + tag, 4, range(300)) for tag in range(3))]
    header = tiff(many)
    assert read_header(header).plain
    # Tags that share their values claim more bytes than there are.
    shared = bytearray(header)
    for tag in range(3):
        at = header.index(struct.pack("<HHI", 40_000 + tag, 4, 300))
        shared[at + 4 : at + 12] = struct.pack("<II", 350, 8 + 2 + 12 * 5 + 4)
    assert not read_header(bytes(shared)).plain


def test_metadata_that_inflates_counts_as_work() -> None:
    sound = SOUND["PNG"]
    text = b"k\0\0" + zlib.compress(bytes(1_000_000))
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    assert reason(sound[:33] + chunk * 1100 + sound[33:]) == "IMAGE_TOO_COSTLY"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff\xe1\0\2" * 4_000_000,
        b"\xff\xd8\xff" + b"\xff\0" * 8_000_000,
        b"\xff\xd8\xff\xc0" + SOUND["JPEG"][SOUND["JPEG"].index(b"\xff\xc0") + 2 :][:17] + b"\xff\xda\0\2" * 4_000_000,
        SOUND["PNG"][:33] + (bytes(4) + b"teXt" + bytes(4)) * 1_300_000,
        SOUND["GIF"][:6] + bytes(7) + b"\x21\xfe" + b"\1!" * 8_000_000,
        b"RIFF\0\0\0\0WEBP" + b"ABCD\0\0\0\0" * 2_000_000,
        b"II*\0\x08\0\0\0\xff\xff" + bytes(12) * 1_300_000,
    ],
    ids=["segments", "fills", "scans", "chunks", "blocks", "RIFF chunks", "tags"],
)  # fmt: skip
def test_no_header_takes_long_to_read(data: bytes) -> None:
    """16 MB in the least of parts take a reader no longer than a few thousand parts."""
    begun_s = time.thread_time()
    with contextlib.suppress(BadImage):
        read_header(data)
    assert time.thread_time() - begun_s < 0.5


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(SOUND)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
)
def test_no_bytes_bring_a_reader_to_anything_but_a_header_or_a_reason(
    name: str, cut: float, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(SOUND[name][: max(1, int(len(SOUND[name]) * (1 - cut**4)))])
    for place, value in changes:
        limit = 64 if value % 2 else len(data)
        data[min(int(place * limit), len(data) - 1)] = value
    try:
        header = read_header(bytes(data))
    except BadImage as error:
        assert error.reason in ("IMAGE_UNREADABLE", "IMAGE_FORMAT_UNKNOWN")  # noqa: PT017 - a header is as good
    else:
        assert header.format in READERS
        assert header.memory_bytes >= 0
