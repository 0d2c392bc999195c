"""Why a picture is refused: it is damaged, it has too many pixels, or it is of a kind that is not read.

Owns the texts that more than one reader has. Kinds that are not read are recognised here by their first bytes; their refusal
names the kind and advises what to do. A file of no known kind is refused as no picture that is read. Called by
`embedder.pictures.formats` and by the readers of headers and of pixels.
"""

from __future__ import annotations

import re

from lookalike.errors import BadImage
from lookalike.picture_formats import FORMATS

_SAVE = "save it as JPEG or PNG"
_EXPORT = "export it as JPEG or PNG"
_FRAME, _UNPACK = "save a frame of it as JPEG or PNG", "take the pictures out of it"
_KINDS: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS picture", _SAVE),
    (0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "a JPEG 2000 picture", _SAVE),
    (0, (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"), "a JPEG XL picture", _SAVE),
    (0, b"II\xbc\x01", "a JPEG XR picture", _SAVE),
    (0, b"8BPS", "a Photoshop document (PSD)", _EXPORT),
    (0, b"gimp xcf", "a GIMP picture (XCF)", _EXPORT),
    (0, b"%PDF", "a PDF document", "export its pages as JPEG or PNG"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "a PostScript document (EPS)", _EXPORT),
    (8, b"CR\x02", "a camera's raw picture (CR2)", _EXPORT),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw picture (RAF)", _EXPORT),
    (0, (b"IIRO", b"IIRS", b"MMOR"), "a camera's raw picture (ORF)", _EXPORT),
    (0, b"IIU\0", "a camera's raw picture (RW2)", _EXPORT),
    (0, b"FOVb", "a camera's raw picture (X3F)", _EXPORT),
    (0, b"\0MRM", "a camera's raw picture (MRW)", _EXPORT),
    (0, b"\0\0\1\0", "an icon (ICO)", _SAVE),
    (0, b"\0\0\2\0", "a cursor (CUR)", _SAVE),
    (0, b"icns", "an icon of macOS (ICNS)", _SAVE),
    (0, b"DDS ", "a texture (DDS)", _SAVE),
    (0, b"v/1\x01", "an OpenEXR picture", _SAVE),
    (0, (b"#?RADIANCE", b"#?RGBE"), "a Radiance picture (HDR)", _SAVE),
    (0, b"SIMPLE  =", "a FITS picture", _SAVE),
    (0, b"qoif", "a QOI picture", _SAVE),
    (0, b"BPG\xfb", "a BPG picture", _SAVE),
    (0, b"FLIF", "a FLIF picture", _SAVE),
    (0, b"farbfeld", "a farbfeld picture", _SAVE),
    (0, b"AT&TFORM", "a DjVu document", "export its pages as JPEG or PNG"),
    (0, b"\x8aMNG\r\n\x1a\n", "an MNG animation", _FRAME),
    (0, b"\x8bJNG\r\n\x1a\n", "a JNG picture", _SAVE),
    (0, b"/* XPM */", "an XPM picture", _SAVE),
    (0, b"\x01\xda", "an SGI picture", _SAVE),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster picture", _SAVE),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", _EXPORT),
    (40, b" EMF", "a Windows metafile (EMF)", _EXPORT),
    (128, b"DICM", "a DICOM picture", _EXPORT),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _FRAME),
    (0, b"FLV\1", "a video (FLV)", _FRAME),
    (0, (b"\0\0\1\xba", b"\0\0\1\xb3"), "a video (MPEG)", _FRAME),
    (0, b"OggS", "a sound or video (Ogg)", _FRAME),
    (8, b"AVI ", "a video (AVI)", _FRAME),
    (8, b"WAVE", "a sound (WAV)", "no picture is in it"),
    (0, b"ID3", "a sound (MP3)", "no picture is in it"),
    (0, b"PK\3\4", "a ZIP archive, or a document that is stored as one", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"version https://git-lfs", "a pointer to a file in Git LFS", "fetch the file itself"),
)
"""Where, what may be there, what it is, what to do."""
_APPLE_PNG = b"CgBI"
_BRANDS = {
    b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"heim": "a HEIC picture", b"heis": "a HEIC picture",
    b"hevc": "a HEIC picture", b"hevx": "a HEIC picture", b"mif1": "a HEIF picture", b"msf1": "a HEIF picture",
    b"mif2": "a HEIF picture", b"avif": "an AVIF picture", b"avis": "an AVIF picture", b"crx ": "a camera's raw picture (CR3)",
    b"jp2 ": "a JPEG 2000 picture", b"jpx ": "a JPEG 2000 picture", b"jxl ": "a JPEG XL picture",
}  # fmt: skip
"""ISO 14496-12, the major brand of a file -> what it is. All others are videos."""
_WEAK_BRANDS = (b"mif1", b"msf1", b"mif2")
"""What a HEIC or AVIF may call itself; which of them it is stands among its other brands."""
_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE\s+svg[^>]*>|\s)*<(?:\w+:)?svg[\s>]", re.DOTALL | re.IGNORECASE)
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)", re.DOTALL | re.IGNORECASE)
_PNM = re.compile(rb"P[1-7FfHh][\s#]")
_TEXT_LOOKED_AT = 4096


def damaged(problem: str = "", *, part: str = "") -> BadImage:
    """`part` (header, pixels) says what of the file is damaged, `problem` in which way, where either is known."""
    within, why = f" in its {part}" if part else "", f": {problem}" if problem else ""
    return BadImage(f"is truncated or damaged{within}{why}", reason="IMAGE_UNREADABLE")


def too_many_pixels(width: int, height: int, most: int) -> BadImage:
    return BadImage(f"is {width} x {height} pixels; at most {most:,} in all are allowed", reason="IMAGE_TOO_MANY_PIXELS")


def check_pixels(width: int, height: int, most: int) -> None:
    """Raises `BadImage` where a picture has more than `most` pixels."""
    if width * height > most:
        raise too_many_pixels(width, height, most)


def unsupported(kind: str, advice: str = _SAVE) -> BadImage:
    """`kind` with its article: "a TIFF of 5 bands"."""
    return BadImage(f"is {kind}, which is not supported; {advice}", reason="IMAGE_FORMAT_UNKNOWN")


def is_disguised(data: bytes) -> bool:
    """Whether a file begins as one of a format that is read, and is of a kind that is not."""
    return data.startswith(b"\xff\xd8\xff\xf7") or data[8:11] == b"CR\x02" or data[12:16] == _APPLE_PNG


def not_read(data: bytes) -> BadImage:
    """What to say of a file that none of the formats claims."""
    *names, last = (read.name for read in FORMATS)
    return known(data) or BadImage(f"is not a {', '.join(names)} or {last} picture", reason="IMAGE_FORMAT_UNKNOWN")


def known(data: bytes) -> BadImage | None:
    """What to say of a kind that is recognised and not read; None for all others."""
    for place, magics, kind, advice in _KINDS:
        if data.startswith(magics, place):
            return unsupported(kind, advice)
    if data[4:8] == b"ftyp":
        return _of_brand(data)
    start = data[:_TEXT_LOOKED_AT].removeprefix(b"\xef\xbb\xbf")
    if _SVG.match(start):
        return unsupported("a drawing (SVG)", _EXPORT)
    if _HTML.match(start):
        return unsupported("a web page", "fetch the picture itself")
    if _PNM.match(start):
        return unsupported("a PNM picture (PBM, PGM, PPM, PAM)", _SAVE)
    if data[12:16] == _APPLE_PNG:
        return unsupported(
            "a PNG of an iPhone app (CgBI)", "undo that by `pngcrush -revert-iphone-optimizations`, or save it anew"
        )
    if not data.strip(b"\0"):
        return BadImage("holds nothing but zeros", reason="IMAGE_FORMAT_UNKNOWN")
    return None


def _of_brand(data: bytes) -> BadImage:
    size = min(int.from_bytes(data[:4]), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]
    if brands[0] in _WEAK_BRANDS:
        brands = [brand for brand in brands if brand in _BRANDS and brand not in _WEAK_BRANDS] or brands
    if brands[0] in _BRANDS:
        kind = _BRANDS[brands[0]]
        return unsupported(kind, _EXPORT if "raw" in kind else _SAVE)
    return unsupported("a video (MP4 or QuickTime)", _FRAME)
