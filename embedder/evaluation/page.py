"""The frame of a report, and the parts that reports share: one HTML file, light or dark, on paper too."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from embedder.datasets.listings import Skipped
from embedder.evaluation.markup import Markup, join, tag
from embedder.evaluation.result import Subject, Thumbnail
from embedder.models.bundle import DataSummary
from lookalike.cli.terminal import count_text

_STYLE = Path(__file__).with_name("report.css")
_MOST_SKIPPED = 500


def page(subject: Subject, dataset: str, about: str, sections: Iterable[Markup | None], *, seconds: float | None = None) -> str:
    """The whole file: a title, what was measured in a line, and `sections`, of which None are left out."""
    heading = f"{subject.name} on {dataset}"
    now = datetime.now(UTC)
    took = f" in {_duration(seconds)}" if seconds is not None else ""
    body = tag(
        "body",
        tag(
            "header",
            tag("p", "Lookalike · evaluation", class_="brand"),
            tag("h1", subject.name, tag("span", f" on {dataset}", class_="on")),
            tag("p", about, class_="about"),
        ),
        tag("main", sections),
        tag("footer", f"Measured {now.day} {now:%B %Y}{took} with lookalike {version('lookalike')}."),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{heading} · Lookalike"),
        tag("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def section(title: str, *children: object, lead: str | None = None, class_: str | None = None) -> Markup:
    return tag("section", tag("h2", title), tag("p", lead) if lead else None, *children, class_=class_)


def headline(figures: Sequence[tuple[str, str, float, str, float | None, str]]) -> Markup:
    """Cards of (name, the model's figure as text and number, what the baseline is called, its number, its text)."""
    cards = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", text, class_="big"),
            tag("dd", f"{other} ", tag("b", other_text), class_="small") if below is not None else None,
            tag("dd", bar(value, "siamese"), bar(below, "histogram") if below is not None else None, class_="bars"),
        )
        for name, text, value, other, below, other_text in figures
    ]
    shape = "headline six" if len(cards) == 6 else "headline"
    return tag("section", tag("h2", "In short", class_="hidden"), tag("dl", cards, class_=shape), class_="flush")


def bar(value: float, tone: str) -> Markup:
    """A share of 1 as a bar; the number stands beside it, so that readers aloud need not hear it."""
    return tag("span", tag("i", style=f"--v:{min(1.0, max(0.0, value)):.4f}"), class_=f"bar {tone}", aria_hidden="true")


def barred(figure: object, bars: Iterable[Markup]) -> Markup:
    """A cell with a figure beside its bars."""
    return tag("td", tag("span", tag("span", bars, class_="bars"), figure), class_="barred")


def table(caption: str, heads: Sequence[object], rows: Iterable[Markup], *, class_: str | None = None) -> Markup:
    """A table that scrolls by itself where the window is narrow."""
    head = tag("thead", tag("tr", [one if is_cell(one) else tag("th", one, scope="col") for one in heads]))
    whole = tag("table", tag("caption", caption), head, tag("tbody", rows), class_=class_)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def row(name: object, cells: Iterable[object], *, class_: str | None = None) -> Markup:
    """A row with its name as heading; cells that are markup stand as they are."""
    made = [cell if is_cell(cell) else tag("td", cell) for cell in cells]
    return tag("tr", tag("th", name, scope="row"), made, class_=class_)


def is_cell(value: object) -> bool:
    """Whether it is a whole cell already."""
    return isinstance(value, Markup) and value.startswith(("<td", "<th"))


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    return tag("dl", [(tag("dt", term), tag("dd", text)) for term, text in pairs], class_="facts")


def notes(lines: Iterable[str]) -> Markup | None:
    shown = [tag("p", line, class_="note") for line in lines]
    return join(shown) if shown else None


def data_section(
    summary: DataSummary, more: Sequence[tuple[str, object]], skipped: Sequence[Skipped], lines: Sequence[str] = ()
) -> Markup:
    """What was measured on, and every picture that was not."""
    said: list[tuple[str, object]] = [("Name", summary.name), ("Images", f"{summary.images:,}")]
    if summary.classes:
        said.append(("Classes", f"{summary.classes:,}"))
    said += [(term, text) for term, text in (("Licence", summary.licence), ("Source", summary.source)) if text]
    said += [("Digest", tag("code", summary.digest)), *more]
    listed = None
    if skipped:
        items = [tag("li", tag("code", one.uri), tag("span", one.reason, class_="why")) for one in skipped[:_MOST_SKIPPED]]
        if len(skipped) > _MOST_SKIPPED:
            items.append(tag("li", f"and {len(skipped) - _MOST_SKIPPED:,} more, which --json lists"))
        title = f"{count_text(len(skipped), 'picture')} skipped, and why"
        listed = tag("details", tag("summary", title), tag("ul", items, class_="skipped"), open=len(skipped) <= 20)
    return section("The data", facts(said), notes(lines), listed, class_="long")


def card_section(subject: Subject) -> Markup:
    """The bundle's card, or what is known of a collection."""
    title = "The bundle" if subject.kind == "bundle" else "The collection"
    first: list[tuple[str, object]] = [("Name", subject.name), ("Fingerprint", tag("code", subject.fingerprint))]
    return section(title, facts([*first, *subject.facts]), class_="long")


def picture(thumbnail: Thumbnail | None, alt: str) -> Markup:
    """An image that is part of the page."""
    if thumbnail is None:
        return tag("span", "no preview", class_="gone")
    content = base64.b64encode(thumbnail.content).decode()
    source = f"data:image/{thumbnail.kind};base64,{content}"
    return tag("img", src=source, alt=alt, class_="pixels" if thumbnail.pixelated else None)


def shot(
    thumbnail: Thumbnail | None,
    alt: str,
    name: str,
    *,
    hint: str,
    tone: str = "",
    mark: Markup | None = None,
    below: Markup | None = None,
) -> Markup:
    """A picture in its frame with its name under it; `tone` is the style's word for what it shows, `mark` lies over it."""
    frame = tag("span", picture(thumbnail, alt), mark, class_="frame")
    return tag("div", frame, tag("span", name, class_="name", title=hint), below, class_=f"shot {tone}".rstrip())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
