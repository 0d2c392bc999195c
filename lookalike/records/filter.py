"""A filter as values. `lookalike.filters` parses them from text and evaluates them; a store may compile them to its own
language.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "begins with", "does not begin with"]
Value: TypeAlias = str | float | bool | datetime
"""Text, a finite number (an int where it was written as one), a boolean; a moment with its time zone for `index_time`."""


@dataclass(frozen=True, slots=True)
class Field:
    """The left side of a comparison: a key of the metadata by its `path` from the outermost object on; or, where `path` is
    empty, the image's own field `name`, one of id, uri, sha256, revision and index_time."""

    name: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """True where the image has `field`, with the type of `values`, and the comparison holds; else false, also for `!=` and
    `NOT IN`.

    `values` has one value; for `IN` and `NOT IN` one or more, all of one type. "begins with" and "does not begin with" compare
    text only.
    """

    field: Field
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True exactly where `part` is false."""

    part: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where all of `parts`, two or more, are true."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where at least one of `parts`, two or more, is true."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Selection:
    """The images that a writer means. Where they are given, `condition` must hold, the URI must begin with `uri_prefix`, and
    the revision must be below `older_than` and equal `revision`."""

    condition: Condition | None = None
    uri_prefix: str = ""
    older_than: int | None = None
    revision: int | None = None
