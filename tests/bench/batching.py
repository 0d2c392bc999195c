"""Rows of the batcher: 64 threads with one decoded picture each, beside the bare traced tower fed full batches.

In this process, without decoding, histograms or gRPC: what lies between the two figures is queueing, waking callers, laying
batches together and taking them apart.
"""

from __future__ import annotations

from tests.bench import callers
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale

MODELS = ("fashion", "photo")
CALLERS, BATCH = 64, 32


def measure(scale: Scale, findings: Findings) -> None:
    for name in MODELS:
        _measure(name, scale, findings)


def _measure(name: str, scale: Scale, findings: Findings) -> None:
    from tests.bench.pipeline import pipeline, tower

    parts, model = pipeline(), tower(name)
    pixels, bare = model.pixels(BATCH), model.bare(BATCH)

    def batcher() -> float:
        return callers.rate(
            lambda number: parts.compute(model, pixels[number % BATCH]),
            callers=CALLERS,
            window_s=scale.window_s,
        )

    findings.add(
        f"batcher_{name}",
        *interleaved(batcher, lambda: callers.repeated(lambda: bare(pixels), scale.window_s, BATCH), scale.rounds),
    )
