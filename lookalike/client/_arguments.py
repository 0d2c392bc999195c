"""Checks of the arguments of the client's methods, made before protobuf or gRPC sees an argument. An error names the argument.

The rules are the same for every method. Text is `str`; a whole number is an `int` (NumPy's too), never text and never a `bool`;
a flag is a `bool`. An enum's member may be given by its value. Where a list is expected, a single value counts as a list of
one. A picture is bytes, or a `Path` whose file is read; a `str` is refused, since it may mean a path, a URL or an id. Any other
argument raises `InvalidArgument`. Only `lookalike.client` calls this module.
"""

from __future__ import annotations

import enum
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np

from lookalike.errors import InvalidArgument
from lookalike.items import open_file
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.spaces import Metric, Space, SpaceKind, Vector
from lookalike.spans import MAX_SPAN

MAX_TIMEOUT_S = 366 * 86_400.0
"""Bounds every deadline: gRPC cannot compute with one thousands of years ahead."""
_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)


def text(field: str, value: object) -> str:
    """Text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InvalidArgument(field, f"is {_kind(value)}; give text")
    try:
        value.encode()
    except UnicodeEncodeError:
        problem = "holds text that is not Unicode (a lone surrogate)"
        raise InvalidArgument(field, problem, reason="TEXT_NOT_UNICODE") from None
    return value


def place(field: str, value: object) -> str:
    """A path or URI: text, or a `Path`."""
    return text(field, os.fspath(value) if isinstance(value, os.PathLike) else value)


def flag(field: str, value: object) -> bool:
    """True or False, NumPy's too."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidArgument(field, f"is {_kind(value)}; give True or False")
    return bool(value)


def whole(field: str, value: object, allowed: str, bits: range = _INT32) -> int:
    """A whole number of 32 bits, as most fields of the contract are; `allowed` names the range that the server takes."""
    if isinstance(value, bool | np.bool_):
        raise InvalidArgument(field, f"is {_kind(value)}; give a whole number, {allowed}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # a value that it does not take raises TypeError
    except TypeError:
        raise InvalidArgument(field, f"is {_kind(value)}; give a whole number, {allowed}") from None
    if number not in bits:
        raise InvalidArgument(field, f"{_shown(number)} is out of range; allowed: {allowed}")
    return number


def whole64(field: str, value: object, allowed: str) -> int:
    """As `whole`, of 64 bits."""
    return whole(field, value, allowed, _INT64)


def number(field: str, value: object, allowed: str) -> float:
    """A finite number; `allowed` names the range that the server takes."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidArgument(field, f"is {_kind(value)}; give a number, {allowed}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise InvalidArgument(field, f"{_shown(value)} is not a finite number; allowed: {allowed}")
    return found


def float32(field: str, value: object, allowed: str) -> float:
    """As `number`, within the range of 32 bits."""
    found = number(field, value, allowed)
    if abs(found) > float(np.finfo(np.float32).max):
        raise InvalidArgument(field, f"{_shown(value)} is out of range; allowed: {allowed}")
    return found


def timeout(value: object, field: str = "timeout_s") -> float:
    """Seconds, above 0 and at most a year."""
    found = number(field, value, "above 0")
    if not 0 < found <= MAX_TIMEOUT_S:
        raise InvalidArgument(field, f"{_shown(value)} is out of range; allowed: above 0 to {MAX_TIMEOUT_S:,.0f}")
    return found


def moment(field: str, value: object) -> datetime | None:
    """A time with a time zone, in UTC, or None."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise InvalidArgument(field, f"is {_kind(value)}; give a `datetime` with a time zone")
    if value.utcoffset() is None:
        raise InvalidArgument(field, "has no time zone; give it one, such as `datetime.UTC`")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        # In UTC the first and the last moments of a `datetime` with another zone lie outside the years 1 to 9999.
        raise InvalidArgument(field, "is out of range; the years 1 to 9999 of UTC are allowed") from None


def span(field: str, value: object) -> timedelta:
    """A span of time of at most 10,000 years."""
    if not isinstance(value, timedelta):
        raise InvalidArgument(field, f"is {_kind(value)}; give a `timedelta`")
    if abs(value) > MAX_SPAN:
        raise InvalidArgument(field, "is out of range; at most 10,000 years are allowed")
    return value


def member(field: str, value: object, kind: type[E]) -> E:
    """A member of `kind`, given as such or by its value."""
    try:
        if (found := kind(value)) in tuple(kind):  # a newer server's, which this version does not know, is none of them
            return found
    except (ValueError, TypeError):
        pass  # refused below, in one way
    allowed = ", ".join(repr(one.value) for one in kind)
    raise InvalidArgument(field, f"{_shown(value)} is unknown; give a member of {kind.__name__}: {allowed}")


def record(field: str, value: object, kind: type[T], *, many: bool = False) -> T:
    """An instance of `kind`."""
    if not isinstance(value, kind):
        what = f"holds {_kind(value)}; give" if many else f"is {_kind(value)}; give a"
        raise InvalidArgument(field, f"{what} {kind.__name__}{' objects' if many else ''}")
    return value


def several(field: str, value: object, of: str) -> Iterator[object]:
    """The members of an iterable, one by one. Text and mappings are refused, not iterated."""
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping | os.PathLike):
        raise InvalidArgument(field, f"is {_kind(value)}; give a list of {of}")
    try:
        return iter(value)  # type: ignore[call-overload, no-any-return]  # a value that it does not take raises TypeError
    except TypeError:
        raise InvalidArgument(field, f"is {_kind(value)}; give a list of {of}") from None


def records(field: str, value: object, kind: type[T]) -> Iterator[T]:
    """Objects of `kind`, read as they are needed; a single object counts as a list of one."""
    found = iter([value]) if isinstance(value, kind) else several(field, value, f"{kind.__name__} objects")
    return (record(field, one, kind, many=True) for one in found)


def texts(field: str, value: object) -> tuple[str, ...]:
    """Texts; a single text counts as a list of one."""
    if isinstance(value, str):
        return (text(field, value),)
    return tuple(text(field, one) for one in several(field, value, "texts"))


def members(field: str, value: object, kind: type[E]) -> tuple[E, ...]:
    """Members of `kind`, given as such or by their values; a single one counts as a list of one."""
    if isinstance(value, kind | str):
        return (member(field, value, kind),)
    return tuple(member(field, one, kind) for one in several(field, value, f"{kind.__name__} members"))


def pairs(field: str, value: object, of: str, check: Callable[[str, object], T]) -> dict[str, T]:
    """A mapping from text to values that `check` lets through; `check` is called with `FIELD.KEY`."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(field, f"is {_kind(value)}; give a mapping from a space's name to {of}")
    return {text(field, name): check(f"{field}.{name}", one) for name, one in value.items()}


def weights(value: object) -> dict[str, float]:
    """Weights by space; None means no weights."""
    if value is None:
        return {}
    return pairs("weights", value, "its weight", lambda field, one: float32(field, one, "above 0"))


def vector(field: str, value: object) -> Vector:
    """float32 `[dimension]` of finite numbers."""
    if isinstance(value, str | bytes | Mapping) or value is None:
        raise InvalidArgument(field, f"is {_kind(value)}; give one vector of numbers")
    try:
        given = np.asarray(value)
    except (TypeError, ValueError):
        raise InvalidArgument(field, "is not a vector; give one list or array of numbers") from None
    if given.dtype.kind not in "fiu":
        raise InvalidArgument(field, f"holds values of type {given.dtype}; give numbers")
    if given.ndim != 1:
        raise InvalidArgument(field, f"has {given.ndim} axes; one is expected")
    with np.errstate(over="ignore"):
        found = given.astype(np.float32)
    if not np.isfinite(found).all():
        raise InvalidArgument(field, "holds NaN, an infinity or a number too large; give finite numbers of 32 bits")
    return found


def picture(field: str, value: object) -> bytes:
    """A picture's encoded bytes, of any size. A file is read up to one byte more than a picture may have.

    Raises `NotFound` and `FailedPrecondition` for a file that is missing or cannot be read.
    """
    if isinstance(value, Path):
        with open_file(value) as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    if isinstance(value, str):
        raise InvalidArgument(field, "is text; give the picture's bytes, or a `pathlib.Path` to read them from")
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidArgument(field, f"is {_kind(value)}; give the picture's bytes, or a `pathlib.Path`")
    return bytes(value)


def space(field: str, value: object) -> Space:
    """A `Space` with checked fields."""
    one = record(field, value, Space, many=True)
    return Space(
        text(f"{field}.name", one.name),
        whole(f"{field}.dimension", one.dimension, "at least 1"),
        member(f"{field}.metric", one.metric, Metric),
        text(f"{field}.fingerprint", one.fingerprint),
        _kind_of_space(f"{field}.kind", one.kind),
    )


def _kind_of_space(field: str, value: object) -> SpaceKind:
    """Settings, which have checked their fields when they were made."""
    if not isinstance(value, SpaceKind):
        raise InvalidArgument(field, f"is {_kind(value)}; give HistogramSettings or ModelSettings")
    return value


def spaces_of(value: Iterable[Space] | Space, field: str = "spaces") -> tuple[Space, ...]:
    """As `space`, for a list; a single space counts as a list of one."""
    return tuple(space(field, one) for one in records(field, value, Space))


def _kind(value: object) -> str:
    """The kind of `value` for an error text: `text`, `None`, `of type Path`."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "text"
    return "bytes" if isinstance(value, bytes) else f"of type {type(value).__name__}"


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits.
        shown = "a number of thousands of digits"
    return shown if len(shown) <= 40 else shown[:37] + "..."
