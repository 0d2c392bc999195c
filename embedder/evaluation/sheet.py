"""The contact sheet of a report: the queries that went best and worst, each with its five nearest. Called by `report`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from embedder.evaluation import page
from embedder.evaluation.markup import Markup, tag
from embedder.evaluation.metrics import NOTHING
from embedder.evaluation.result import SHOWN, Evaluation

ROWS = 8
NEIGHBOURS = 5


def sheet_section(found: Evaluation) -> Markup:
    best, worst = choose(found)
    lead = (
        "By the share of their ten nearest that are of their class, then by average precision. Each with its five nearest, "
        "nearest first: ✓ of the same class, ✗ of another; under each its class and distance (1 - cos)."
    )
    sheets = tag("div", _sheet(found, best, "Best"), _sheet(found, worst, "Worst"), class_="sheets")
    return page.section("Best and worst queries", sheets, lead=lead, class_="long")


def choose(found: Evaluation) -> tuple[list[int], list[int]]:
    """Rows of the `ROWS` best queries, best first, and of the `ROWS` worst, worst first; no row in both. Of worst ones equally
    bad, that with the nearer neighbour stands first: the model was the surer of it."""
    scores = found.main.scores
    hits = scores.right[:, :SHOWN].sum(axis=1)
    precision = np.nan_to_num(np.where(np.isnan(scores.r_precision_ap), scores.average_precision, scores.r_precision_ap))
    near = np.nan_to_num(found.main.distances[:, 0], nan=np.inf)
    # Each class has a bound, so that the sheet shows more than the easiest and the hardest.
    share = -(-ROWS // len(np.unique(scores.labels)))
    best = _of_many_classes(found, np.lexsort((near, -precision, -hits)), set(), share)
    worst = _of_many_classes(found, np.lexsort((near, precision, hits)), set(best), share + 1)
    return best, worst


def _of_many_classes(found: Evaluation, order: npt.NDArray[np.int64], taken: set[int], share: int) -> list[int]:
    chosen: list[int] = []
    seen: Counter[int] = Counter()
    for row in map(int, order):
        label = int(found.main.scores.labels[row])
        if row not in taken and seen[label] < share:
            seen[label] += 1
            chosen.append(row)
        if len(chosen) == ROWS:
            break
    return chosen


def _sheet(found: Evaluation, rows: list[int], name: str) -> Markup:
    return tag("div", tag("h3", name), tag("ul", [_query(found, row) for row in rows]), class_="sheet")


def _query(found: Evaluation, row: int) -> Markup:
    label = int(found.main.scores.labels[row])
    name = found.classes[label]
    shown, hint = found.thumbnails.query(row), found.queries[row]
    asked = page.shot(shown, f"query of class {name}", name, hint=hint, tone="asked")
    near = zip(found.main.found[row, :NEIGHBOURS], found.main.distances[row], strict=False)
    shots = [_neighbour(found, int(place), float(distance), label) for place, distance in near if place >= 0]
    return tag("li", asked, tag("div", shots, class_="found"))


def _neighbour(found: Evaluation, place: int, distance: float, asked: int) -> Markup:
    label = int(found.gallery_labels[place])
    name = "no label" if label == NOTHING else found.classes[label]
    right = label == asked
    caption = f"{'same class' if right else 'another class'}: {name}"
    return page.shot(
        found.thumbnails.gallery(place), caption, name,
        hint=f"{name} · {found.gallery[place]}", tone="right" if right else "other",
        mark=tag("i", "✓" if right else "✗", class_="mark", aria_hidden="true"),
        below=tag("span", f"{distance:.3f}", class_="far"),
    )  # fmt: skip
