"""Picture formats: which are read, and how a file's name or a browser says that it is of one.

The one table of formats: `FORMATS`. The embedder has a reader for each (`embedder.pictures.formats`), listings take files by
its suffixes, and the page offers its media types. Kinds that are not read stand below it: a file of one fails by its name, so
that no folder seems smaller than it is. Only the name is looked at here: a file is opened when it is its turn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format that is read. `key` is Pillow's name for it, `name` the usual spelling. `suffixes` have no dot."""

    key: str
    name: str
    media_type: str
    suffixes: tuple[str, ...]


FORMATS = (
    PictureFormat(
        "JPEG", "JPEG", "image/jpeg", ("jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "mpo", "jps", "insp")
    ),
    PictureFormat("PNG", "PNG", "image/png", ("png", "apng")),
    PictureFormat("WEBP", "WebP", "image/webp", ("webp",)),
    PictureFormat("GIF", "GIF", "image/gif", ("gif",)),
    PictureFormat("BMP", "BMP", "image/bmp", ("bmp", "dib")),
    PictureFormat("TIFF", "TIFF", "image/tiff", ("tif", "tiff")),
)
SUFFIXES = frozenset(f".{suffix}" for read in FORMATS for suffix in read.suffixes)
"""The suffixes of the formats that are read, in lower case and with their dots."""

_MISLEADING = {
    "an AVIF": "avif",
    "a HEIF": "heic heif hif",
    "a JPEG 2000": "jp2",
    "a JPEG XL": "jxl",
}
"""Suffixes of formats that are not read. Files are fetched all the same: phones and shops give JPEGs these names."""
_NOT_READ = {
    "a RAW photograph": "3fr arw bay cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx raf raw rw2 "
    "rwl sr2 srf srw x3f",
    "a Photoshop document": "psd psb",
    "a drawing of layers": "xcf kra ora clip sai afphoto procreate",
    "a vector drawing": "svg svgz ai eps cdr wmf emf",
    "an icon": "ico cur icns",
    "a JPEG 2000": "j2k j2c jpc jpf jpx",
    "a JPEG XR": "jxr wdp hdp",
    "a JPEG-LS": "jls",
    "a Targa picture": "tga",
    "a PCX": "pcx",
    "a Netpbm picture": "pbm pgm ppm pnm pam pfm",
    "a texture": "dds ktx vtf blp",
    "a picture of high dynamic range": "exr hdr dpx cin",
    "an SGI picture": "sgi",
    "an X11 picture": "xbm xpm",
    "a PICT": "pct pict",
    "a Sun raster": "ras",
    "a picture of astronomy (FITS)": "fits fit fts",
    "a picture of medicine (DICOM)": "dcm",
    "a DjVu": "djvu djv",
    "a QOI": "qoi",
    "a FLIF": "flif",
    "a BPG": "bpg",
    "an MNG": "mng jng",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is by its name: of a kind that is not read, `name` has its article (`a RAW photograph`). `read`: a file of it
    is fetched and looked at."""

    name: str
    read: bool


def _table() -> Mapping[str, Kind]:
    read = [(one.name, one.suffixes, True) for one in FORMATS]
    misleading = [(name, tuple(suffixes.split()), True) for name, suffixes in _MISLEADING.items()]
    not_read = [(name, tuple(suffixes.split()), False) for name, suffixes in _NOT_READ.items()]
    kinds = (*read, *misleading, *not_read)
    return MappingProxyType({f".{suffix}": Kind(name, fetched) for name, suffixes, fetched in kinds for suffix in suffixes})


KINDS = _table()
"""By suffix, in lower case and with its dot."""
_SUFFIX = re.compile(r"\.[a-z0-9]+")
"""Behind a suffix may stand what a site added: `.jpg_large`, `.png!thumb`, `.jpg:orig`, `.jpg?w=200`."""


def kind_of(name: str) -> Kind | None:
    """The kind of picture that a file is, by its name; None for anything else."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, millions of times
    kind = KINDS.get(suffix)
    if kind is None and (found := _SUFFIX.match(suffix)):
        kind = KINDS.get(found[0])
    return kind


def is_picture(name: str) -> bool:
    """Whether a file is a picture of any kind, by its suffix."""
    return kind_of(name) is not None
