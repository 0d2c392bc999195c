"""Of a GIF or WebP the first frame counts: where it lies, what of it is transparent, and by which colours, on white."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embedder.pictures.decode import Decoder, Wanted

WIDTH, HEIGHT = 12, 10
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 3), np.uint8)
OTHERS = np.random.default_rng(1).integers(0, 256, (16, 3), np.uint8)


def canvas(data: bytes) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((3,))).canvas
    assert made is not None
    return made


def gif_frame(
    places: npt.NDArray[np.integer], left: int, top: int, *, interlaced: bool, own: bool, clear: int | None, disposal: int
) -> bytes:
    """A frame whose codes never grow: a clear code before every few pixels (GIF89a, appendix F)."""
    height, width = places.shape
    order = (
        [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
        if interlaced
        else range(height)
    )
    codes = [16]
    for index, place in enumerate(places[list(order)].ravel()):
        codes += [16, int(place)] if index and index % 8 == 0 else [int(place)]
    bits = "".join(f"{code:05b}"[::-1] for code in [*codes, 17])
    packed = bytes(int(bits[at : at + 8][::-1].rjust(8, "0"), 2) for at in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(packed[at : at + 255])]) + packed[at : at + 255] for at in range(0, len(packed), 255))
    control = b"\x21\xf9\4" + bytes([disposal << 2 | (clear is not None)]) + bytes(2) + bytes([clear or 0, 0])
    flags = (0x80 | 3 if own else 0) | (0x40 if interlaced else 0)
    return (
        control + b"," + struct.pack("<HHHHB", left, top, width, height, flags) + (OTHERS.tobytes() if own else b"")
        + b"\4" + blocks + b"\0"
    )  # fmt: skip


def gif(*frames: bytes, shared: bool = True, background: int = 5) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, 0x80 | 3 if shared else 0, background, 0)
    return head + (COLOURS.tobytes() if shared else b"") + b"".join(frames) + b";"


@pytest.mark.parametrize("own", [False, True], ids=["", "own colours"])
@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_the_first_frame_of_a_gif(own: bool, disposal: int) -> None:
    palette = OTHERS if own else COLOURS
    places = np.random.default_rng(2).integers(0, 16, (HEIGHT, WIDTH))
    boxes = ((0, 0, WIDTH, HEIGHT), (3, 2, 7, 5), (5, 4, WIDTH, HEIGHT), (0, 0, 1, 1))
    for interlaced, clear, (left, top, right, lower) in itertools.product((False, True), (None, 0, 5), boxes):
        part = places[top:lower, left:right]
        how = {"interlaced": interlaced, "own": own, "clear": clear, "disposal": disposal}
        later = gif_frame(1 - places % 2, 0, 0, **how)  # type: ignore[arg-type]
        wanted = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
        shown = palette[part]
        if clear is not None:
            shown[part == clear] = 255
        wanted[top:lower, left:right] = shown
        first = gif_frame(part, left, top, **how)  # type: ignore[arg-type]
        for data in (gif(first, shared=not own), gif(first, later)):
            np.testing.assert_array_equal(canvas(data), wanted)


def webp(picture: Image.Image, *, animated: bool, alpha: bool, left: int = 0, top: int = 0) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True, exact=True)
    if not animated:
        return stream.getvalue()
    content = stream.getvalue()
    pixels = content[content.index(b"VP8L") :]

    def three(value: int) -> bytes:
        return value.to_bytes(3, "little")

    place = three(left // 2) + three(top // 2) + three(picture.width - 1) + three(picture.height - 1) + three(100) + b"\0"
    frame = b"ANMF" + struct.pack("<I", len(place) + len(pixels)) + place + pixels
    head = b"VP8X" + struct.pack("<I", 10) + bytes([2 | (16 if alpha else 0), 0, 0, 0]) + three(WIDTH - 1) + three(HEIGHT - 1)
    body = b"WEBP" + head + b"ANIM" + struct.pack("<IIH", 6, 0xFF0000FF, 0) + frame * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("alpha", [False, True], ids=["", "alpha"])
@pytest.mark.parametrize("animated", [False, True], ids=["", "animated"])
def test_the_first_frame_of_a_webp(alpha: bool, animated: bool) -> None:
    rng = np.random.default_rng(4)
    for left, top in ((0, 0), (4, 2)) if animated else ((0, 0),):
        shape = (HEIGHT - top, WIDTH - left)
        pixels = rng.integers(0, 256, (*shape, 4 if alpha else 3), np.uint8)
        cover = pixels[..., 3:] / 255 if alpha else np.ones((*shape, 1))
        wanted = np.full((HEIGHT, WIDTH, 3), 255.0)
        wanted[top:, left:] = pixels[..., :3] * cover + 255 * (1 - cover)
        made = canvas(webp(Image.fromarray(pixels), animated=animated, alpha=alpha, left=left, top=top))
        assert np.abs(made - wanted).max() <= 2
