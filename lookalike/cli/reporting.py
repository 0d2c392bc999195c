"""A job's report on a terminal: totals, the share of each stage, and a chart of the rate over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from lookalike.cli.fitting import put
from lookalike.cli.progress import counts_text
from lookalike.cli.terminal import console, table

if TYPE_CHECKING:
    from lookalike.client import Rate, Report

STAGES = {
    "read": "reading sources and stored images",
    "decode": "decoding pictures, in the embedder",
    "embed": "waiting for vectors",
    "write": "writing to Milvus",
    "wait": "waiting for the collection's write lock",
}
_ROWS = 24
"""Bounds the bars of the chart, which fits on a screen."""
_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_report(report: Report) -> None:
    """Print a report on standard output."""
    out, job = console(), report.job
    lines = [
        f"job {job.id}, collection {job.collection}: {job.standing}",
        counts_text(job.counts),
        f"{_seconds(report.elapsed):,.1f} s, of which {_seconds(report.planning):,.1f} s until the source was planned; "
        f"{report.items_per_s:,.1f} items/s after that",
    ]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    if report.stage_durations:
        _print_stages(report.stage_durations)
    if report.rates:
        _print_rates(report.rates)


def bars(rates: Sequence[Rate]) -> list[tuple[float, float, float]]:
    """(start in seconds, items per second, share of the highest) of at most `_ROWS` equal stretches of as many of `rates`."""
    together = -(-len(rates) // _ROWS)
    groups = [rates[at : at + together] for at in range(0, len(rates), together)]
    # The last stretch may be shorter: its items per second are over its own length.
    speeds = [sum(rate.items for rate in group) / sum(_seconds(rate.duration) for rate in group) for group in groups]
    top = max(speeds, default=0.0) or 1.0
    return [(_seconds(group[0].start_offset), speed, speed / top) for group, speed in zip(groups, speeds, strict=True)]


def bar_text(share: float) -> str:
    """A bar of up to 40 columns, exact to an eighth of a column."""
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


def _print_stages(stages: Mapping[str, timedelta]) -> None:
    total = sum(stages.values(), timedelta()) or timedelta(seconds=1)
    heads, title, numbers = ("stage", "seconds", "share"), "time of chunks by stage", ("seconds", "share")
    rows, narrow = table(*heads, "", "meaning", title=title, numbers=numbers), table(*heads, title=title, numbers=numbers)
    rows.columns[3].no_wrap = True
    for stage in [*STAGES, *sorted(stages.keys() - STAGES.keys())]:
        if stage in stages:
            share = stages[stage] / total
            seconds = f"{_seconds(stages[stage]):,.1f}"
            rows.add_row(stage, seconds, f"{share:.0%}", bar_text(share / 2), STAGES.get(stage, ""))
            narrow.add_row(stage, seconds, f"{share:.0%}")
    put(console(), rows, narrow=narrow)


def _print_rates(rates: Sequence[Rate]) -> None:
    heads, numbers = ("from", "items/s", ""), ("from", "items/s", "")
    rows, narrow = (table(*heads, title="rate over time", numbers=numbers) for _ in range(2))
    for made, part in ((rows, 1.0), (narrow, 0.5)):
        made.columns[2].justify = "left"
        for start_s, speed, share in bars(rates):
            made.add_row(f"{start_s:,.0f} s", f"{speed:,.0f}", bar_text(share * part))
    put(console(), rows, narrow=narrow)
