"""What a filter says of an image, as values. `lookalike.filters` reads them from text and carries them out; a store may compile
them to its own language.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "begins with", "does not begin with"]
Value: TypeAlias = str | float | bool | datetime
"""Text, a finite number (an int where it was written as one), a boolean; a moment with its time zone for `indexed_at`."""


@dataclass(frozen=True, slots=True)
class Field:
    """What is compared: a key of the metadata by its `path` from the outermost object on, or where `path` is empty the image's
    own `name`, one of id, uri, sha256, revision and indexed_at."""

    name: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """True where `field` is there, is of the type of `values`, and compares so; else false, also for `!=` and `NOT IN`.

    `values` has one value, or of a list at least one, all of one type. Two operators are of text alone.
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
    """True where every one of `parts`, which are two or more, is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where at least one of `parts`, which are two or more, is."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Not | AllOf | AnyOf
