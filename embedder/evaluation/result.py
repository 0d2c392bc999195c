"""What an evaluation over labelled pictures has found: the record that the table, the JSON and the report are made of.

`labelled` makes it of a bundle, `collection` of a running gateway's collection. No TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.datasets.listings import Skipped
from embedder.evaluation import metrics
from embedder.evaluation.metrics import Scores
from embedder.models.bundle import DataSummary
from lookalike.spaces import HISTOGRAM, HistogramSettings

SHOWN = 10
"""How many neighbours of each query are kept, for people to look at."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded picture, small: `kind` is `png` or `jpeg`. With `pixelated` its pixels are meant to be seen."""

    kind: str
    content: bytes
    pixelated: bool = False


OfRow = Callable[[int], Thumbnail | None]
"""The small picture of a row; None where there is none to be had."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Small pictures of queries and gallery."""

    query: OfRow
    gallery: OfRow


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated: `kind` is `bundle` or `collection`; `fingerprint` that of its main way. `facts` are what
    people may want to know besides: (term, text)."""

    kind: str
    name: str
    fingerprint: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Way:
    """A way of looking, measured: a space by its `name`. `settings` are those of a histogram, None for a model.

    `found` int64 `[n, 10]` are gallery rows, nearest first (-1: nothing there), `distances` float32 `[n, 10]` theirs in the
    metric of the space. `depth` is how far down lists were looked at. `index_recall` is the share of the ten truly nearest that
    the index gave, over `index_queries` queries, where an index was searched.
    """

    name: str
    settings: HistogramSettings | None
    scores: Scores
    found: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]
    depth: int = metrics.DEPTH
    index_recall: float | None = None
    index_queries: int = 0

    @property
    def figures(self) -> dict[str, float]:
        """`p_at_1` ... `knn5_accuracy`; see `metrics.DEFINITIONS`."""
        return metrics.figures(self.scores)


@dataclass(frozen=True)
class Evaluation:
    """`ways` holds the main way first: the model's, or of a collection that of the space which searches use by default. Other
    models follow, then the histograms, the 256-bin baseline before others.

    `dataset` is its name for people; `protocol` and `search` say in words what was looked for where, and how. `queries` names
    those scored (URIs), in the order of every array of `ways`; `gallery` the pictures searched among (URIs, or ids of a
    collection), whose `gallery_labels` int32 `[m]` index `classes`. `alone` queries were left out because nothing in the
    gallery bears their label; `unlabelled` pictures of the gallery bear none. `notes` are what a reader should know before
    believing the figures. `vectors` are the queries' by space, float32 `[n, dim]`, where they are known; `histogram`
    being the baseline's.
    """

    subject: Subject
    dataset: str
    measured_on: DataSummary
    protocol: str
    search: str
    classes: tuple[str, ...]
    ways: tuple[Way, ...]
    queries: tuple[str, ...]
    gallery: tuple[str, ...]
    gallery_labels: npt.NDArray[np.int32]
    vectors: Mapping[str, npt.NDArray[np.float32]]
    thumbnails: Thumbnails
    skipped: tuple[Skipped, ...] = ()
    alone: int = 0
    unlabelled: int = 0
    notes: tuple[str, ...] = ()
    spent_s: float = 0.0

    @property
    def main(self) -> Way:
        return self.ways[0]

    @property
    def baseline(self) -> Way | None:
        """The first histogram beside the main way."""
        return next((way for way in self.ways[1:] if way.settings is not None), None)

    @property
    def figures(self) -> Mapping[str, float]:
        """The main way's."""
        return self.main.figures

    def to_json(self) -> dict[str, Any]:
        """One JSON object: the main way's figures at the top, those of other models under `models`, the 256-bin baseline's
        under `histogram`, and those of other histograms under `histograms`."""
        shown: dict[str, Any] = {
            "subject": {"kind": self.subject.kind, "name": self.subject.name, "fingerprint": self.subject.fingerprint},
            "dataset": asdict(self.measured_on),
            "protocol": self.protocol,
            "search": self.search,
            "queries": len(self.queries),
            "gallery": len(self.gallery),
            **_rounded(self.main),
        }
        models = [{"space": way.name, **_rounded(way)} for way in self.ways[1:] if way.settings is None]
        histograms = []
        for way in self.ways[1:]:
            if way.settings == HistogramSettings() and HISTOGRAM not in shown:
                shown[HISTOGRAM] = _rounded(way)
            elif way.settings is not None:
                histograms.append({"space": way.name, **asdict(way.settings), **_rounded(way)})
        shown |= ({"models": models} if models else {}) | ({"histograms": histograms} if histograms else {})
        confusion = metrics.confusion(self.main.scores, len(self.classes))
        shown |= {
            "map_at_1000_ceiling": round(metrics.ceiling(self.main.scores.relevant), 4),
            "per_class": [_plain(asdict(row)) for row in metrics.per_class(self.main.scores, self.classes)],
            "confusion": {"classes": self.classes, "nearest": confusion.tolist()},
            "queries_alone_in_their_class": self.alone,
            "gallery_without_label": self.unlabelled,
            "skipped": [asdict(one) for one in self.skipped],
            "notes": self.notes,
            "seconds": round(self.spent_s, 1),
            "definitions": metrics.DEFINITIONS,
        }
        return shown


def title(settings: HistogramSettings) -> str:
    """`256 bins`, `16 bins, 4x4 cells, colour`."""
    cells = f", {settings.grid}x{settings.grid} cells" if settings.grid > 1 else ""
    return f"{settings.bins} bins{cells}{', colour' if settings.color else ''}"


def _rounded(way: Way) -> dict[str, object]:
    figures: dict[str, object] = {**metrics.rounded(way.figures)}
    if way.index_recall is not None:
        figures |= {"index_recall_at_10": round(way.index_recall, 4), "index_recall_queries": way.index_queries}
    return figures


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Rounded, and without what is not known: JSON has no NaN."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return {name: value for name, value in rounded.items() if not (isinstance(value, float) and math.isnan(value))}
