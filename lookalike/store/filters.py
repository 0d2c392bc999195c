r"""The filter language, compiled to what Milvus 2.3 to 3.x and milvus-lite all understand. Callers: `vectors`, and the gateway
to refuse a filter before it does any work.

A subset of AIP-160:

    label = "Coat" AND (year >= 2019 OR NOT color IN ("red", "blue")) AND name = "summer*" AND size.width < 1.5

- Comparisons `= != < <= > >=`, `IN (..)`, `NOT IN (..)`; `AND`, `OR`, `NOT` in capitals; parentheses. NOT binds tightest,
  then AND.
- A bare name is a key of the metadata; a dot descends into an object. A key with other characters goes in backquotes:
  `` `product type` = "shoe" ``. `id`, `uri`, `sha256`, `revision` and `indexed_at` are the image's own;
  `metadata.id` is the metadata's key of that name. `indexed_at` takes RFC 3339 text: `indexed_at >= "2026-01-31T00:00:00Z"`.
- Values: text in double quotes, where `\"`, `\\` and `\*` stand for the character itself; numbers; `true` and `false`.
  Text that ends in `*` matches every text that begins so (with `=` and `!=` only).
- A comparison holds only for a value that is there and of the type compared with: `year != 2019` does not hold for an image
  without `year`, nor for one whose `year` is text. All values of a list are of one type. `null` is as if it were not there.
- `NOT x` holds exactly where `x` does not: `NOT year = 2019` does hold for an image without `year`.

How it is compiled: NOT is pushed down to the comparisons, because milvus-lite reckons with "unknown" where Milvus says
"false", so that only there it can be made one; `!=` becomes `< or >`, because Milvus' own also holds for missing keys; a
prefix becomes a range, because `like` has no escape on milvus-lite; `IN` on metadata becomes `or`, because milvus-lite has
none. Two limits of milvus-lite remain (Python's `True == 1`, and no order between types): there, true and false also count
as 1 and 0, and `NOT a < 1` does not hold where `a` is a list or an object.
"""

from __future__ import annotations

import datetime
import functools
import math
import unicodedata
from typing import Any, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput

from lookalike.errors import BadFilter, InvalidArgument
from lookalike.store.conditions import Chain, Comparison, Condition, Field, Not, Value
from lookalike.store.filter_hints import syntax_error
from lookalike.store.milvus.schema import ID, INDEXED_AT, METADATA, REVISION, SHA256, URI, to_microseconds

MAX_CHARACTERS = 4096
MAX_NESTING = 32
_MAX_COMPILED_NESTING = 100
"""milvus-lite's parser recurses: 100 levels pass, 200 exceed Python's limit."""
_MAX_INT64 = 2**63 - 1
_UNSAFE_IN_KEYS = set('"\\[]\t\n\r')
"""Milvus 2.3 splits `metadata["a"]["b"]` at the brackets, and takes what is in the quotes as it is, on one line."""
_TEXT_FIELDS = {ID, URI, SHA256}
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
def compile_filter(text: str) -> str:
    """The Milvus expression of a filter in the language above; "" (or blanks) for "". Raises `BadFilter` with the column."""
    if len(text) > MAX_CHARACTERS:
        raise BadFilter(f"is {len(text)} characters long; at most {MAX_CHARACTERS} are allowed")
    _check_characters(text)
    if not text.strip():
        return ""
    try:
        node = cast(Condition, _parser().parse(text))
    except UnexpectedInput as error:
        raise syntax_error(text, error) from None
    compiled = node.compiled(negated=False)
    if compiled.depth > _MAX_COMPILED_NESTING:
        raise BadFilter("is too complex; use fewer levels of AND, OR and parentheses")
    return compiled.text


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes our nodes while Lark parses, so that no tree is walked recursively before its depth is known."""

    def start(self, node: Condition) -> Condition:
        return node

    def or_(self, *parts: Condition) -> Condition:
        return _chained("or", parts)

    def and_(self, *parts: Condition) -> Condition:
        return _chained("and", parts)

    def not_(self, part: Condition) -> Not:
        return Not(part, _nested(part.depth))

    def group(self, part: Condition) -> Not:
        return Not(Not(part, part.depth), _nested(part.depth))

    def compare(self, field: Field, operator: Token, value: Value) -> Comparison:
        if value.is_prefix and operator in _ORDERED:
            raise BadFilter(
                f"column {value.column}: a prefix ending in * goes with = or !=; write \\* for the character itself"
            )
        if value.kind == "boolean" and operator in _ORDERED:
            raise BadFilter(f"column {_column(operator)}: true and false can be compared with = and != only")
        return Comparison(field, str(operator), (_typed(field, value),))

    def among(self, field: Field, values: tuple[Value, ...]) -> Comparison:
        return Comparison(field, "IN", tuple(_typed(field, value) for value in values))

    def not_among(self, field: Field, values: tuple[Value, ...]) -> Comparison:
        return Comparison(field, "NOT IN", tuple(_typed(field, value) for value in values))

    def list(self, *values: Value) -> tuple[Value, ...]:
        for value in values:
            if value.kind != values[0].kind:
                raise BadFilter(f"column {value.column}: all values of a list must be of one type")
            if value.is_prefix:
                raise BadFilter(f"column {value.column}: a list takes no prefixes; write \\* for the character itself")
        return values

    def name(self, *keys: Token) -> Field:
        own = str(keys[0])
        if own in (*_TEXT_FIELDS, REVISION, INDEXED_AT):
            if len(keys) > 1:
                raise BadFilter(f"column {_column(keys[1])}: {own} has no members; for metadata write metadata.{own}")
            return Field(own, own, _column(keys[0]))
        path = keys[1:] if own == METADATA else keys
        if not path:
            raise BadFilter(f"column {_column(keys[0])}: name a key of the metadata, such as metadata.label")
        return Field(METADATA + "".join(f'["{_key(key)}"]' for key in path), "", _column(keys[0]))

    def value(self, token: Token) -> Value:
        if token.type in ("TRUE", "FALSE"):
            return Value(token.type == "TRUE", _column(token))
        return _text(token) if token.type == "TEXT" else Value(_number(token), _column(token))


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


def _chained(word: str, parts: tuple[Condition, ...]) -> Condition:
    return parts[0] if len(parts) == 1 else Chain(word, parts, max(part.depth for part in parts))


def _nested(depth: int) -> int:
    if depth >= MAX_NESTING:
        raise BadFilter(f"is nested deeper than {MAX_NESTING}")
    return depth + 1


def _column(token: Token) -> int:
    """Where `token` begins, from 1."""
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
    value = float(token) if any(mark in token for mark in ".eE") else int(token)
    if not (math.isfinite(value) if isinstance(value, float) else abs(value) <= _MAX_INT64):
        raise BadFilter(f"column {_column(token)}: the number is too large")
    return value


def _text(token: Token) -> Value:
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
    return Value("".join(characters), _column(token), is_prefix)


def _typed(field: Field, value: Value) -> Value:
    """`value` as it is compared with `field`; the image's own fields have one type each."""
    if field.own in _TEXT_FIELDS and value.kind != "text":
        raise BadFilter(f"column {value.column}: {field.own} is text; put the value in double quotes")
    if field.own == REVISION and (value.kind != "number" or isinstance(value.value, float)):
        raise BadFilter(f"column {value.column}: {REVISION} is a whole number")
    if field.own != INDEXED_AT:
        return value
    try:
        if not isinstance(value.value, str) or value.is_prefix:
            raise ValueError
        return Value(to_microseconds(datetime.datetime.fromisoformat(value.value)), value.column)
    except (ValueError, InvalidArgument):
        raise BadFilter(f'column {value.column}: {INDEXED_AT} needs a moment such as "2026-01-31T00:00:00Z"') from None


def _check_characters(text: str) -> None:
    for position, character in enumerate(text):
        if character not in "\t\n\r" and unicodedata.category(character) in ("Cc", "Cs"):
            raise BadFilter(f"column {position + 1}: control characters are not allowed")
