"""Encoded bytes -> the working picture: grey or RGB in sRGB, on white, at working size. The table of
`embedder.pictures.formats` says which function reads which format; `embedder.pictures.decode` has checked the header.

Owns what is done with a file whose pixels are sound but whose surroundings are not: it is repaired and decoded, and the repair
is reported. No damage is passed over in silence: a picture comes out as it was made, or `BadImage` says why not.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageFile

from embedder.pictures import colour, jpeg, png, png_colour
from embedder.pictures.bmp_pixels import read_bmp
from embedder.pictures.flatten import covered, flattened, on_white, raw_mode
from embedder.pictures.headers.header import Header
from embedder.pictures.refusals import check_pixels, damaged
from embedder.pictures.tiff_pixels import read_page
from embedder.pictures.working_size import Least

# What Pillow's decoders were seen to raise on damaged files; it has no exception of its own above these.
DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RuntimeError,
    AssertionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

REPAIRS = frozenset({"png checksum", "png surroundings", "jpeg end", "jpeg segments", "jpeg padding", "profile"})
"""What is repaired, in words for a metric."""
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass(frozen=True, slots=True)
class Working:
    """`picture` is L or RGB, not yet turned as `orientation` (EXIF, 1 to 8) says. `repaired`: what was left out or repaired, of
    `REPAIRS`."""

    picture: Image.Image
    orientation: int
    repaired: tuple[str, ...] = ()


def decode_by_pillow(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """A picture of a format that Pillow reads as it is. Raises `BadImage`."""
    try:
        image = _opened(data, header)
    except DAMAGED as error:
        raise damaged(part="header") from error
    check_pixels(*image.size, max_pixels)  # of what Pillow reads: a file may contradict itself
    try:
        picture, orientation = _loaded(image, data)
    except DAMAGED as error:
        raise damaged() from error
    return _finished(picture, least, image.info.get("icc_profile"), orientation, ())


def decode_png(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """A PNG, repaired where its pixels are sound and what lies beside them is not. Raises `BadImage`."""
    pixels = png.checked(data)
    if not pixels.whole:
        raise damaged(pixels.problem)
    image, content, repaired = _opened_png(data, header, odd=pixels.odd)
    check_pixels(*image.size, max_pixels)  # of what Pillow reads: a file may contradict itself
    try:
        picture, orientation = _loaded(image, content)
    except DAMAGED as error:
        if not png.is_whole(content):
            raise damaged(png.problem(content)) from error
        image, content = _repaired_png(content, header)
        repaired = (*repaired, "png surroundings")
        try:
            picture, orientation = _loaded(image, content)
        except DAMAGED:
            raise damaged() from error
    return _finished(picture, least, png_colour.profile(data, colour.MAX_PROFILE_BYTES + 1), orientation, repaired)


def decode_jpeg(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """A JPEG, at the reduced scale that `least` allows. Pillow's reader of headers is passed by: it gives up where nothing is
    wrong. Raises `BadImage`."""
    jpeg.check_kind(header)
    try:
        wanted = least.draft_size((header.width, header.height))
        scale = min(header.width // wanted[0], header.height // wanted[1])
        size = -(-header.width // scale), -(-header.height // scale)
        picture, repaired = jpeg.decoded(
            data, _MODES[header.samples], size, several_scans=header.interlaced or header.scans > 1
        )
        beside = jpeg.metadata(data)
    except DAMAGED as error:
        raise damaged() from error
    return _finished(picture, least, beside.profile, beside.orientation, repaired)


def decode_bmp(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """A BMP. Raises `BadImage`."""
    picture, profile = read_bmp(data, max_pixels)
    return _finished(picture, least, profile, 1, ())


def decode_tiff(data: bytes, header: Header, least: Least, max_pixels: int) -> Working:
    """The first page of a TIFF, averaged down on the way. Raises `BadImage`."""
    page = read_page(data, least, max_pixels)
    return _managed(page.picture, page.profile, page.orientation if 1 <= page.orientation <= 8 else 1, ())


def _loaded(image: ImageFile.ImageFile, data: bytes) -> tuple[Image.Image, int]:
    """The picture as L, RGB or CMYK on white, and its orientation. Raises what Pillow does."""
    with image:
        stored, box = raw_mode(image), covered(image, data)
        image.decodermaxblock = len(data)  # all at once: it lies in memory, and blocks would be copied out of it
        image.load()
        deep_key = stored == "RGB;16B" and isinstance(image.info.get("transparency"), tuple)
        picture = png.without_deep_key(data) if deep_key else on_white(flattened(image, stored), box)
        return picture, _orientation(image)


def _finished(
    picture: Image.Image, least: Least, profile: bytes | None, orientation: int, repaired: tuple[str, ...]
) -> Working:
    """Averaged down first: a profile costs time for every pixel."""
    return _managed(least.reduced(picture), profile, orientation, repaired)


def _managed(picture: Image.Image, profile: bytes | None, orientation: int, repaired: tuple[str, ...]) -> Working:
    """Of a picture at working size."""
    managed, usable = colour.managed(picture, profile)
    return Working(managed, orientation, repaired if usable else (*repaired, "profile"))


def _opened_png(data: bytes, header: Header, *, odd: bool) -> tuple[ImageFile.ImageFile, bytes, tuple[str, ...]]:
    """The header read by Pillow, of a repaired file where the checksums are `odd` or Pillow cannot read what lies beside the
    pixels; the content that it was read of, and what was repaired."""
    if odd:
        return *_repaired_png(data, header), ("png checksum",)
    try:
        return _opened(data, header), data, ()
    except DAMAGED:
        return *_repaired_png(data, header), ("png surroundings",)


def _repaired_png(data: bytes, header: Header) -> tuple[ImageFile.ImageFile, bytes]:
    repaired = png.without_oddities(data)
    try:
        return _opened(repaired, header), repaired
    except DAMAGED as error:
        raise damaged(part="header") from error


def _opened(data: bytes, header: Header) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=(header.format,))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED:  # a picture whose EXIF is damaged is still a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
