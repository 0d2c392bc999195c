"""Colour management: a picture's embedded ICC profile -> sRGB, by littleCMS. Called by `embedder.pictures.reading`.

Owns which profiles are applied and how. The rule is that of browsers: a profile counts where its colour space is the
picture's own (one of RGB also for a grey picture), by its perceptual intent; a picture without a profile is taken for sRGB.
CMYK without a profile has no colours of its own: each ink takes its part of the light, (255 - ink) (255 - black) / 255.
Where a profile cannot be used it is left out, and the picture counts as repaired. What a PNG says by other chunks becomes a
profile too (`pictures.png_colour`).

A profile is compiled once. Whether it changes anything is asked of a lattice of colours: most profiles are sRGB's under some
name, and cost a hash from then on.
"""

from __future__ import annotations

import functools
import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""Larger profiles are left out. Those of presses, the largest in use, have 0.5 to 2.5 MB."""
MAX_COMPILED = 32
"""Profiles that are kept compiled: some 0.5 MB each at most, 20 KB for those of displays."""
_SAME = 2
"""A profile that moves no colour of the lattice by more is as good as none: sRGB is written down in many ways."""
_SPACES = {"L": (b"GRAY", b"RGB "), "RGB": (b"RGB ",), "CMYK": (b"CMYK",)}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
"""ICC.1:2022, profile classes of pictures. Not abstract ones, links and names."""
# littleCMS's own errors, and what Pillow raises of contents it does not expect.
_UNUSABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`transform`: None for no change. `usable`: not so where the profile is damaged or of another kind."""

    transform: ImageCms.ImageCmsTransform | None
    usable: bool


class _Cache:
    """The last `MAX_COMPILED` profiles by the hash of profile and mode. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], _Compiled] = OrderedDict()

    def get(self, mode: str, profile: bytes) -> _Compiled:
        key = (mode, hashlib.blake2b(profile, digest_size=16).digest())
        with self._lock:
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return known
        compiled = _compiled(mode, profile)  # outside of the lock: a large one takes .2 s, and others go on meanwhile
        with self._lock:
            self._known[key] = compiled
            if len(self._known) > MAX_COMPILED:
                self._known.popitem(last=False)
        return compiled


_CACHE = _Cache()


def managed(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """`picture` (L, RGB or CMYK) in sRGB, as L or RGB; and whether its profile could be used (or there is none)."""
    if profile is None:
        return _unmanaged(picture), True
    compiled = _CACHE.get(picture.mode, profile)
    if compiled.transform is None:
        return _unmanaged(picture), compiled.usable
    through = picture.convert("RGB") if picture.mode == "L" and compiled.transform.input_mode == "RGB" else picture
    made = compiled.transform.apply(through)
    return (made.convert("L") if picture.mode == "L" else made), True


def _unmanaged(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def _compiled(mode: str, profile: bytes) -> _Compiled:
    if len(profile) > MAX_PROFILE_BYTES or not _fits(mode, profile):
        return _Compiled(None, usable=False)
    through = "RGB" if mode == "L" and profile[16:20] == b"RGB " else mode
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(
            opened, _srgb(), through, "RGB", ImageCms.Intent.PERCEPTUAL, flags=ImageCms.Flags.NOCACHE
        )
        colours = _lattice(through)
        changed = np.asarray(transform.apply(colours)).astype(int) - np.asarray(_unmanaged(colours).convert("RGB"))
    except _UNUSABLE:
        return _Compiled(None, usable=False)
    return _Compiled(transform if np.abs(changed).max() > _SAME else None, usable=True)


def _fits(mode: str, profile: bytes) -> bool:
    """Whether a profile's header is one, and of the picture's own kind."""
    return profile[36:40] == b"acsp" and profile[12:16] in _CLASSES and profile[16:20] in _SPACES[mode]


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _lattice(mode: str) -> Image.Image:
    """All greys, or 729 colours, or 625 inks."""
    bands, steps = {"L": (1, 256), "RGB": (3, 9), "CMYK": (4, 5)}[mode]
    levels = np.rint(np.linspace(0, 255, steps)).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * bands, indexing="ij"), -1).reshape(1, -1, bands)
    return Image.fromarray(colours[..., 0]) if bands == 1 else Image.frombytes(mode, (colours.shape[1], 1), colours.tobytes())
