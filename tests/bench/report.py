"""The bench for people and programs: the table on the terminal, the plot, and the files. Called by `__main__` after each group.

In the plot every bar is how far a row comes beside its own must: 1 is the must, to the right is better whichever way the row
counts, and a notch marks the aim.
"""

from __future__ import annotations

import functools
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from embedder.cores import usable_cores
from lookalike.cli.terminal import console, duration_text, table
from lookalike.demo.sheet import BAND, BAR, FAINT, INK, PAPER, RIGHT, RULE, WRONG
from tests.bench.rows import Findings, Row, Spec, Verdict
from tests.bench.scales import Scale

COLORS = {Verdict.AIM: RIGHT, Verdict.MUST: BAR, Verdict.SHORT: WRONG}
_STYLES = {Verdict.AIM: "green", Verdict.MUST: "blue", Verdict.SHORT: "bold red"}
_MARGIN, _TOP, _ROW, _FOOT = 40, 130, 44, 60
_NAMES, _BARS, _FIGURES = 300, 760, 520
_WIDTH = 2 * _MARGIN + _NAMES + _BARS + _FIGURES
_REACH = 2.0
"""Bars end at twice the must; the figures say the rest."""


def write(findings: Findings, folder: Path) -> None:
    """bench.json, bench-rounds.json and bench.png in `folder`, with what has been found so far."""
    (folder / "bench.json").write_text(findings.as_json(), encoding="utf-8")
    (folder / "bench-rounds.json").write_text(findings.rounds_as_json(), encoding="utf-8")
    draw(findings.rows, folder / "bench.png")


def show(findings: Findings, scale: Scale, spent_s: float) -> None:
    """Print the table, what stands beside it, and what is missing."""
    out = console()
    out.print(made_table(findings.rows))
    for line in findings.notes:
        out.print(f"  {line}", markup=False)
    for name, reason in findings.missing.items():
        out.print(f"  {name} could not be measured: {reason}", style="bold red", markup=False)
    cores = usable_cores()
    out.print(f"  {cores} cores, {scale.vectors:,} vectors a collection, {scale.rounds} rounds, {duration_text(spent_s)}")


def made_table(rows: list[Row]) -> Table:
    columns = ("ours", "limit", "ratio", "rounds", "must", "aim")
    made = table("row", *columns, "", numbers=columns)
    for row in rows:
        spec, sign = row.spec, ">=" if row.spec.better == "higher" else "<="
        spread = f"{row.spread[0]:.2f}-{row.spread[1]:.2f}" if row.spread else ""
        made.add_row(
            f"{spec.name}: {spec.title} ({spec.unit})", figure(row.ours), figure(row.limit), f"{row.ratio:.3f}", spread,
            f"{sign} {spec.must:g}", f"{spec.aim:g}", row.verdict.value, style=_STYLES[row.verdict],
        )  # fmt: skip
    return made


def figure(value: float) -> str:
    """Three digits that count, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def progress(spec: Spec, ratio: float) -> float:
    """How far `ratio` comes: 1 is the must, above it is better. 0 to infinity."""
    return ratio / spec.must if spec.better == "higher" else spec.must / ratio if ratio > 0 else _REACH


def draw(rows: list[Row], path: Path) -> None:
    """Write the plot of `rows` to `path` as PNG."""
    sheet = Image.new("RGB", (_WIDTH, _TOP + _ROW * max(1, len(rows)) + _FOOT), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 26), "Lookalike beside the limit", INK, _font(38))
    pen.text((_MARGIN, 78), "each bar: how far the row comes beside its must, to the right is better", FAINT, _font(20))
    left, bottom = _MARGIN + _NAMES, _TOP + _ROW * len(rows)
    for number, row in enumerate(rows):
        _bar(pen, row, left, _TOP + _ROW * number, shaded=number % 2 == 0)
    x = left + round(_BARS / _REACH)
    pen.line((x, _TOP - 6, x, bottom + 4), INK, 2)
    pen.text((x, bottom + 8), "must", INK, _font(20), anchor="ma")
    _legend(pen, bottom + 20)
    sheet.save(path, "PNG", optimize=True)


def _bar(pen: ImageDraw.ImageDraw, row: Row, left: int, top: int, *, shaded: bool) -> None:
    spec, middle = row.spec, top + _ROW // 2
    if shaded:
        pen.rectangle((0, top, _WIDTH, top + _ROW - 1), fill=BAND)
    pen.text((_MARGIN, middle), spec.name, INK, _font(21), anchor="lm")
    length = round(min(progress(spec, row.ratio), _REACH) / _REACH * _BARS)
    pen.rectangle((left, top + 10, left + length, top + _ROW - 11), fill=COLORS[row.verdict])
    aim = left + round(min(progress(spec, spec.aim), _REACH) / _REACH * _BARS)
    pen.polygon(((aim, top + 10), (aim - 6, top + 1), (aim + 6, top + 1)), fill=INK)
    sign = ">=" if spec.better == "higher" else "<="
    x = left + _BARS + 20
    pen.text((x, middle), f"{row.ratio:.3f}", COLORS[row.verdict], _font(22), anchor="lm")
    said = f"{sign} {spec.must:g}, aim {spec.aim:g};  {figure(row.ours)} / {figure(row.limit)} {spec.unit}"
    pen.text((x + 84, middle), said, FAINT, _font(19), anchor="lm")


def _legend(pen: ImageDraw.ImageDraw, top: int) -> None:
    x = _MARGIN
    for verdict, color in COLORS.items():
        pen.rectangle((x, top, x + 16, top + 16), fill=color)
        pen.text((x + 24, top + 8), verdict.value, INK, _font(19), anchor="lm")
        x += 44 + round(pen.textlength(verdict.value, _font(19)))
    pen.line((_MARGIN, top - 10, _WIDTH - _MARGIN, top - 10), RULE)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable font, which needs nothing installed."""
    return ImageFont.load_default(size)
