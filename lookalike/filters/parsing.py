r"""The filter language, from text to conditions. The edges of the gateway call it, so that a wrong filter costs no work.

A subset of AIP-160:

    label = "Coat" AND (year >= 2019 OR NOT color IN ("red", "blue")) AND name = "summer*" AND size.width < 1.5

- Comparisons `= != < <= > >=`, `IN (..)`, `NOT IN (..)`; `AND`, `OR`, `NOT` in capitals; parentheses. NOT binds tightest,
  then AND.
- A bare name is a key of the metadata; a dot descends into an object. A key with other characters goes in backquotes:
  `` `product type` = "shoe" ``. `id`, `uri`, `sha256`, `revision` and `index_time` are the image's own;
  `metadata.id` is the metadata's key of that name. `index_time` takes RFC 3339 text: `index_time >= "2026-01-31T00:00:00Z"`.
- Values: text in double quotes, where `\"`, `\\` and `\*` stand for the character itself; numbers; `true` and `false`.
  Text that ends in `*` matches every text that begins so (with `=` and `!=` only).
- Numbers are compared by their value: whole numbers of 64 bits exactly, 7 is 7.0, and 9007199254740993 is not
  9007199254740992.0. A number with a point or an exponent is one of 64 bits in floating point.
- A comparison holds only for a value that is there and of the type compared with: `year != 2019` does not hold for an image
  without `year`, nor for one whose `year` is text. All values of a list are of one type. `null` is as if it were not there.
- `NOT x` holds exactly where `x` does not: `NOT year = 2019` does hold for an image without `year`.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput

from lookalike.errors import BadFilter
from lookalike.filters.hints import syntax_error
from lookalike.metadata import LEAST_WHOLE, MOST_FLOAT, MOST_WHOLE
from lookalike.names import control_in_prose
from lookalike.records.filter import AllOf, AnyOf, Comparison, Condition, Field, Not, Operator, Value
from lookalike.records.search_options import SearchOptions

MAX_CHARACTERS = 4096
MAX_NESTING = 32
_MAX_LEVELS = 96
"""Bounds the levels of AND, OR and lists, of which a long one counts as a tree of pairs. milvus-lite's parser recurses: 100
levels of a compiled filter pass, 200 exceed Python's limit. Compiling adds up to 6 levels to a comparison."""
_UNSAFE_IN_KEYS = set('"\\[]\t\n\r')
"""Milvus 2.3 splits `metadata["a"]["b"]` at the brackets, and takes what is in the quotes as it is, on one line."""
_METADATA, _REVISION, _INDEX_TIME = "metadata", "revision", "index_time"
_FORMER_INDEX_TIME = "indexed_at"
"""Refused, since a filter of an earlier release would else compare metadata."""
_TEXT_FIELDS = {"id", "uri", "sha256"}
_ORDERED = {"<", "<=", ">", ">="}

_GRAMMAR = r"""
    start: or_
    or_: and_ ("OR" and_)*
    and_: term ("AND" term)*
    ?term: "NOT" term -> not_
         | "(" or_ ")" -> group
         | name OPERATOR value -> compare
         | name "IN" list -> among
         | name "NOT" "IN" list -> not_among
    list: "(" value ("," value)* ")"
    name: _key ("." _key)*
    _key: NAME | QUOTED_NAME
    value: TEXT | NUMBER | TRUE | FALSE
    TRUE: "true"
    FALSE: "false"
    OPERATOR: "=" | "!=" | "<=" | "<" | ">=" | ">"
    NAME: /[^\W\d][\w-]*/
    QUOTED_NAME: /`[^`]+`/
    TEXT: /"(\\[\s\S]|[^"\\])*"/
    NUMBER: /-?\d+(\.\d+)?([eE][+-]?\d+)?/
    %ignore /\s+/
"""


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Condition | None:
    """The condition of a filter in the language above; None for "" (or blanks), which always holds.
    Raises `BadFilter` with the column.

    4,096 characters take 10 to 30 ms, unless they were parsed a short time ago.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadFilter(f"is {len(text)} characters long; at most {MAX_CHARACTERS} are allowed")
    _check_characters(text)
    if not text.strip():
        return None
    try:
        parsed = cast(_Parsed, _parser().parse(text))
    except UnexpectedInput as error:
        raise syntax_error(text, error) from None
    if parsed.levels > _MAX_LEVELS:
        raise BadFilter("is too complex; use fewer levels of AND, OR and parentheses")
    return parsed.condition


def condition_of(options: SearchOptions) -> Condition | None:
    """The condition of a search's filter, parsed here only where no edge has done so. Raises as `parse`."""
    return parse(options.filter) if options.condition is None else options.condition


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A part of a filter. `nesting` is the user's depth of nesting, `levels` the depth of its tree of pairs."""

    condition: Condition
    nesting: int = 0
    levels: int = 1


@dataclass(frozen=True, slots=True)
class _Written:
    """A value and its place. `is_prefix` says whether a text ended in an unescaped `*`."""

    value: Value
    column: int
    is_prefix: bool = False

    @property
    def kind(self) -> str:
        return "boolean" if isinstance(self.value, bool) else "text" if isinstance(self.value, str) else "number"


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes the records while Lark parses, so that no tree is walked recursively before its depth is known."""

    def start(self, part: _Parsed) -> _Parsed:
        return part

    def or_(self, *parts: _Parsed) -> _Parsed:
        return _chained(AnyOf, parts)

    def and_(self, *parts: _Parsed) -> _Parsed:
        return _chained(AllOf, parts)

    def not_(self, part: _Parsed) -> _Parsed:
        return _Parsed(Not(part.condition), _nested(part.nesting), part.levels)

    def group(self, part: _Parsed) -> _Parsed:
        return _Parsed(part.condition, _nested(part.nesting), part.levels)

    def compare(self, field: Field, operator: Token, value: _Written) -> _Parsed:
        if value.is_prefix and operator in _ORDERED:
            raise BadFilter(
                f"column {value.column}: a prefix ending in * goes with = or !=; write \\* for the character itself"
            )
        if value.kind == "boolean" and operator in _ORDERED:
            raise BadFilter(f"column {_column(operator)}: true and false can be compared with = and != only")
        compared: Operator = cast(Operator, str(operator))
        if value.is_prefix:
            compared = "begins with" if operator == "=" else "does not begin with"
        return _Parsed(Comparison(field, compared, (_typed(field, value),)))

    def among(self, field: Field, values: tuple[_Written, ...]) -> _Parsed:
        return _listed(field, "IN", values)

    def not_among(self, field: Field, values: tuple[_Written, ...]) -> _Parsed:
        return _listed(field, "NOT IN", values)

    def list(self, *values: _Written) -> tuple[_Written, ...]:
        for value in values:
            if value.kind != values[0].kind:
                raise BadFilter(f"column {value.column}: all values of a list must be of one type")
            if value.is_prefix:
                raise BadFilter(f"column {value.column}: a list takes no prefixes; write \\* for the character itself")
        return values

    def name(self, *keys: Token) -> Field:
        own = str(keys[0])
        if own in (*_TEXT_FIELDS, _REVISION, _INDEX_TIME):
            if len(keys) > 1:
                raise BadFilter(f"column {_column(keys[1])}: {own} has no members; for metadata write metadata.{own}")
            return Field(own)
        if own == _FORMER_INDEX_TIME:
            raise BadFilter(f"column {_column(keys[0])}: {own} is {_INDEX_TIME} now; for metadata write metadata.{own}")
        path = keys[1:] if own == _METADATA else keys
        if not path:
            raise BadFilter(f"column {_column(keys[0])}: name a key of the metadata, such as metadata.label")
        return Field(_METADATA, tuple(map(_key, path)))

    def value(self, token: Token) -> _Written:
        if token.type in ("TRUE", "FALSE"):
            return _Written(token.type == "TRUE", _column(token))
        return _text(token) if token.type == "TEXT" else _Written(_number(token), _column(token))


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


def _chained(kind: type[AllOf] | type[AnyOf], parts: tuple[_Parsed, ...]) -> _Parsed:
    if len(parts) == 1:
        return parts[0]
    condition = kind(tuple(part.condition for part in parts))
    return _Parsed(condition, max(part.nesting for part in parts), _levels([part.levels for part in parts]))


def _listed(field: Field, operator: Operator, values: Sequence[_Written]) -> _Parsed:
    condition = Comparison(field, operator, tuple(_typed(field, value) for value in values))
    return _Parsed(condition, levels=_levels([1] * len(values)))


def _levels(parts: Sequence[int]) -> int:
    """The levels of a balanced tree over `parts`, which have that many levels each."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return max(_levels(parts[:middle]), _levels(parts[middle:])) + 1


def _nested(nesting: int) -> int:
    if nesting >= MAX_NESTING:
        raise BadFilter(f"is nested deeper than {MAX_NESTING}")
    return nesting + 1


def _column(token: Token) -> int:
    """The column of `token`, from 1."""
    return (token.start_pos or 0) + 1


def _key(token: Token) -> str:
    key = token[1:-1] if token.type == "QUOTED_NAME" else str(token)
    unsafe = sorted(_UNSAFE_IN_KEYS.intersection(key))
    if unsafe:
        shown = "a line break or a tab" if unsafe[0].isspace() else unsafe[0]
        raise BadFilter(f"column {_column(token)}: a key that holds {shown} cannot be filtered by")
    return key


def _number(token: Token) -> float:
    """An int, or a float where it is written as one."""
    if any(mark in token for mark in ".eE"):
        if not math.isfinite(value := float(token)):
            raise BadFilter(f"column {_column(token)}: the number is out of range; {-MOST_FLOAT} to {MOST_FLOAT} are allowed")
        return value
    if not LEAST_WHOLE <= (whole := int(token)) <= MOST_WHOLE:
        allowed = f"whole numbers from {LEAST_WHOLE} to {MOST_WHOLE} are allowed"
        raise BadFilter(f"column {_column(token)}: the number is out of range; {allowed}")
    return whole


def _text(token: Token) -> _Written:
    """Resolve the escapes of a quoted text."""
    characters: list[str] = []
    body = iter(token[1:-1])
    is_prefix = False
    for character in body:
        if is_prefix:
            raise BadFilter(f"column {_column(token)}: * may only end a text; write \\* for the character itself")
        if character == "\\":
            escaped = next(body)
            if escaped not in '"\\*':
                raise BadFilter(f'column {_column(token)}: \\{escaped} is no escape; there are \\" \\\\ and \\*')
            characters.append(escaped)
        elif character == "*":
            is_prefix = True
        else:
            characters.append(character)
    return _Written("".join(characters), _column(token), is_prefix)


def _typed(field: Field, value: _Written) -> Value:
    """The value in the form that is compared with `field`; each of the image's own fields has one type."""
    if field.name in _TEXT_FIELDS and value.kind != "text":
        raise BadFilter(f"column {value.column}: {field.name} is text; put the value in double quotes")
    if field.name == _REVISION and type(value.value) is not int:
        raise BadFilter(f"column {value.column}: {_REVISION} is a whole number")
    return _moment(value) if field.name == _INDEX_TIME else value.value


def _moment(written: _Written) -> datetime.datetime:
    try:
        if isinstance(written.value, str) and not written.is_prefix:
            moment = datetime.datetime.fromisoformat(written.value)
            if moment.tzinfo is not None:
                return moment
    except ValueError:
        pass
    raise BadFilter(f'column {written.column}: {_INDEX_TIME} needs a moment such as "2026-01-31T00:00:00Z"')


def _check_characters(text: str) -> None:
    if control := control_in_prose(text):
        raise BadFilter(f"column {control.start() + 1}: control characters are not allowed")
