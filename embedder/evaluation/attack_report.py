"""The report of the near-duplicate test: R@1 by attack, beside the baselines. Called by `lookalike evaluate`."""

from __future__ import annotations

from embedder.evaluation import page
from embedder.evaluation.attacks import AttackEvaluation
from embedder.evaluation.markup import Markup, tag
from embedder.evaluation.result import Subject, Thumbnail
from embedder.evaluation.table import BASELINES, figure

_FAR_BELOW = 0.01
"""A model this far below pooling the last stage loses by its head what its backbone had: it is marked."""


def attack_report(subject: Subject, found: AttackEvaluation) -> str:
    """The whole HTML file."""
    among = found.queries + found.distractors
    about = (
        f"{found.queries:,} photographs, each changed in {len(found.attacks)} ways, are looked for among {among:,}. R@1 is the "
        "share of the changed photographs whose nearest picture is their original."
    )
    sections = [
        _headline(found),
        _table(subject, found),
        _misses(found),
        page.data_section(
            found.measured_on,
            [("Queries", f"{found.queries:,}"), ("Distractors", f"{found.distractors:,}"), ("Seed", str(found.seed))],
            found.skipped,
        ),
        page.card_section(subject),
    ]
    return page.page(subject, f"{found.measured_on.name}, attacked", about, sections)


def _headline(found: AttackEvaluation) -> Markup:
    baseline = next(iter(found.baselines), None)
    worst = min(found.attacks, key=lambda attack: found.figures[f"r_at_1_{attack}"])
    cards = []
    for name, key in (("Mean R@1", "r_at_1_mean"), (f"Weakest: {_words(worst)}", f"r_at_1_{worst}")):
        value = found.figures[key]
        below = found.baselines[baseline].get(key) if baseline else None
        called = "last stage" if baseline == "last_stage" else str(baseline)
        cards.append((name, figure(value), value, called, below, figure(below)))
    return page.headline(cards)


def _table(subject: Subject, found: AttackEvaluation) -> Markup:
    rows = [_row(found, attack, does) for attack, does in found.attacks.items()]
    rows.append(_row(found, "mean", ""))
    heads = [
        "attack", tag("th", "what it does", scope="col", class_="text"), subject.name,
        *(BASELINES.get(name, name) for name in found.baselines),
    ]  # fmt: skip
    lead = (
        "The upper bar is the model's, the lower that of the last stage of an ImageNet network, of the same pictures in the "
        "same run. Figures more than .01 below it are marked."
    )
    return page.section("Attack by attack", page.table("R@1 by attack, 0 to 1", heads, rows), lead=lead)


def _misses(found: AttackEvaluation) -> Markup | None:
    """Some photographs that the model did not recognise."""
    if not found.misses:
        return None
    shown = []
    for miss in found.misses:
        triple = (
            ("attacked", miss.attacked, miss.original, ""),
            ("its original", miss.original_picture, miss.original, "right"),
            ("found instead", miss.found_picture, miss.found, "other"),
        )
        shots = [
            page.shot(Thumbnail("jpeg", content), f"{role}: {name}", role, hint=name, tone=tone)
            for role, content, name, tone in triple
        ]
        shown.append(tag("li", tag("h3", _words(miss.attack)), tag("div", shots, class_="triple")))
    return page.section(
        "Not recognised", tag("ul", shown, class_="misses"), lead="Some of the misses, of as many attacks as have any."
    )


def _row(found: AttackEvaluation, attack: str, does: str) -> Markup:
    key = f"r_at_1_{attack}"
    value = found.figures[key]
    others = [figures.get(key) for figures in found.baselines.values()]
    bars = [page.bar(value, "siamese"), *(page.bar(other, "histogram") for other in others[:1] if other is not None)]
    behind = bool(others) and others[0] is not None and value < others[0] - _FAR_BELOW
    shown = tag("span", figure(value), " ▼" if behind else None, class_="figure below" if behind else "figure")
    cells = [tag("td", does, class_="text"), page.barred(shown, bars), *map(figure, others)]
    return page.row(_words(attack), cells, class_="mean" if attack == "mean" else None)


def _words(attack: str) -> str:
    return attack.replace("_", " ")
