"""The contact sheet: a dozen queries, each with its histogram and its five nearest in both spaces, as one PNG.

A neighbour of the right class has a green frame and a tick. A neighbour of another class has a red frame and a cross. The
shapes distinguish them without colour.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from lookalike.demo.measure import Hit

INK, FAINT, RULE, PAPER, BAND = "#1b1f24", "#5b6470", "#d5dae0", "#ffffff", "#f4f6f8"
RIGHT, WRONG, BAR = "#1a7f37", "#c62828", "#3b5bdb"
_MARGIN, _TOP, _ROW, _FOOT = 60, 250, 236, 96
_QUERY, _NEIGHBOUR, _STEP = 168, 140, 158
_PLOT_W, _PLOT_H = 330, 150
_X_PLOT = _MARGIN + _QUERY + 50
_X_HISTOGRAM = _X_PLOT + _PLOT_W + 70
_X_SIAMESE = _X_HISTOGRAM + 5 * _STEP + 50
_WIDTH = _X_SIAMESE + 5 * _STEP - (_STEP - _NEIGHBOUR) + _MARGIN


@dataclass(frozen=True, slots=True)
class Row:
    """A query: `pixels` uint8 `[28, 28]`, its class, its 256-bin histogram float32 `[256]` that sums to 1, and its nearest in
    both spaces. `remark` stands under the class, for a row that was chosen for a reason."""

    pixels: npt.NDArray[np.uint8]
    label: str
    histogram: npt.NDArray[np.float32]
    by_histogram: tuple[Hit, ...]
    by_siamese: tuple[Hit, ...]
    remark: str = ""


def draw_sheet(rows: Sequence[Row], pictures: Mapping[str, npt.NDArray[np.uint8]], subtitle: str, path: Path) -> None:
    """Write the sheet to `path`. `pictures` gives every neighbour's pixels by id; `subtitle` stands under the title."""
    sheet = Image.new("RGB", (_WIDTH, _TOP + _ROW * len(rows) + _FOOT), PAPER)
    pen = ImageDraw.Draw(sheet)
    _header(pen, subtitle)
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        if number % 2 == 0:
            pen.rectangle((0, top, _WIDTH, top + _ROW - 1), fill=BAND)
        _query(sheet, pen, row, top + 24)
        _plot(pen, row.histogram, top + 24)
        _neighbours(sheet, pen, row.by_histogram, row.label, pictures, (_X_HISTOGRAM, top + 24))
        _neighbours(sheet, pen, row.by_siamese, row.label, pictures, (_X_SIAMESE, top + 24))
    _footer(pen, sheet.height)
    sheet.save(path, "PNG", optimize=True)


def _header(pen: ImageDraw.ImageDraw, subtitle: str) -> None:
    pen.text((_MARGIN, 44), "Lookalike: nearest neighbours of a dozen pictures", INK, _font(50))
    pen.text((_MARGIN, 112), subtitle, FAINT, _font(26))
    heads = (
        (_MARGIN, "Query", ""),
        (_X_PLOT, "Its histogram", "share of each grey value"),
        (_X_HISTOGRAM, "Five nearest by histogram", "L2 distance under each"),
        (_X_SIAMESE, "Five nearest by Siamese features", "cosine distance under each"),
    )
    for x, head, unit in heads:
        pen.text((x, 176), head, INK, _font(30))
        pen.text((x, 213), unit, FAINT, _font(21))


def _query(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    sheet.paste(_enlarged(row.pixels, _QUERY), (_MARGIN, top))
    pen.text((_MARGIN, top + _QUERY + 6), row.label, INK, _font(25))
    if row.remark:
        x = _MARGIN + pen.textlength(row.label, _font(25)) + 12
        pen.text((x, top + _QUERY + 10), row.remark, FAINT, _font(20))


def _plot(pen: ImageDraw.ImageDraw, histogram: npt.NDArray[np.float32], top: int) -> None:
    """Bars of each grey value's share, to the scale of the second highest: nearly always black alone dwarfs the rest."""
    base, highest = top + _PLOT_H, int(histogram.argmax())
    scale = max(float(np.partition(histogram, -2)[-2]), 1e-6)
    for column in range(_PLOT_W):
        first, last = column * len(histogram) // _PLOT_W, -(-(column + 1) * len(histogram) // _PLOT_W)
        share = float(histogram[first:last].max())
        height = min(round(share / scale * (_PLOT_H - 38)), _PLOT_H - 26)
        if height:
            pen.line((_X_PLOT + column, base - height, _X_PLOT + column, base), BAR)
    x = _X_PLOT + highest * (_PLOT_W - 1) // 255
    if float(histogram[highest]) > 1.1 * scale:
        _cut(pen, x, base - _PLOT_H + 42)
    anchor = "la" if highest < 128 else "ra"
    pen.text((x, top - 6), f"{float(histogram[highest]):.0%} at {highest}", FAINT, _font(20), anchor=anchor)
    pen.line((_X_PLOT, base + 1, _X_PLOT + _PLOT_W, base + 1), FAINT, 2)
    for value in (0, 128, 255):
        x = _X_PLOT + value * (_PLOT_W - 1) // 255
        pen.line((x, base + 2, x, base + 8), FAINT, 2)
        pen.text((x, base + 10), str(value), FAINT, _font(19), anchor="ma")


def _cut(pen: ImageDraw.ImageDraw, x: int, y: int) -> None:
    """The sign that a bar goes on beyond the plot."""
    for lower in (0, 7):
        pen.line((x - 9, y + 4 + lower, x + 9, y - 4 + lower), FAINT, 2)


def _neighbours(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    hits: Sequence[Hit],
    label: str,
    pictures: Mapping[str, npt.NDArray[np.uint8]],
    at: tuple[int, int],
) -> None:
    left, top = at
    for place, hit in enumerate(hits):
        x, right = left + place * _STEP, hit.label == label
        color = RIGHT if right else WRONG
        pen.rectangle((x - 4, top - 4, x + _NEIGHBOUR + 3, top + _NEIGHBOUR + 3), fill=color)
        sheet.paste(_enlarged(pictures[hit.id], _NEIGHBOUR), (x, top))
        _mark(pen, (x + _NEIGHBOUR - 14, top + _NEIGHBOUR - 14), right=right)
        pen.text((x, top + _NEIGHBOUR + 9), hit.label, INK if right else WRONG, _font(21))
        if hit.distance is not None:
            pen.text((x, top + _NEIGHBOUR + 35), f"{hit.distance:.4f}", FAINT, _font(20))


def _mark(pen: ImageDraw.ImageDraw, center: tuple[int, int], *, right: bool) -> None:
    """A tick or a cross in a disc."""
    x, y = center
    pen.ellipse((x - 19, y - 19, x + 19, y + 19), fill=PAPER)
    pen.ellipse((x - 16, y - 16, x + 16, y + 16), fill=RIGHT if right else WRONG)
    if right:
        pen.line((x - 8, y + 1, x - 2, y + 7, x + 9, y - 6), PAPER, 4, joint="curve")
    else:
        pen.line((x - 7, y - 7, x + 7, y + 7), PAPER, 4)
        pen.line((x - 7, y + 7, x + 7, y - 7), PAPER, 4)


def _footer(pen: ImageDraw.ImageDraw, height: int) -> None:
    y = height - _FOOT // 2
    x = _MARGIN + 18
    for right, text in ((True, "same class as the query"), (False, "another class")):
        _mark(pen, (x, y), right=right)
        pen.text((x + 32, y), text, INK, _font(23), anchor="lm")
        x += 70 + round(pen.textlength(text, _font(23))) + 30
    pen.text(
        (_WIDTH - _MARGIN, y),
        "A bar that is cut goes on to the share named above it. Pictures: Fashion-MNIST, Zalando SE, MIT licence.",
        FAINT, _font(21), anchor="rm",
    )  # fmt: skip


def _enlarged(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    """Whole multiples keep the pixels as they are."""
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).convert("RGB")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable font, which needs nothing installed."""
    return ImageFont.load_default(size)
