"""A file of a kind that is not read is refused by name, with what to do."""

from __future__ import annotations

import pytest

from embedder.pictures.decode import Decoder, Wanted
from lookalike.errors import BadImage


def box(brand: bytes, *others: bytes) -> bytes:
    content = brand + bytes(4) + b"".join(others)
    return (8 + len(content)).to_bytes(4) + b"ftyp" + content + bytes(100)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (box(b"heic", b"mif1"), "a HEIC picture"),
        (box(b"mif1", b"heic"), "a HEIC picture"),
        (box(b"mif1", b"avif"), "an AVIF picture"),
        (box(b"mif1"), "a HEIF picture"),
        (box(b"avif"), "an AVIF picture"),
        (box(b"crx "), "a camera's raw picture (CR3)"),
        (box(b"isom", b"mp42"), "a video (MP4 or QuickTime)"),
        (box(b"qt  "), "a video (MP4 or QuickTime)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "a JPEG 2000 picture"),
        (b"\xff\x4f\xff\x51" + bytes(50), "a JPEG 2000 picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "a JPEG XL picture"),
        (b"\xff\x0a" + bytes(50), "a JPEG XL picture"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(50), "a JPEG-LS picture"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "a camera's raw picture (CR2)"),
        (b"8BPS\0\1" + bytes(50), "a Photoshop document (PSD)"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF", "a PostScript document (EPS)"),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg">', "a drawing (SVG)"),
        (b"\xef\xbb\xbf  <svg width='4'>", "a drawing (SVG)"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"P6 2 2 255\n" + bytes(12), "a PNM picture (PBM, PGM, PPM, PAM)"),
        (b"\0\0\1\0\1\0" + bytes(50), "an icon (ICO)"),
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(50), "a video (AVI)"),
        (b"\x1aE\xdf\xa3" + bytes(50), "a video (Matroska or WebM)"),
        (b"PK\3\4" + bytes(50), "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(50), "a PNG of an iPhone app (CgBI)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a pointer to a file in Git LFS"),
        (b"IIU\0" + bytes(50), "a camera's raw picture (RW2)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_that_is_recognised_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        Decoder().decode(data, Wanted((1,)))
    assert caught.value.reason == "IMAGE_FORMAT_UNKNOWN"
    assert caught.value.message.startswith(f"image: is {name}")
    assert "which is not supported; " in caught.value.message


def test_what_is_no_picture_at_all() -> None:
    for data, problem in (
        (b"hello", "is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture"),
        (bytes(4096), "holds nothing but zeros"),
    ):
        with pytest.raises(BadImage, match=f"^image: {problem}$"):
            Decoder().decode(data, Wanted((1,)))
