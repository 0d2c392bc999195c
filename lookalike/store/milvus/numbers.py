"""Milvus expressions that compare a key of the metadata with a number, exactly. `expressions` calls it.

Milvus compares a stored whole number with a literal of one exactly, and everything else in floating point of 64 bits, in which
2**53 + 1 is 2**53. So a comparison is written such that what is rounded cannot matter: `a > 2**53 + 1` says the same of whole
numbers as `a >= 2**53 + 2`, and only the latter is right for floats too. Where no float and no whole number can be mistaken for
another, which is up to 2**53, the comparison is written as it is. milvus-lite compares exactly, so that both forms hold there.
"""

from __future__ import annotations

from typing import Literal

from lookalike.metadata import LEAST_WHOLE, MOST_WHOLE

Order = Literal["<", "<=", ">", ">="]

_BEYOND = MOST_WHOLE + 1
"""The first whole number that is too large, which a float can have."""
_MOST, _BEFORE_MOST = MOST_WHOLE, MOST_WHOLE - 1
_SECOND, _THIRD = LEAST_WHOLE + 1, LEAST_WHOLE + 2
_AT_THE_ENDS: dict[tuple[int, Order], str] = {
    # `<= _BEFORE_MOST` and `>= _MOST`, or their like below: no whole number is both, and the float that both are rounded to is.
    (_BEYOND, ">="): f"({{0}} > {_MOST} or ({{0}} <= {_BEFORE_MOST} and {{0}} >= {_MOST}))",
    (_BEYOND, "<"): f"({{0}} <= {_MOST} and ({{0}} > {_BEFORE_MOST} or {{0}} < {_MOST}))",
    (LEAST_WHOLE, "<="): f"({{0}} < {_SECOND} or ({{0}} >= {_THIRD} and {{0}} <= {_SECOND}))",
    (LEAST_WHOLE, ">"): f"({{0}} >= {_SECOND} and ({{0}} < {_THIRD} or {{0}} > {_SECOND}))",
}
"""Comparisons with the two numbers that Milvus reads only as floats, and to which whole numbers beside them are rounded."""


def in_order(name: str, order: Order, value: float) -> str:
    """`name order value`, for a finite number. False, or on milvus-lite unknown, where `name` is missing or no number."""
    if not isinstance(value, int) and not value.is_integer():
        return f"{name} {order} {value!r}"
    whole, nearest = int(value), int(float(value))
    if nearest > whole and order in (">", "<="):
        return in_order(name, ">=" if order == ">" else "<", whole + 1)
    if nearest < whole and order in (">=", "<"):
        return in_order(name, ">" if order == ">=" else "<=", whole - 1)
    if (whole, order) in _AT_THE_ENDS:
        return _AT_THE_ENDS[whole, order].format(name)
    return f"{name} {order} {_literal(whole)}"


def equal(name: str, value: float) -> str:
    """`name = value`, as `in_order`."""
    least, most = in_order(name, ">=", value), in_order(name, "<=", value)
    literal = least.removeprefix(f"{name} >= ")
    return f"{name} == {literal}" if most == f"{name} <= {literal}" else f"({least} and {most})"


def _literal(whole: int) -> str:
    """A whole number as Milvus reads it: one beyond those of 64 bits, and the least of these, as a float."""
    return str(whole) if LEAST_WHOLE < whole <= MOST_WHOLE else repr(float(whole))
