"""SVG for the reports: curves of P@k, and maps. Colours come from the page's style, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.evaluation.markup import Markup, tag

PALETTE = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#3fa7a0", "#d4a92a", "#f0849b", "#9c755f", "#7d8fe0")
"""After Tableau's ten: distinct on white and on near-black alike."""
OTHER = "#9aa19d"
_WIDTH, _HEIGHT = 500, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 128, 12, 44
_MAP = 520
_MARGIN = 34
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LABEL_APART = 16
_LETTER = 7.6


@dataclass(frozen=True, slots=True)
class Curve:
    """`values` (0 to 1) for k = 1, 2, ...; `tone` is the style's word for its colour, `dash` an SVG dash pattern or none."""

    name: str
    values: npt.NDArray[np.float64]
    tone: str
    dash: str | None = None


def precision_curves(curves: Sequence[Curve], title: str) -> Markup:
    """P@k against k on a logarithmic axis; each line bears its name at its end."""
    deepest = max(len(curve.values) for curve in curves)
    span = math.log10(max(2, deepest))

    def x(k: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log10(k) / span

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value)

    grid: list[Markup] = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        grid.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_n(y(tick)), y2=_n(y(tick)), class_="axis"))
        grid.append(tag("text", f"{tick:g}".removeprefix("0") or "0", x=_LEFT - 8, y=_n(y(tick) + 4), text_anchor="end"))
    shown = (k for k in _TICKS if k <= deepest)
    grid += [tag("text", f"{k:,}", x=_n(x(k)), y=_HEIGHT - _BOTTOM + 20, text_anchor="middle") for k in shown]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    grid.append(tag("text", "k, how many neighbours are looked at", x=_n(middle), y=_HEIGHT - 6, text_anchor="middle"))
    lines = [_line(curve, x, y) for curve in curves]
    ends = _apart([y(float(curve.values[-1])) for curve in curves])
    names = [
        tag("text", curve.name, x=_n(x(len(curve.values)) + 8), y=_n(end + 4), class_=f"end {curve.tone}")
        for curve, end in zip(curves, ends, strict=True)
    ]
    return _svg(_WIDTH, _HEIGHT, title, grid, lines, names)


def scatter(
    places: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], classes: Sequence[str], colored: Sequence[int], title: str
) -> Markup:
    """A map: `places` `[n, 2]` in the colours of their classes; those `colored` bear their names, the others are grey."""
    low, high = places.min(axis=0), places.max(axis=0)
    at = _MARGIN + (_MAP - 2 * _MARGIN) * (places - low) / np.maximum(high - low, 1e-9)  # each axis fills the map
    color = {number: PALETTE[place % len(PALETTE)] for place, number in enumerate(colored)}
    order = sorted(range(len(at)), key=lambda row: int(labels[row]) in color)
    points = [
        tag(
            "circle",
            cx=_n(float(at[row, 0])),
            cy=_n(float(at[row, 1])),
            r=4,
            fill=color.get(int(labels[row]), OTHER),
            class_="point",
        )
        for row in order
    ]
    hearts = []
    for number in colored:
        if (labels == number).any():
            x, y = _heart(at[labels == number]).tolist()
            hearts.append((classes[number], x, y))
    names = [tag("text", name, x=_n(x), y=_n(y + 4), class_="where") for name, x, y in _not_touching(hearts)]
    return _svg(_MAP, _MAP, title, points, names)


def _not_touching(names: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Names at their places (centre x, y), moved down where they would lie over one another."""
    placed: list[tuple[str, float, float]] = []
    for name, x, wanted in sorted(names, key=lambda one: one[2]):
        y = wanted
        half = _LETTER * len(name) / 2
        for other, other_x, other_y in placed:
            if abs(other_x - x) < half + _LETTER * len(other) / 2 and abs(other_y - y) < _LABEL_APART:
                y = other_y + _LABEL_APART
        placed.append((name, x, y))
    return placed


def _heart(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The one of `points` with the most others near it, in the mean."""
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    return np.asarray(points[np.sqrt(distances).sum(axis=1).argmin()], np.float32)


def _line(curve: Curve, x: object, y: object) -> Markup:
    ks = sorted({round(10 ** (step / 60)) for step in range(181)} & set(range(1, len(curve.values) + 1)) | {len(curve.values)})
    points = " ".join(f"{_n(x(k))},{_n(y(float(curve.values[k - 1])))}" for k in ks)  # type: ignore[operator]
    return tag("polyline", points=points, class_=f"line {curve.tone}", stroke_dasharray=curve.dash)


def _apart(wanted: Sequence[float]) -> list[float]:
    """Heights of labels, moved down as little as keeps them from touching."""
    placed = list(wanted)
    last = -math.inf
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        last = placed[index] = max(wanted[index], last + _LABEL_APART)
    return placed


def _svg(width: int, height: int, title: str, *children: object) -> Markup:
    return tag(
        "svg", tag("title", title), *children, viewBox=f"0 0 {width} {height}", role="img", xmlns="http://www.w3.org/2000/svg"
    )


def _n(value: float) -> str:
    return f"{value:.1f}"
