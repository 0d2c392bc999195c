"""Milvus expressions as text: quoting, ranges, and chains that both servers can parse. Used by `filters` and `vectors`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lookalike.store.milvus.schema import ID

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of a Milvus expression, and how deep its parentheses go."""

    text: str
    depth: int = 1


def both(first: str, second: str) -> str:
    """Two Milvus expressions of which both must hold; "" holds always."""
    return f"({first}) and ({second})" if first and second else first or second


def id_above(image_id: str) -> str:
    """A Milvus expression: the id comes after `image_id`. Never "", so that Milvus takes a limit with it."""
    return f"{ID} > {quoted(image_id)}"


def ids_among(image_ids: Iterable[str]) -> str:
    """A Milvus expression: the id is one of `image_ids`."""
    return f"{ID} in [{', '.join(quoted(image_id) for image_id in image_ids)}]"


def ids_not_among(image_ids: Iterable[str]) -> str:
    """A Milvus expression: the id is none of `image_ids`."""
    return f"not ({ids_among(image_ids)})"


def compared(name: str, operator: str, value: str | float | bool) -> Expression:
    """`name operator value`, `operator` being one of `= != < <= > >=` (of which a boolean takes the first two).

    False, or on milvus-lite unknown, where `name` is missing or of another type; Milvus' own `!=` would be true there.
    """
    if isinstance(value, bool):
        return Expression(f"{name} == {literal(value if operator == '=' else not value)}")
    if operator == "=":
        return Expression(f"{name} == {literal(value)}")
    if operator == "!=":
        return Expression(f"({name} < {literal(value)} or {name} > {literal(value)})", 2)
    return Expression(f"{name} {operator} {literal(value)}")


def prefixed(name: str, operator: str, prefix: str) -> Expression:
    """Text that begins with `prefix` (`=`), or does not (`!=`), as a range: both servers order text by its code points.

    `like` would do on Milvus only: milvus-lite's knows no escape for `%` and `_`.
    """
    end = _after_prefix(prefix)
    inside, outside = f"{name} >= {quoted(prefix)}", f"{name} < {quoted(prefix)}"
    if not end:
        return Expression(inside if operator == "=" else outside)
    if operator == "=":
        return Expression(f"({inside} and {name} < {quoted(end)})", 2)
    return Expression(f"({outside} or {name} >= {quoted(end)})", 2)


def _after_prefix(prefix: str) -> str:
    """The first text after all those that begin with `prefix`; "" if there is none."""
    kept = prefix.rstrip(chr(_LAST_CHARACTER))
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def joined(parts: Sequence[Expression], word: str) -> Expression:
    """`parts` joined by `word` (and, or) as a balanced tree: Milvus 2.3 takes seconds for a thousand terms in a row."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = joined(parts[:middle], word), joined(parts[middle:], word)
    return Expression(f"({left.text} {word} {right.text})", max(left.depth, right.depth) + 1)


def literal(value: str | float | bool) -> str:
    """`value` as Milvus reads it: text in quotes, a finite number, true or false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """`text` as a literal that Milvus (Go's strconv.Unquote) and milvus-lite read back as the same text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
