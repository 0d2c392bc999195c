"""The figures: from ranked lists of labels to P@k, recall@k, mAP and k-NN accuracy, each defined here and nowhere else.

NumPy only. `score` works on as many queries as it is given, so callers go block by block and `join` the results; what is kept
per query is about a kilobyte. Throughout, `rel_k` is 1 where the k-th nearest bears the query's label and else 0, and R is how
many pictures of the gallery bear it. A place of a list that nothing stands at (a gallery smaller than k) counts as not
relevant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

KS = (1, 5, 10)
DEPTH = 1000
"""The depth of `map_at_1000` and of the curve of P@k."""
NEIGHBOURS = 5
"""k of the k-NN accuracy."""
NOTHING = -1
"""The label of a place at which nothing stands, and of a picture without a label."""

DEFINITIONS = {
    "p_at_k": "share of the k nearest that bear the query's label, averaged over the queries",
    "recall_at_k": "share of the queries of whose k nearest at least one bears their label (Oh Song et al., arXiv 1511.06452)",
    "map_at_1000": "mean over the queries of (1/1000) * sum over k <= 1000 of rel_k * P@k",
    "map_at_r": "mean over the queries of (1/R) * sum over k <= R of rel_k * P@k, R being how many pictures of the gallery "
    "bear the query's label (Musgrave et al., arXiv 2003.08505)",
    "knn5_accuracy": "share of the queries whose label is the most frequent among their 5 nearest; of equally frequent ones "
    "that of the nearest picture",
    "confusion": "rows are the queries' classes, columns the class of the nearest picture",
}


@dataclass(frozen=True)
class Scores:
    """What became of each query. All arrays have a row per query.

    `labels` int32 `[n]`; `relevant` int64 `[n]`, the R of each; `right` bool `[n, 1000]`, the rel_k; `average_precision` and
    `r_precision_ap` float64 `[n]`, the terms of `map_at_1000` and `map_at_r` (NaN where the list is too short to
    say); `nearest` and `voted` int32 `[n]`, the label of the nearest and that chosen by the five nearest.
    """

    labels: npt.NDArray[np.int32]
    relevant: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    average_precision: npt.NDArray[np.float64]
    r_precision_ap: npt.NDArray[np.float64]
    nearest: npt.NDArray[np.int32]
    voted: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of one class: means over its `queries`; `gallery` pictures bear its label (the query itself not counted)."""

    name: str
    queries: int
    gallery: int
    p_at_1: float
    p_at_5: float
    map_at_1000: float
    map_at_r: float
    knn5_accuracy: float


def score(
    ranked: npt.NDArray[np.int32], labels: npt.NDArray[np.int32], relevant: npt.NDArray[np.int64], *, complete: bool = True
) -> Scores:
    """Score lists of labels, nearest first: int32 `[n, k]`, `NOTHING` where a list has ended.

    `complete` says that lists reach at least to R or to the end of the gallery; if not, `map_at_r` is known only of queries
    whose R is at most k.
    """
    right = ranked == labels[:, None]
    right &= ranked != NOTHING
    return Scores(
        labels=labels,
        relevant=relevant,
        right=_padded(right, DEPTH),
        average_precision=_gain(right[:, :DEPTH]).sum(axis=1) / DEPTH,
        r_precision_ap=_ap_at_r(right, relevant, complete=complete),
        nearest=ranked[:, 0].copy() if ranked.shape[1] else np.full(len(labels), NOTHING, np.int32),
        voted=vote(ranked[:, :NEIGHBOURS]),
    )


def join(parts: Sequence[Scores]) -> Scores:
    """The scores of several blocks of queries as one."""
    return Scores(**{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Scores)})


def figures(scores: Scores) -> dict[str, float]:
    """`p_at_1` ... `knn5_accuracy`, each 0 to 1 (`DEFINITIONS`), by name; `map_at_1000` and `map_at_r` only
    where they are known of every query.

    Raises ZeroDivisionError without queries: callers have refused that before.
    """
    found: dict[str, float] = {}
    for k in KS:
        found[f"p_at_{k}"] = scores.right[:, :k].sum() / (k * len(scores))
    for k in KS:
        found[f"recall_at_{k}"] = scores.right[:, :k].any(axis=1).sum() / len(scores)
    for name, terms in (("map_at_1000", scores.average_precision), ("map_at_r", scores.r_precision_ap)):
        if not np.isnan(terms).any():
            found[name] = terms.mean()
    found["knn5_accuracy"] = (scores.voted == scores.labels).mean()
    return {name: float(value) for name, value in found.items()}


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """To four digits, as figures are shown and kept."""
    return {name: round(value, 4) for name, value in figures.items()}


def ceiling(relevant: npt.NDArray[np.int64]) -> float:
    """The highest `map_at_1000` that any ranking could have: the mean of min(R, 1000) / 1000."""
    return float(np.minimum(relevant, DEPTH).mean() / DEPTH)


def precision_curve(scores: Scores) -> npt.NDArray[np.float64]:
    """P@k for k = 1 to 1,000: float64 `[1000]`."""
    places = np.arange(1, scores.right.shape[1] + 1)
    return np.asarray(scores.right.sum(axis=0).cumsum() / (places * len(scores)), np.float64)


def per_class(scores: Scores, classes: Sequence[str]) -> tuple[ClassFigures, ...]:
    """The figures of every class that has queries, in order of class."""
    rows = []
    for number, name in enumerate(classes):
        mine = scores.labels == number
        if not mine.any():
            continue
        right = scores.right[mine]
        rows.append(
            ClassFigures(
                name=name,
                queries=int(mine.sum()),
                gallery=int(scores.relevant[mine].max()),
                p_at_1=float(right[:, 0].mean()),
                p_at_5=float(right[:, :5].mean()),
                map_at_1000=float(scores.average_precision[mine].mean()),
                map_at_r=float(scores.r_precision_ap[mine].mean()),
                knn5_accuracy=float((scores.voted[mine] == number).mean()),
            )
        )
    return tuple(rows)


def confusion(scores: Scores, classes: int) -> npt.NDArray[np.int64]:
    """int64 `[classes, classes]`: how many queries of the row's class have a nearest picture of the column's class. A nearest
    picture without a label stands in no column."""
    counted = np.zeros((classes, classes), np.int64)
    answered = scores.nearest != NOTHING
    np.add.at(counted, (scores.labels[answered], scores.nearest[answered]), 1)
    return counted


def vote(nearest: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The most frequent label of each row of int32 `[n, k]` (nearest first), of equally frequent ones the one that comes first;
    `NOTHING` has no vote, and wins only where nothing else stands: int32 `[n]`."""
    if not nearest.shape[1]:
        return np.full(len(nearest), NOTHING, np.int32)
    votes = (nearest[:, :, None] == nearest[:, None, :]).sum(axis=2)
    votes[nearest == NOTHING] = 0
    # argmax gives the first of equals, and the label that comes first is that of the nearest.
    return np.asarray(nearest[np.arange(len(nearest)), votes.argmax(axis=1)], np.int32)


def _gain(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """rel_k * P@k: float64, of the same shape."""
    places = np.arange(1, right.shape[1] + 1, dtype=np.float64)
    return np.asarray(right.cumsum(axis=1, dtype=np.int32) / places * right, np.float64)


def _ap_at_r(right: npt.NDArray[np.bool_], relevant: npt.NDArray[np.int64], *, complete: bool) -> npt.NDArray[np.float64]:
    within = np.arange(right.shape[1]) < relevant[:, None]
    summed = (_gain(right) * within).sum(axis=1)
    unknown = (relevant < 1) | (not complete and relevant > right.shape[1])
    return np.where(unknown, np.nan, summed / np.maximum(relevant, 1))


def _padded(right: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    missing = width - right.shape[1]
    return right[:, :width].copy() if missing <= 0 else np.pad(right, ((0, 0), (0, missing)))
