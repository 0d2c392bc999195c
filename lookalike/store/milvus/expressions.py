"""Milvus expressions as text: compiled filters, ids, and both joined. `vectors` calls it.

An expression means the same to Milvus 2.3 to 3.x and to milvus-lite. NOT is pushed down to the comparisons: milvus-lite
computes with "unknown" where Milvus says "false", and only a comparison can turn it into false. `!=` becomes `< or >`, because
Milvus' own also holds for missing keys. A prefix becomes a range, because `like` has no escape on milvus-lite. `IN` on metadata
becomes `or`, because milvus-lite has none. Two limits of milvus-lite remain (Python's `True == 1`, and no order between types):
there, true and false also count as 1 and 0, and `NOT a < 1` does not hold where `a` is a list or an object.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Literal, assert_never

from lookalike.metadata import LEAST_WHOLE
from lookalike.records.filter import AllOf, AnyOf, Comparison, Condition, Field, Not, Value
from lookalike.store.milvus.numbers import Order, equal, in_order
from lookalike.store.milvus.schema import ID, INDEXED_AT, to_microseconds

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_COLUMNS = {"index_time": INDEXED_AT}
"""The image's own fields whose columns have another name."""


def compiled(condition: Condition | None) -> str:
    """The Milvus expression of a filter; "" for None. `filters.parsing` keeps its nesting at 100 or less."""
    return "" if condition is None else _compiled(condition, negated=False)


def _compiled(condition: Condition, *, negated: bool) -> str:
    """The expression of `condition`; with `negated`, the expression that is true exactly where `condition` is false."""
    match condition:
        case Not(part):
            return _compiled(part, negated=not negated)
        case AllOf(parts):
            return _joined([_compiled(part, negated=negated) for part in parts], "or" if negated else "and")
        case AnyOf(parts):
            return _joined([_compiled(part, negated=negated) for part in parts], "and" if negated else "or")
        case _:
            return _failing(condition) if negated else _holding(condition)


def _holding(comparison: Comparison) -> str:
    """The expression of a comparison: false, or on milvus-lite unknown, where the field is missing or of another type."""
    name, operator, values = _name(comparison.field), comparison.operator, comparison.values
    match operator:
        case "IN" if not comparison.field.path:
            return f"{name} in [{', '.join(map(_literal, values))}]"
        case "IN":
            return _joined([_compared(comparison.field, "=", value) for value in values], "or")
        case "NOT IN":
            return _joined([_compared(comparison.field, "!=", value) for value in values], "and")
        case "begins with" | "does not begin with":
            return prefixed(name, str(values[0]), negated=operator != "begins with")
        case "=" | "!=" | "<" | "<=" | ">" | ">=":
            return _compared(comparison.field, operator, values[0])
        case _:
            assert_never(operator)


def _failing(comparison: Comparison) -> str:
    """The expression that is true, on both servers, exactly where the comparison is false."""
    negative = f"not ({_holding(comparison)})"
    if not comparison.field.path:
        return negative
    name, value = _name(comparison.field), comparison.values[0]
    guards = [f"not (exists {name})"]
    # Only milvus-lite needs these: there, the order of values of different types is unknown.
    if comparison.operator not in ("=", "IN"):
        if isinstance(value, str):
            guards += [f"{name} < 0", f"{name} >= 0"]
        elif not isinstance(value, bool):
            guards.append(f'{name} >= ""')
    return _joined([*guards, negative], "or")


def both(first: str, second: str) -> str:
    """The Milvus expression that holds where both hold; "" always holds."""
    return f"({first}) and ({second})" if first and second else first or second


def id_above(image_id: str) -> str:
    """The Milvus expression for ids after `image_id`. It is never "", so Milvus takes a limit with it."""
    return f"{ID} > {quoted(image_id)}"


def ids_among(image_ids: Iterable[str]) -> str:
    """The Milvus expression for the ids in `image_ids`."""
    return f"{ID} in [{', '.join(quoted(image_id) for image_id in image_ids)}]"


def ids_not_among(image_ids: Iterable[str]) -> str:
    """The Milvus expression for the ids not in `image_ids`."""
    return f"not ({ids_among(image_ids)})"


def _name(field: Field) -> str:
    return _COLUMNS.get(field.name, field.name) + "".join(f'["{key}"]' for key in field.path)


def _compared(field: Field, operator: Literal["=", "!=", Order], value: Value) -> str:
    """`field operator value`; a boolean takes only `=` and `!=`.

    False, or on milvus-lite unknown, where `field` is missing or of another type; Milvus' own `!=` would be true there.
    """
    name = _name(field)
    if isinstance(value, bool):
        return f"{name} == {_literal(value if operator == '=' else not value)}"
    if field.path and isinstance(value, int | float):
        if operator == "=":
            return equal(name, value)
        if operator == "!=":
            return f"({in_order(name, '<', value)} or {in_order(name, '>', value)})"
        return in_order(name, operator, value)
    if operator == "=":
        return f"{name} == {_literal(value)}"
    if operator == "!=":
        return f"({name} < {_literal(value)} or {name} > {_literal(value)})"
    return f"{name} {operator} {_literal(value)}"


def prefixed(name: str, prefix: str, *, negated: bool = False) -> str:
    """The range of texts that begin with `prefix`, or do not: both servers order text by its code points.

    `like` would do on Milvus only; on milvus-lite it has no escape for `%` and `_`.
    """
    end = _after_prefix(prefix)
    inside, outside = f"{name} >= {quoted(prefix)}", f"{name} < {quoted(prefix)}"
    if not end:
        return outside if negated else inside
    return f"({outside} or {name} >= {quoted(end)})" if negated else f"({inside} and {name} < {quoted(end)})"


def _after_prefix(prefix: str) -> str:
    """The first text after all texts that begin with `prefix`; "" if there is none."""
    kept = prefix.rstrip(chr(_LAST_CHARACTER))
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def _joined(parts: Sequence[str], word: str) -> str:
    """`parts` joined by `word` (and, or) as a balanced tree: Milvus 2.3 takes seconds for a thousand terms in a row."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], word)} {word} {_joined(parts[middle:], word)})"


def _literal(value: Value) -> str:
    """`value` as Milvus reads it: text in quotes, a number, true or false, a moment as it is stored."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return str(to_microseconds(value))
    if isinstance(value, int):  # Milvus reads no number below that; no field of an image is as small.
        return str(max(value, LEAST_WHOLE + 1))
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """`text` as a literal that Milvus (Go's strconv.Unquote) and milvus-lite read back as the same text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
