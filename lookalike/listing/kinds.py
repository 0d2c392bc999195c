"""Which files are pictures, told by their names: one table of kinds, with those that are not read.

Only what a suffix says is looked at: a file is opened when it is its turn. A kind that is not read fails by its name, so that
no folder seems smaller than it is; of some whose name may mislead (phones call JPEGs `.heic`) the bytes decide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` with its article, such as `a RAW photograph`; `read` where a file of it is fetched and looked at."""

    name: str
    read: bool


_READ = {
    "a JPEG": "jpg jpeg jpe jfif jfi jif pjpeg pjp mpo jps insp",
    "a PNG": "png apng",
    "a WebP": "webp",
    "a GIF": "gif",
    "a BMP": "bmp dib",
    "a TIFF": "tif tiff",
    # Their bytes decide.
    "an AVIF": "avif",
    "a HEIF": "heic heif hif",
    "a JPEG 2000": "jp2",
    "a JPEG XL": "jxl",
}
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


def _table() -> Mapping[str, Kind]:
    kinds = [(name, suffixes, True) for name, suffixes in _READ.items()]
    kinds += [(name, suffixes, False) for name, suffixes in _NOT_READ.items()]
    return MappingProxyType({f".{suffix}": Kind(name, read) for name, suffixes, read in kinds for suffix in suffixes.split()})


KINDS = _table()
"""By suffix, in lower case and with its dot."""
_SUFFIX = re.compile(r"\.[a-z0-9]+")
"""What stands behind is somebody's addition: `.jpg_large`, `.png!thumb`, `.jpg:orig`, `.jpg?w=200`."""


def kind_of(name: str) -> Kind | None:
    """The kind of picture that a file is, by its name; None for anything else."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, millions of times
    kind = KINDS.get(suffix)
    if kind is None and (found := _SUFFIX.match(suffix)):
        kind = KINDS.get(found[0])
    return kind


def is_picture(name: str) -> bool:
    """Whether a file is a picture of any kind, told by its suffix."""
    return kind_of(name) is not None
