"""What metadata may hold, how it is read from JSON, and when two are the same. Standard library only.

Metadata is a JSON object. Its whole numbers are ints of 64 bits, its other numbers floats of 64 bits: 7 and 7.0 are two values,
which are written as they came and which a filter finds alike. Every way in calls `check_metadata`, so that all refuse the same.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from lookalike.errors import InvalidArgument
from lookalike.names import MAX_METADATA_BYTES

T = TypeVar("T")

MAX_METADATA_LEVELS = 32
"""Protobuf reads at most 100 messages in one another; in a `SearchResponse` metadata of 32 levels needs them all."""
LEAST_WHOLE, MOST_WHOLE = -(2**63), 2**63 - 1
MOST_FLOAT = 1.7976931348623157e308
_SHOWN_BITS = 128
"""Bounds a whole number that an error shows, to 39 digits."""
_SHOWN_CHARACTERS = 40
"""Bounds a key that an error shows."""
_READ_DIGITS = 300
"""Bounds the digits of a whole number where Python's own bound of 4,300 is exceeded; one of more is read as `_BEYOND`, which is
too long for an id, too."""
_BEYOND = 10**_READ_DIGITS
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= _READ_DIGITS else _BEYOND


_DECODER = json.JSONDecoder()
_PATIENT_DECODER = json.JSONDecoder(parse_int=_whole)
"""Reads what the other one cannot. It calls a function for each whole number, which takes twice the time."""


class UnknownValue(enum.Enum):
    """Stands in metadata for a value that a newer server sent, of a kind that this version does not know. `check_metadata`
    refuses it by its path, so that nothing is written in its place."""

    UNKNOWN_VALUE = "(a value that this version of lookalike does not know)"


UNKNOWN_VALUE: Final = UnknownValue.UNKNOWN_VALUE


def check_metadata(metadata: Mapping[str, object], field: str = "metadata") -> None:
    """Raise `InvalidArgument` unless it can be stored: JSON in UTF-8 of at most 16 KiB and 32 levels of objects and lists
    (itself the first), whole numbers of 64 bits, finite floats.

    The error names the value by its path from `field` on, such as `metadata.sizes[3].width`.
    """
    try:
        _check(metadata, 1)
    except _BadValueError as error:
        raise InvalidArgument(f"{field}{error.path}", error.problem) from None
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), default=dict)
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        path = f"{field}{_half_character(metadata)}"
        raise InvalidArgument(path, "holds text that is not Unicode (a lone surrogate)") from None
    if size_bytes > MAX_METADATA_BYTES:
        raise InvalidArgument(field, f"is {size_bytes} bytes long as JSON; at most {MAX_METADATA_BYTES} are allowed")


def read_json(text: str) -> Any:
    """The value of a JSON text. Numbers that metadata cannot hold, NaN and infinities among them, are read as values that
    `check_metadata` refuses by their path. Raises ValueError and RecursionError as `json.loads`."""
    return _read(lambda decoder: decoder.decode(text))


def read_json_part(text: str) -> tuple[Any, int]:
    """As `read_json`, for a text that begins with the value: the value, and the place at which it ends."""
    return _read(lambda decoder: decoder.raw_decode(text))


def same_metadata(one: object, other: object) -> bool:
    """Whether two values of metadata, or two whole ones, are the same JSON: 1, 1.0 and true differ, orders of keys do not."""
    if isinstance(one, Mapping):
        if not isinstance(other, Mapping) or one.keys() != other.keys():
            return False
        return all(same_metadata(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same_metadata, one, other))
    return type(one) is type(other) and one == other


def _read(read: Callable[[json.JSONDecoder], T]) -> T:
    try:
        return read(_DECODER)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python reads no whole number of more than 4,300 digits.
        return read(_PATIENT_DECODER)


class _BadValueError(Exception):
    """Says what is wrong with a value. Each object and list on the way up adds its part of the path."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path, self.problem = "", problem


def _check(value: Any, level: int) -> None:
    """Raise `_BadValueError` unless `value`, which is at that level of objects and lists, can be stored."""
    if isinstance(value, str | bool) or value is None:
        return
    if isinstance(value, int):
        if not LEAST_WHOLE <= value <= MOST_WHOLE:
            shown = str(value) if value.bit_length() <= _SHOWN_BITS else "a whole number of more than 38 digits"
            allowed = f"whole numbers from {LEAST_WHOLE} to {MOST_WHOLE} are allowed, others as text"
            raise _BadValueError(f"{shown} is out of range; {allowed}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            shown = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            raise _BadValueError(f"{shown} is not a number of JSON; numbers from {-MOST_FLOAT} to {MOST_FLOAT} are allowed")
    elif isinstance(value, Mapping):
        _check_inner(value.items(), level, of_object=True)
    elif isinstance(value, list | tuple):
        _check_inner(enumerate(value), level, of_object=False)
    elif isinstance(value, UnknownValue):
        raise _BadValueError("has no kind that is known; text, numbers, true, false, null, lists and objects are allowed")
    else:
        raise _BadValueError(f"is of type {type(value).__name__}; JSON has text, numbers, true, false, null, lists and objects")


def _check_inner(values: Iterable[tuple[object, Any]], level: int, *, of_object: bool) -> None:
    if level > MAX_METADATA_LEVELS:
        raise _BadValueError(f"is nested deeper than {MAX_METADATA_LEVELS} levels")
    place: object = ""
    try:
        for place, value in values:
            if of_object and not isinstance(place, str):
                raise _BadValueError(f"its key is of type {type(place).__name__}; keys must be text")
            _check(value, level + 1)
    except _BadValueError as error:
        error.path = f"{_part(place)}{error.path}"
        raise


def _part(place: object) -> str:
    """A part of a path: the index of a list, or the key of an object as a filter names it."""
    if isinstance(place, int):
        return f"[{place}]"
    key = str(place)[:_SHOWN_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f".`{key}`"


def _half_character(value: object) -> str:
    """The path of a text, or of a key, that no UTF-8 can hold; "" where there is none."""
    if isinstance(value, Mapping):
        inner: Iterable[tuple[object, object]] = value.items()
    else:
        inner = enumerate(value) if isinstance(value, list | tuple) else ()
    for place, one in inner:
        texts = [text for text in (place, one) if isinstance(text, str)]
        path = "" if any(map(_SURROGATE.search, texts)) else _half_character(one)
        if path or any(map(_SURROGATE.search, texts)):
            return f"{_part(place)}{path}"
    return ""
