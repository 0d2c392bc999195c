"""Rows of decoding: bytes -> the photo tower's pixels as the embedder does it, beside a full decode by Pillow.

One thread, one size of JPEG a row. Both sides end with the same thing, 224 x 224 RGB: Pillow loads the whole picture and
resizes it with the same antialiased filter.
"""

from __future__ import annotations

import io
from itertools import cycle

from PIL import Image

from tests.bench import callers
from tests.bench.inputs import photographs
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale

SIZES = ((640, 480), (2000, 1500))
_FILES = 4


def measure(scale: Scale, findings: Findings) -> None:
    for width, height in SIZES:
        _measure(width, height, scale, findings)


def _measure(width: int, height: int, scale: Scale, findings: Findings) -> None:
    from tests.bench.pipeline import pipeline, tower

    decoder, wanted = pipeline().decoder, tower("photo").wanted
    files, window_s = cycle(photographs(_FILES, width, height)), scale.window_s / 2
    ours, limit = interleaved(
        lambda: callers.repeated(lambda: decoder.decode(next(files), wanted), window_s),
        lambda: callers.repeated(lambda: full(next(files), wanted.side), window_s),
        scale.rounds,
    )
    findings.add(f"decode_{width}x{height}", ours, limit)


def full(data: bytes, side: int) -> Image.Image:
    """All pixels decoded, then one resize."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
