"""What the demo found: its figures, what is unexpected among them, and both as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.client import Job
from lookalike.demo.measure import Measured

EXPECTED_P5 = {"histogram": (0.34, 0.42), "siamese": (0.88, 1.0)}
"""Measured over this very split with the shipped model; the plain histogram is the honest weak one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the demo measured. Times in seconds."""

    collection: str
    images: int
    queries: int
    threads: int
    upload_s: float
    ingest_s: float
    job: Job
    measured: tuple[Measured, ...]

    @property
    def images_per_s(self) -> float:
        """Images a second from the job's creation to its end: read, decoded, embedded in both spaces, written."""
        return self.job.counts.indexed / self.ingest_s if self.ingest_s > 0 else 0.0


def surprises(measured: Sequence[Measured]) -> list[str]:
    """A line for each figure that is not what it should be."""
    lines = []
    for one in measured:
        low, high = EXPECTED_P5.get(one.way, (0.0, 1.0))
        if not low <= one.precision_at_5 <= high:
            lines.append(f"P@5 of {one.way} is {one.precision_at_5:.3f}; between {low:.2f} and {high:.2f} was expected")
    return lines


def write_json(figures: Figures, path: Path) -> None:
    """Write the figures to `path`."""
    counts = figures.job.counts
    content = {
        "dataset": "Fashion-MNIST, test pictures",
        "collection": figures.collection,
        "images": figures.images,
        "queries": figures.queries,
        "threads": figures.threads,
        "ingest": {
            "job": figures.job.id,
            "state": figures.job.state.value,
            "submitted": counts.submitted,
            "indexed": counts.indexed,
            "skipped": counts.skipped,
            "failed": counts.failed,
            "upload_s": round(figures.upload_s, 3),
            "ingest_s": round(figures.ingest_s, 3),
            "images_per_s": round(figures.images_per_s, 1),
        },
        "spaces": {
            "fused" if one.way.startswith("both") else one.way: {
                "P@1": round(one.precision_at_1, 4),
                "P@5": round(one.precision_at_5, 4),
                "queries_per_s": round(one.queries_per_s, 1),
                "p50_ms": round(one.p50_ms, 2),
                "p95_ms": round(one.p95_ms, 2),
            }
            for one in figures.measured
        },
        "surprises": surprises(figures.measured),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
