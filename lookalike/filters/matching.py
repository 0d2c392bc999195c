"""Evaluates a filter on one image. The memory store calls it; for Milvus conditions are compiled."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from lookalike.records.filter import AllOf, AnyOf, Comparison, Condition, Field, Operator
from lookalike.records.image import StoredImage

_COMPARED: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "begins with": str.startswith,
    "does not begin with": lambda found, prefix: not found.startswith(prefix),
}
"""Text is compared by its code points, whole numbers exactly."""


def matches(condition: Condition | None, image: StoredImage) -> bool:
    """Whether `condition` holds for `image`; None holds for every image."""
    match condition:
        case None:
            return True
        case Comparison():
            return _holds(condition, image)
        case AllOf(parts):
            return all(matches(part, image) for part in parts)
        case AnyOf(parts):
            return any(matches(part, image) for part in parts)
        case _:
            return not matches(condition.part, image)


def _holds(comparison: Comparison, image: StoredImage) -> bool:
    found = _found(comparison.field, image)
    if found is None or _type(found) is not _type(comparison.values[0]):
        return False
    if comparison.operator in ("IN", "NOT IN"):
        return (found in comparison.values) == (comparison.operator == "IN")
    return _COMPARED[comparison.operator](found, comparison.values[0])


def _found(field: Field, image: StoredImage) -> object:
    """The image's value of the field; None where it has none."""
    if not field.path:
        return getattr(image, field.name)
    found: object = image.metadata
    for key in field.path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _type(value: object) -> type:
    """Numbers are of one type; true and false are no numbers."""
    return float if type(value) is int else type(value)
