"""How good a tower is, on whichever Keras backend trained it: exact search over pictures in memory.

The figures are those of `embedder.evaluation.metrics`. Where TensorFlow trains, finished bundles are measured by
`embedder.evaluation.labelled` instead, through the embedder's own function.
"""

from __future__ import annotations

import hashlib

import keras
import numpy as np
import numpy.typing as npt

from embedder.datasets.data import LabelledImages
from embedder.evaluation import metrics
from embedder.evaluation.exact import make_task, nearest, scored
from embedder.models.bundle import DataSummary, InputSpec
from embedder.training.embedding import embed_pixels
from lookalike.spaces import Metric

WATCHED = 2000
"""Pictures at most that a run under way is measured on after each epoch."""


def p_at_1(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
    """Leave-one-out: the share of `vectors` (`[n, dim]`, unit rows) whose nearest other bears their label."""
    found = nearest(vectors, vectors, 1, Metric.COSINE, own=np.arange(len(vectors)))[:, 0]
    return float((labels[found] == labels).mean())


def figures(
    tower: keras.Model, spec: InputSpec, queries: LabelledImages, gallery: LabelledImages | None = None
) -> tuple[dict[str, float], DataSummary]:
    """`p_at_1` and the rest: `queries` looked for in `gallery`, or, where there is none, each among the others."""
    asked = embed_pixels(tower, spec, queries.pixels)
    own = np.arange(len(queries)) if gallery is None else None
    among, labels = (asked, queries.labels) if gallery is None else (embed_pixels(tower, spec, gallery.pixels), gallery.labels)
    task = make_task(queries.labels, labels, own, queries.name)
    scores = metrics.join([part for _, part in scored(task, asked[task.rows], among, Metric.COSINE)])
    return metrics.rounded(metrics.figures(scores)), _summary(queries, gallery)


def _summary(queries: LabelledImages, gallery: LabelledImages | None) -> DataSummary:
    one = queries.summary
    if gallery is None:
        return one
    other = gallery.summary
    digest = hashlib.sha256(f"{one.digest} {other.digest}".encode()).hexdigest()[:16]
    name, images = f"{one.name} among {other.name}", one.images + other.images
    return DataSummary(name, images, one.classes, one.licence, one.source, digest)
