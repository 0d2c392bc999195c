"""What `lookalike models` prints: versions, comparisons and one model in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from lookalike.cli.fitting import put
from lookalike.cli.terminal import console, table, time_text

if TYPE_CHECKING:
    from embedder.models.bundle import Bundle, DataSummary
    from embedder.registry.comparison import Comparison
    from embedder.registry.record import Change

_HEADLINES = {"p_at_1": "P@1", "p_at_5": "P@5", "map_at_1000": "mAP@1000", "r_at_1_mean": "R@1 after attacks"}
"""What stands in a list, where a bundle has it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A version in a list. `source` says where its files are, `since` when the registry
    got it. `deleted`: its files are gone, and `size_bytes` is 0."""

    name: str
    fingerprint: str
    state: Literal["current", "live", "retired"]
    source: Literal["shipped", "registry"]
    metrics: Mapping[str, float]
    measured_on: DataSummary | None
    size_bytes: int
    since: datetime | None
    deleted: bool = False


def print_list(rows: Sequence[Listed]) -> None:
    """A row for each; on a narrow terminal cells share columns, so that a version stays on one line and can be copied."""
    heads = ("model", "version", "state", "from", "figures", "measured on", "size", "since")
    shared = ("model, version", "state, from", "figures, measured on", "size, since")
    shown, narrow = table(*heads, numbers=("version", "size")), table(*shared)
    narrow.columns[0].no_wrap = True
    for one in rows:
        style = {"current": "bold", "live": "", "retired": "dim"}[one.state]
        state = f"{one.state}, deleted" if one.deleted else one.state
        size = "-" if one.deleted else f"{one.size_bytes / 1e6:.1f} MB"
        measured = one.measured_on.name if one.measured_on else "-"
        cells = (one.name, one.fingerprint, state, one.source, figures_text(one.metrics), measured, size, time_text(one.since))
        shown.add_row(*cells, style=style)
        narrow.add_row(*map("\n".join, zip(cells[::2], cells[1::2], strict=True)), style=style)
    put(console(), shown, narrow=narrow, listing=True)


def print_comparison(comparison: Comparison) -> None:
    """Every figure that both have, the one that decides first."""
    from rich.text import Text

    numbers = ("current", "new", "change")
    shown = table("figure", *numbers, title=f"measured on {comparison.measured_on}", numbers=numbers)
    for name in comparison.common:
        current, new = comparison.current[name], comparison.new[name]
        style = "bold" if name == comparison.headline else ""
        mark = "" if abs(new - current) < 5e-5 else "green" if new > current else "red"
        change = Text(f"{new - current:+.4f}" if mark else "0.0000", style=mark)
        shown.add_row(name, f"{current:.4f}", f"{new:.4f}", change, style=style)
    put(console(), shown)


def print_bundle(bundle: Bundle, state: str, source: str) -> None:
    """A version in full."""
    out = console()
    out.print(f"[bold]{bundle.name}@{bundle.fingerprint}[/bold]  {state}, from {source}", markup=True)
    tower, spec = bundle.tower, bundle.input
    shape = f"{tower.input_size} x {tower.input_size} {'RGB' if tower.channels == 3 else 'grey'}"
    kept = f", of which {tower.kept_dim} kept from the standardised scales" if tower.kept_dim else ""
    rows = [
        ("tower", f"{tower.backbone}, head {tower.head}: {shape} ({spec.fit}{', mirrored too' if spec.mirror else ''})"),
        ("vectors", f"{tower.embedding_dim} numbers{kept}, compared by cosine"),
        ("weights", f"{sum(array.size for array in bundle.weights):,} numbers, kept as {bundle.storage}"),
        ("licence", bundle.licence),
        *(("trained on", str(data)) for data in bundle.trained_on),
        *([("measured on", str(bundle.measured_on))] if bundle.measured_on else []),
        *((key.replace("_", " "), str(value)) for key, value in bundle.provenance.items()),
    ]
    _print_pairs(rows)
    if bundle.metrics:
        shown = table("figure", "value", numbers=("value",))
        for name, value in bundle.metrics.items():
            shown.add_row(name, f"{value:.4f}")
        put(out, shown)


def print_history(changes: Sequence[Change]) -> None:
    """Every change, the latest first."""
    shown = table("when", "what", "version", "by", "why", title="history", numbers=("version",))
    for change in reversed(changes):
        what = {"promote": "promoted", "retire": "retired"}[change.action] + (" by force" if change.forced else "")
        reasons = (str(change.comparison) if change.comparison else "", change.reason)
        shown.add_row(
            time_text(change.at), what, change.fingerprint, change.by, "; ".join(reason for reason in reasons if reason)
        )
    put(console(), shown)


def figures_text(metrics: Mapping[str, float]) -> str:
    """`P@1 .9412  P@5 .9363`, or a dash."""
    shown = [f"{title} {metrics[name]:.4f}" for name, title in _HEADLINES.items() if name in metrics]
    return "  ".join(shown) or "-"


def _print_pairs(rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console().print(grid)
