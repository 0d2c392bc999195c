"""Rows of decoding: bytes -> the photo tower's pixels as the embedder does it, beside a full decode by Pillow.

One thread, one size of JPEG a row. Both sides end with the same thing, 224 x 224 RGB: Pillow loads the whole picture and
resizes it with the same antialiased filter. What the cage costs is noted below the table: the same pictures, one after the
other, decoded in a process with limits.
"""

from __future__ import annotations

import io
import statistics
import time
from itertools import cycle

from PIL import Image

from tests.bench import callers
from tests.bench.inputs import photographs
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale

SIZES = ((640, 480), (2000, 1500))
_FILES = 4
_PATIENCE_S = 60.0


def measure(scale: Scale, findings: Findings) -> None:
    for width, height in SIZES:
        _measure(width, height, scale, findings)
        _note_cage(width, height, scale, findings)


def _measure(width: int, height: int, scale: Scale, findings: Findings) -> None:
    from tests.bench.pipeline import pipeline, tower

    decoder, wanted = pipeline().decoder, tower("photo").wanted
    (seen,) = wanted.towers
    files, window_s = cycle(photographs(_FILES, width, height)), scale.window_s / 2
    ours, limit = interleaved(
        lambda: callers.repeated(lambda: decoder.decode(next(files), wanted), window_s),
        lambda: callers.repeated(lambda: full(next(files), seen.side), window_s),
        scale.rounds,
    )
    findings.add(f"decode_{width}x{height}", ours, limit)


def _note_cage(width: int, height: int, scale: Scale, findings: Findings) -> None:
    from embedder.pictures.cage import Cage
    from embedder.pictures.tasks import DecodeTask
    from embedder.pictures.waiting import Lane, Waiting
    from tests.bench.pipeline import pipeline, tower

    decoder, task = pipeline().decoder, DecodeTask(tower("photo").wanted)
    cage = Cage(processes=2, memory_bytes=10**9, max_pixels=decoder.max_pixels, processor_s=10.0)

    def caged(data: bytes) -> None:
        waiting = Waiting(time.monotonic() + _PATIENCE_S, lambda: False)
        cage.submit(task, data, decoder.header(data), Lane.INTERACTIVE, waiting).result(_PATIENCE_S)

    files, window_s = cycle(photographs(_FILES, width, height)), scale.window_s / 4
    try:
        caged(next(files))  # starts the process
        here, there = interleaved(
            lambda: callers.repeated(lambda: decoder.decode(next(files), task.wanted), window_s),
            lambda: callers.repeated(lambda: caged(next(files)), window_s),
            scale.rounds,
        )
    finally:
        cage.close()
    here_ms, caged_ms = (1000 / statistics.median(rates) for rates in (here, there))
    findings.note(f"decoding {width}x{height}: {here_ms:.2f} ms here, {caged_ms:.2f} ms in the cage ({caged_ms / here_ms:.2f})")


def full(data: bytes, side: int) -> Image.Image:
    """All pixels decoded, then one resize."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
