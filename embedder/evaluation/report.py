"""The report of an evaluation over labelled pictures: figures, curve, map, classes, confusions, sheet, data.

Called by `lookalike evaluate --report`. `page` has the frame, `drawing` the drawings, `sheet` the best and worst queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedder.evaluation import drawing, metrics, page
from embedder.evaluation.markup import Markup, tag
from embedder.evaluation.metrics import ClassFigures
from embedder.evaluation.projection import tsne
from embedder.evaluation.result import Evaluation, Way, title
from embedder.evaluation.sheet import sheet_section
from embedder.evaluation.table import COLUMNS, ceiling_note, figure, left_out
from embedder.evaluation.vectors import Report
from lookalike.spaces import HISTOGRAM, SIAMESE

MAP_POINTS = 600
_HEADLINE = ("p_at_1", "p_at_5", "p_at_10", "map_at_1000", "map_at_r", "knn5_accuracy")
_CURVES = (None, None, "7 5", "2 5", "10 4 2 4")
_MOST_CLASSES = 60
_MOST_CONFUSED = 12
_HEAT_CLASSES = 30
_WIDE_HEAT = 16


def evaluation_report(found: Evaluation, report: Report = lambda _what, _done, _of: None) -> str:
    """The whole HTML file, some hundred kilobytes. Takes some seconds, mostly for the map."""
    report("writing the report", 0, 2)
    sections = [
        _headline(found),
        tag("div", _curve(found), _all_figures(found), class_="pair"),
        _maps(found),
        _classes(found),
        _confusion(found),
        sheet_section(found),
        page.data_section(
            found.measured_on,
            [("Protocol", found.protocol), ("Search", found.search)],
            found.skipped,
            [*left_out(found, skipped=False), *found.notes],
        ),
        page.card_section(found.subject),
        _definitions(),
    ]
    report("writing the report", 2, 2)
    about = f"{found.protocol[0].upper()}{found.protocol[1:]}. Search is {found.search}."
    return page.page(found.subject, found.dataset, about, sections, seconds=found.spent_s)


def _headline(found: Evaluation) -> Markup:
    baseline = found.baseline
    cards = []
    for name in _HEADLINE:
        value = found.figures.get(name)
        if value is None:
            continue
        below = baseline.figures.get(name) if baseline else None
        cards.append((COLUMNS[name], figure(value), value, baseline.name if baseline else "", below, figure(below)))
    return page.headline(cards)


def _curve(found: Evaluation) -> Markup:
    curves = [
        drawing.Curve(
            name=_short(way),
            values=metrics.precision_curve(way.scores)[: way.depth],
            tone=_tone(way),
            dash=_CURVES[place % len(_CURVES)],
        )
        for place, way in enumerate(found.ways)
    ]
    ends = "; ".join(f"{curve.name}: {figure(curve.values[0])} at 1, {figure(curve.values[-1])} at the end" for curve in curves)
    drawn = drawing.precision_curves(curves, f"P@k against k. {ends}")
    lead = "The share of the k nearest that are of the query's class, as k grows."
    return page.section("Precision, place by place", tag("figure", drawn), lead=lead)


def _all_figures(found: Evaluation) -> Markup:
    names = [name for name in (*COLUMNS, "recall_at_1") if name in COLUMNS and any(name in way.figures for way in found.ways)]
    rows = [page.row(COLUMNS[name], [figure(way.figures.get(name)) for way in found.ways]) for name in names]
    if any(way.index_recall is not None for way in found.ways):
        rows.append(page.row("index recall@10", [figure(way.index_recall) for way in found.ways]))
    heads = [tag("span", "figure", class_="hidden"), *(tag("span", _short(way)) for way in found.ways)]
    note = ceiling_note(found)
    lead = "Every way of looking, over the same queries and the same gallery."
    return page.section(
        "Every figure", page.table("All figures, 0 to 1", heads, rows), page.notes([note] if note else []), lead=lead
    )


def _maps(found: Evaluation) -> Markup | None:
    labels = found.main.scores.labels
    rows = _sample(labels, MAP_POINTS)
    if len(rows) < 4:
        return None
    counts = np.bincount(labels[rows])
    colored = [int(number) for number in np.argsort(-counts, kind="stable")[: len(drawing.PALETTE)] if counts[number]]
    colored.sort()
    figures, drawn_of = [], set[str]()
    for way in found.ways:
        if way.name not in found.vectors or way.name in drawn_of:
            continue
        drawn_of.add(way.name)
        name = "By the model" if way.name == SIAMESE else f"By {way.name}"
        places = tsne(found.vectors[way.name][rows])
        caption = f"{name}: map of {len(rows)} queries, in the colours of their classes"
        drawn = drawing.scatter(places, labels[rows], found.classes, colored, caption)
        figures.append(tag("figure", tag("figcaption", name), drawn, class_=_tone(way)))
    legend = [
        tag("li", tag("i", style=f"background:{drawing.PALETTE[place]}"), found.classes[number])
        for place, number in enumerate(colored)
    ]
    if len(np.flatnonzero(counts)) > len(colored):
        legend.append(tag("li", tag("i", style=f"background:{drawing.OTHER}"), "other classes"))
    lead = (
        f"{len(rows):,} queries, evenly over the classes, laid out by t-SNE: what lies together looks "
        "alike to the space. Only nearness means something, not direction, size or the distance between groups."
    )
    return page.section("Map", tag("div", figures, class_="maps"), tag("ul", legend, class_="legend"), lead=lead)


def _sample(labels: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.int64]:
    """Rows, evenly over the classes and evenly spread within each; in order."""
    classes, counts = np.unique(labels, return_counts=True)
    share = max(1, most // len(classes))
    # What small classes leave over goes to the large ones.
    while share < counts.max() and np.minimum(counts, share + 1).sum() <= most:
        share += 1
    chosen = []
    for number, count in zip(classes, counts, strict=True):
        rows = np.flatnonzero(labels == number)
        chosen.append(rows[np.arange(min(share, count)) * count // min(share, count)])
    return np.sort(np.concatenate(chosen)[:most])


def _classes(found: Evaluation) -> Markup:
    classes = metrics.per_class(found.main.scores, found.classes)
    shown: Sequence[ClassFigures] = classes
    lead = f"The figures of {found.main.name}, class by class."
    if len(classes) > _MOST_CLASSES:
        shown = sorted(classes, key=lambda one: one.p_at_1)[:_MOST_CLASSES]
        lead = f"The figures of {found.main.name} for the {_MOST_CLASSES} weakest of {len(classes):,} classes; --json has all."
    below = found.baseline
    baseline = {one.name: one for one in metrics.per_class(below.scores, found.classes)} if below else {}
    rows = []
    for one in shown:
        bars = [page.bar(one.p_at_1, SIAMESE)]
        if one.name in baseline:
            bars.append(page.bar(baseline[one.name].p_at_1, HISTOGRAM))
        first = page.barred(figure(one.p_at_1), bars)
        rest = (one.p_at_5, one.map_at_1000, one.map_at_r, one.knn5_accuracy)
        rows.append(page.row(one.name, [first, *map(figure, rest), f"{one.queries:,}", f"{one.gallery:,}"]))
    heads = ["class", "P@1", "P@5", "mAP@1000", "mAP@R", "5-NN", "queries", "in gallery"]
    caption = "By class; the lower bar is the histogram's P@1" if baseline else "By class"
    return page.section("Class by class", page.table(caption, heads, rows), lead=lead, class_="long")


def _confusion(found: Evaluation) -> Markup | None:
    counted = metrics.confusion(found.main.scores, len(found.classes))
    asked = np.bincount(found.main.scores.labels, minlength=len(found.classes))
    involved = np.flatnonzero((asked > 0) | (counted.sum(axis=0) > 0))
    shares = counted / np.maximum(asked, 1)[:, None]
    pairs = _most_confused(found.classes, counted, shares)
    lead = "Rows are what was looked for, columns what the nearest picture is, in percent of the row's queries."
    if len(involved) > _HEAT_CLASSES:
        return page.section("Taken for one another", pairs, lead="Which classes the nearest picture is of instead.")
    heads = ["looked for", *(tag("span", found.classes[number]) for number in involved)]
    rows = [
        page.row(found.classes[line], [_cell(float(shares[line, number]), right=line == number) for number in involved])
        for line in involved
        if asked[line]
    ]
    heat = page.table("Nearest picture's class, percent", heads, rows, class_="heat")
    if pairs is None or len(involved) > _WIDE_HEAT:
        return page.section("Taken for one another", heat, lead=lead)
    return tag(
        "div",
        page.section("Taken for one another", heat, lead=lead),
        page.section("Most often", pairs, lead="What the nearest picture is where it is of another class."),
        class_="pair heats",
    )


def _cell(share: float, *, right: bool) -> Markup:
    if not share:
        return tag("td", tag("span", "0", class_="hidden"), class_="none")
    # The square root, so that a few in a hundred can be seen.
    shown = share if right else math.sqrt(share)
    text = f"{share * 100:.0f}" if share >= 0.01 else "<1"
    return tag("td", text, class_="right" if right else "other", style=f"--v:{shown:.3f}")


def _most_confused(classes: Sequence[str], counted: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> Markup | None:
    wrong = counted.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [
        page.row(
            classes[one], [tag("td", classes[other], class_="text"), f"{counted[one, other]:,}", f"{shares[one, other]:.1%}"]
        )
        for one, other in pairs
        if wrong[one, other]
    ]
    if not rows:
        return None
    return page.table(
        "Most frequent confusions",
        ["looked for", tag("th", "nearest", scope="col", class_="text"), "queries", "of its class"],
        rows,
    )


def _definitions() -> Markup:
    names = {"p_at_k": "P@k", "recall_at_k": "recall@k (R@k)", "map_at_1000": "mAP@1000", "map_at_r": "mAP@R",
             "knn5_accuracy": "5-NN", "confusion": "confusion"}  # fmt: skip
    return page.section("What the figures say", page.facts((names[key], text) for key, text in metrics.DEFINITIONS.items()))


def _tone(way: Way) -> str:
    """The class of the style sheet that has its colour."""
    return SIAMESE if way.settings is None else HISTOGRAM


def _short(way: Way) -> str:
    if way.settings is None or way.name != HISTOGRAM:
        return way.name
    caption = title(way.settings)
    return HISTOGRAM if caption == "256 bins" else caption
