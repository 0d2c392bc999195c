"""Values of JSON as what a field of a message takes, for fields that are no messages. Called by `reading`.

What is of another type, out of its range or over its bound is refused by the path at which it stands.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from gateway.http_server.json_texts import PIECE, printable
from gateway.message_json.contract import members
from lookalike.bounds import MOST_FLOAT32, most_bytes, range_of, too_long
from lookalike.errors import InvalidArgument
from lookalike.metadata import MOST_FLOAT

Read: TypeAlias = Callable[[Any, str], Any]
"""What protobuf takes for a value of JSON, which stands at a path."""

SHOWN = 80
"""Characters of a name that an error repeats."""
MOST_OF_FLOATS = {FieldDescriptor.TYPE_FLOAT: MOST_FLOAT32, FieldDescriptor.TYPE_DOUBLE: MOST_FLOAT}
"""The greatest number of each kind in floating point, before it is rounded."""
WHOLE = re.compile(r"-?[0-9]{1,19}")
_UTF8_BYTES = 4
"""Bytes of a character at most."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(\.\d{1,9})?([Zz]|[-+]\d\d:\d\d)", re.ASCII)


@functools.cache
def reader_of(field: FieldDescriptor) -> Read:
    """How a value of a field is read that is no message, or an item of such a list."""
    if field.enum_type is not None:
        return _member_of(field)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return text_within(most_bytes(field))
        case FieldDescriptor.TYPE_BYTES:
            return _bytes_within(most_bytes(field))
        case FieldDescriptor.TYPE_BOOL:
            return _flag
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return functools.partial(_number, MOST_OF_FLOATS[field.type])
        case FieldDescriptor.TYPE_INT32:
            return functools.partial(_whole, *range_of(field))
    return _long


def text_within(most: int) -> Read:
    def read(value: Any, path: str) -> str:
        text = _text(value, path)
        if len(text) * _UTF8_BYTES > most and (size_bytes := len(text.encode(errors="replace"))) > most:
            raise InvalidArgument(path, too_long(size_bytes, most))
        return text

    return read


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(path, "is not text")
    return value


def _bytes_within(most: int) -> Read:
    """Base64, read a piece at a time: all of a large picture in one go would take a tenth of a second."""

    def read(value: Any, path: str) -> bytes:
        text = _text(value, path)
        if len(text) > -(-most // 3) * 4:
            raise InvalidArgument(path, too_long(len(text) // 4 * 3, most))
        try:
            if "=" in text[:-2]:
                raise ValueError
            pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
            return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
        except ValueError as error:
            raise InvalidArgument(path, "is not base64") from error

    return read


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(path, "is neither true nor false")
    return value


def _number(most: float, value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidArgument(path, "is not a number")
    if not -most <= value <= most:  # true of NaN, too
        raise InvalidArgument(path, f"is not a number from {-most:.4g} to {most:.4g}")
    return value


def _whole(least: int, most: int, value: Any, path: str) -> int:
    """A number of 32 bits. What is beyond its bound by less than that is refused by the core, over gRPC too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise InvalidArgument(path, f"is not a whole number from {least:,} to {most:,}")
    return value


def _long(value: Any, path: str) -> int:
    """A number of 64 bits, or its digits, since not every reader of JSON keeps all of it."""
    if isinstance(value, str) and WHOLE.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise InvalidArgument(path, "is not a whole number of 64 bits")
    return value


def _member_of(field: FieldDescriptor) -> Read:
    numbers = {name: field.enum_type.values_by_name[name].number for name in members(field)}  # type: ignore[union-attr]
    *others, last = [value.name for value in field.enum_type.values[1:]]  # type: ignore[union-attr]

    def read(value: Any, path: str) -> int:
        if not isinstance(value, str) or value not in numbers:
            shown = repr(printable(value[:SHOWN])) if isinstance(value, str) else "a value that is not text"
            raise InvalidArgument(path, f"{shown} is unknown; {', '.join(others)} and {last} are allowed")
        return numbers[value]

    return read


def moment_of(value: Any, path: str) -> datetime:
    """RFC 3339. A leap second is the first second after it, as protobuf has none."""
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        day, hours, seconds, fraction, zone = match.groups(default="")
        leaps = seconds == "60"
        moment = datetime.fromisoformat(f"{day}T{hours}{59 if leaps else seconds}{fraction}{zone.upper()}")
        return (moment + timedelta(seconds=leaps)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            path, "is not a time with its zone, such as 2026-11-30T12:00:00Z, in the years 1 to 9999"
        ) from None
