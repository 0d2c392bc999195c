"""HTML and SVG out of Python values, escaped unless they are markup already. Called by `drawing` and `report`."""

from __future__ import annotations

import html
from collections.abc import Iterable

_EMPTY = frozenset({"meta", "img", "br", "circle", "line", "path", "polyline", "rect"})


class Markup(str):
    """Text that is HTML: it goes into a page as it is. Anything else is escaped first."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """`<name ...>children</name>`. Of attributes, `class_` is `class` and `aria_label` is `aria-label`; None and False are left
    out, True stands without a value. Of children, None is left out and what is iterable joined."""
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in _EMPTY:
        return Markup(f"<{name}{shown}>" if name in ("meta", "img", "br") else f"<{name}{shown}/>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """The parts one after the other, without anything between."""
    return Markup("".join(_child(child) for child in children))


def _child(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, Iterable):
        return join(child)
    return html.escape(str(child))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
