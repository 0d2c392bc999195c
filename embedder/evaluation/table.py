"""An evaluation for people at a terminal, and the near-duplicate test's as JSON too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from embedder.datasets.listings import Skipped
from embedder.evaluation import metrics
from embedder.evaluation.attacks import AttackEvaluation
from embedder.evaluation.result import Evaluation, Subject, Way, title
from lookalike.cli.fitting import put
from lookalike.cli.terminal import console, count_text, table, visible

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = {
    "p_at_1": "P@1", "p_at_5": "P@5", "p_at_10": "P@10", "recall_at_5": "R@5", "recall_at_10": "R@10",
    "map_at_1000": "mAP@1000", "map_at_r": "mAP@R", "knn5_accuracy": "5-NN",
}  # fmt: skip
BASELINES = {"last_stage": "EfficientNet-Lite0, last stage", "histogram": "histogram, 256 bins"}
_CLASSES, _SKIPPED = 25, 5
_LOW_CEILING = 0.5


def way_title(way: Way) -> str:
    return way.name if way.settings is None else f"{way.name}, {title(way.settings)}"


def figure(value: float | None) -> str:
    """`.9432`; 1 and 0 as they are; a dash for what is not known."""
    if value is None or math.isnan(value):
        return "-"
    shown = f"{value:.4f}"
    return shown.removeprefix("0") if shown < "1" else "1.000"


def ceiling_note(found: Evaluation) -> str | None:
    """What must be said where classes are small."""
    highest = metrics.ceiling(found.main.scores.relevant)
    if highest > _LOW_CEILING:
        return None
    return (
        f"Classes are small: no ranking could have an mAP@1000 above {figure(highest)} here. mAP@R says how good this one is."
    )


def print_evaluation(found: Evaluation) -> None:
    """Figures, classes, what was skipped."""
    out = console()
    _print_head(out, found.subject)
    out.print(f"{found.protocol}", markup=False, soft_wrap=True)
    out.print(f"search is {found.search}\n", markup=False, soft_wrap=True, style="dim")
    names = [name for name in COLUMNS if any(name in way.figures for way in found.ways)]
    judged = [way for way in found.ways if way.index_recall is not None]
    heads = [COLUMNS[name] for name in names] + (["index recall@10"] if judged else [])
    rows = table("space", *heads, numbers=heads)
    for way in found.ways:
        cells = [figure(way.figures.get(name)) for name in names] + ([figure(way.index_recall)] if judged else [])
        rows.add_row(way_title(way), *cells, style="bold" if way.settings is None else None)
    put(out, rows)
    _print_classes(found)
    for line in (ceiling_note(found), *found.notes, *left_out(found)):
        if line:
            out.print(line, markup=False, soft_wrap=True)
    _print_skipped(out, found.skipped)


def left_out(found: Evaluation, *, skipped: bool = True) -> list[str]:
    """A line for everything that does not count; `skipped` pictures too, where they are not listed beside it."""
    lines = []
    if found.alone:
        lines.append(f"{count_text(found.alone, 'query', 'queries')} left out: nothing else bears their label.")
    if found.unlabelled:
        lines.append(f"{count_text(found.unlabelled, 'stored image')} without a label: never counted as right.")
    if skipped and found.skipped:
        lines.append(f"{count_text(len(found.skipped), 'picture')} skipped.")
    return lines


def _print_classes(found: Evaluation) -> None:
    out = console()
    classes = metrics.per_class(found.main.scores, found.classes)
    shown = sorted(classes, key=lambda row: row.p_at_1)[:_CLASSES] if len(classes) > _CLASSES else classes
    heads = ("queries", "in gallery", "P@1", "P@5", "mAP@1000", "mAP@R", "5-NN")
    rows = table("class" if len(shown) == len(classes) else f"class (the {_CLASSES} weakest)", *heads, numbers=heads)
    for row in shown:
        figures = (row.p_at_1, row.p_at_5, row.map_at_1000, row.map_at_r, row.knn5_accuracy)
        rows.add_row(visible(row.name), f"{row.queries:,}", f"{row.gallery:,}", *map(figure, figures))
    put(out, rows)


def attacks_json(subject: Subject, found: AttackEvaluation) -> dict[str, Any]:
    """One JSON object: the model's `r_at_1_mean` and `r_at_1_<attack>` at the top, the baselines' beside them by name."""
    return {
        "subject": {"kind": subject.kind, "name": subject.name, "fingerprint": subject.fingerprint},
        "dataset": asdict(found.measured_on),
        "queries": found.queries,
        "distractors": found.distractors,
        "seed": found.seed,
        **metrics.rounded(found.figures),
        **{name: metrics.rounded(figures) for name, figures in found.baselines.items()},
        "attacks": found.attacks,
        "skipped": [asdict(one) for one in found.skipped],
        "definitions": {"r_at_1": "share of the attacked photographs whose nearest picture is their original"},
    }


def print_attacks(subject: Subject, found: AttackEvaluation) -> None:
    """R@1 by attack, beside the baselines."""
    out = console()
    _print_head(out, subject)
    among = f"{found.queries:,} photographs, each changed in {len(found.attacks)} ways, are looked for among "
    out.print(
        f"{among}{found.queries + found.distractors:,}; R@1: how often the nearest picture is the original\n", markup=False
    )
    heads = [subject.name, *(BASELINES.get(name, name) for name in found.baselines)]
    rows = table("attack", *heads, "what it does", numbers=heads)
    for attack, does in found.attacks.items():
        key = f"r_at_1_{attack}"
        rows.add_row(attack, *(figure(one.get(key)) for one in (found.figures, *found.baselines.values())), does)
    rows.add_section()
    means = (one.get("r_at_1_mean") for one in (found.figures, *found.baselines.values()))
    rows.add_row("mean", *map(figure, means), "", style="bold")
    put(out, rows)
    _print_skipped(out, found.skipped)


def _print_head(out: Console, subject: Subject) -> None:
    out.print()
    out.print(f"[bold]{subject.name}[/bold] [dim]{subject.fingerprint}[/dim]", markup=True, soft_wrap=True)


def _print_skipped(out: Console, skipped: Sequence[Skipped]) -> None:
    for one in skipped[:_SKIPPED]:
        out.print(visible(f"  skipped: {one.uri}: {one.reason}" if one.uri else f"  skipped: {one.reason}"), soft_wrap=True)
    if len(skipped) > _SKIPPED:
        out.print(f"  ... and {len(skipped) - _SKIPPED:,} more: --json and --report list them all", markup=False)
