"""Every kind of BMP comes out as the array it was made from, or is refused by name."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pytest

from embedder.pictures.decode import Decoder, Wanted
from lookalike.errors import BadImage
from tests.pictures.made_pictures import noise

WIDTH, HEIGHT = 13, 9
SCENE = noise(HEIGHT, WIDTH, 3)
CORE, INFO, V2, V3, OS2, V4, V5 = 12, 40, 52, 56, 64, 108, 124
MASKS = {
    "565": (16, 0xF800, 0x7E0, 0x1F, 0), "555": (16, 0x7C00, 0x3E0, 0x1F, 0), "4444": (16, 0xF00, 0xF0, 0xF, 0xF000),
    "bgra": (32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000), "rgba": (32, 0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "abgr": (32, 0xFF000000, 0xFF0000, 0xFF00, 0xFF), "10 bits": (32, 0x3FF00000, 0xFFC00, 0x3FF, 0),
    "11-11-10": (32, 0xFFE00000, 0x1FFC00, 0x3FF, 0), "bgrx": (32, 0xFF0000, 0xFF00, 0xFF, 0),
}  # fmt: skip


def canvas(data: bytes) -> npt.NDArray[np.uint8]:
    made = Decoder().decode(data, Wanted((3,))).canvas
    assert made is not None
    return made


def bmp(
    rows: bytes, bits: int, *, header: int = INFO, compression: int = 0, masks: tuple[int, ...] = (), palette: bytes = b"",
    top_down: bool = False, width: int = WIDTH, height: int = HEIGHT, used: int = 0,
) -> bytes:  # fmt: skip
    if header == CORE:
        head = struct.pack("<IHHHH", header, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        head = struct.pack("<IiiHHIIiiII", header, width, signed, 1, bits, compression, len(rows), 0, 0, used, 0)[:header]
        head += struct.pack(f"<{len(masks)}I", *masks) if header > INFO else b""
        head = head.ljust(header, b"\0") + (struct.pack(f"<{len(masks)}I", *masks) if header == INFO else b"")
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


def stored(values: npt.NDArray[np.integer], bits: int, *, top_down: bool = False) -> bytes:
    """Rows of whole numbers of `bits`, bottom up, each filled up to four bytes."""
    order = values if top_down else values[::-1]
    if bits < 8:
        spread = (order[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        lines = [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in spread]
    else:
        lines = [b"".join(int(value).to_bytes(bits // 8, "little") for value in row) for row in order]
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("header", [CORE, 16, INFO, V2, V3, OS2, V4, V5])
def test_palettes(bits: int, header: int) -> None:
    colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), np.uint8)
    places = np.random.default_rng(1).integers(0, 1 << bits, (HEIGHT, WIDTH))
    entries = colours[:, ::-1] if header == CORE else np.pad(colours[:, ::-1], ((0, 0), (0, 1)))
    for top_down in (False, True) if header >= INFO else (False,):
        data = bmp(stored(places, bits, top_down=top_down), bits, header=header, palette=entries.tobytes(), top_down=top_down)
        np.testing.assert_array_equal(canvas(data), colours[places])


@pytest.mark.parametrize("header", [CORE, INFO, V4, V5])
def test_24_bits(header: int) -> None:
    values = SCENE[..., 0].astype(int) << 16 | SCENE[..., 1].astype(int) << 8 | SCENE[..., 2]
    np.testing.assert_array_equal(canvas(bmp(stored(values, 24), 24, header=header)), SCENE)


def test_32_bits_without_masks_have_no_transparency() -> None:
    values = SCENE[..., 0].astype(int) << 16 | SCENE[..., 1].astype(int) << 8 | SCENE[..., 2]
    for filler in (0, 0x7F000000):
        np.testing.assert_array_equal(canvas(bmp(stored(values | filler, 32), 32)), SCENE)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("header", [INFO, V2, V3, V4, V5])
@pytest.mark.parametrize("clear", [False, True], ids=["", "alpha all zeros"])
def test_masks(name: str, header: int, clear: bool) -> None:
    bits, *masks = MASKS[name]
    kept = 4 if header >= V3 else 3
    if kept == 3 and masks[3]:
        masks[3] = 0
    rng = np.random.default_rng(bits)
    values, part = np.zeros((HEIGHT, WIDTH), np.int64), np.zeros((HEIGHT, WIDTH, 4))
    for band, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        top = mask >> shift
        one = (
            rng.integers(0, top, (HEIGHT, WIDTH), endpoint=True)
            if top and not (band == 3 and clear)
            else np.zeros((HEIGHT, WIDTH), int)
        )
        values |= one << shift
        part[..., band] = one / (top or 1)
    cover = part[..., 3:] if masks[3] and not clear else 1.0
    wanted = (part[..., :3] * cover + 1 - cover) * 255
    data = bmp(stored(values, bits), bits, header=header, compression=3, masks=tuple(masks[:kept]))
    assert np.abs(canvas(data) - wanted).max() <= 1.5


def test_runs_and_what_they_leave_out() -> None:
    colours = np.random.default_rng(3).integers(0, 200, (256, 3), np.uint8)
    palette = np.pad(colours[:, ::-1], ((0, 0), (0, 1))).tobytes()
    # From below: a run; three places one by one; a jump of 2 and 1; a run; the end.
    runs = bytes([5, 7, 0, 3, 1, 2, 3, 0, 0, 2, 2, 1, 2, 9, 0, 1])
    wanted = np.full((3, WIDTH, 3), 255)
    wanted[2, :5], wanted[2, 5:8] = colours[7], colours[[1, 2, 3]]
    wanted[1, 10:12] = colours[9]
    np.testing.assert_array_equal(canvas(bmp(runs, 8, compression=1, palette=palette, height=3)), wanted)
    halves = bytes([5, 0x12, 0, 3, 0x34, 0x50, 0, 0, 4, 0x66, 0, 1])
    wanted = np.full((2, WIDTH, 3), 255)
    wanted[1, :8] = colours[[1, 2, 1, 2, 1, 3, 4, 5]]
    wanted[0, :4] = colours[6]
    np.testing.assert_array_equal(canvas(bmp(halves, 4, compression=2, palette=palette[:64], height=2)), wanted)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bmp(b"\xff\xd8", 0, compression=4), "a BMP with a JPEG inside"),
        (bmp(b"\x89PNG", 0, compression=5), "a BMP with a PNG inside"),
        (bmp(bytes(99), 1, header=OS2, compression=3), "a BMP of OS/2 compressed by fax"),
        (bmp(bytes(99), 24, header=OS2, compression=4), "a BMP of OS/2 compressed by 24-bit runs"),
        (bmp(bytes(999), 64), "a BMP of 64 bits a pixel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_kind_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=f"is {name}, which is not supported") as caught:
        canvas(data)
    assert caught.value.reason == "IMAGE_FORMAT_UNKNOWN"


def test_rows_that_are_missing_are_said() -> None:
    values = SCENE[..., 0].astype(int)
    data = bmp(stored(values, 24), 24)
    with pytest.raises(BadImage, match="ends after 4 of 9 stored rows"):
        canvas(data[: 54 + 40 * 4 + 10])
    with pytest.raises(BadImage, match="ends after 1 of 9 stored rows"):
        canvas(bmp(bytes([5, 7, 0, 0, 5]), 8, compression=1, palette=bytes(1024)))
