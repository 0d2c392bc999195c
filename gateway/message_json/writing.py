"""Messages of the contract as JSON: protobuf's own mapping (https://protobuf.dev/programming-guides/json/), but metadata is the
plain JSON that it stands for. Called by `operations` and by the streams.

Names are the proto's own and every field is written out; what may be absent is left out where it is. 64-bit integers are
strings, times RFC 3339, enums their names, and a float has as few digits as it needs. How a message is written is made of the
contract once, so that this takes half the time of protobuf's `json_format`.
"""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from lookalike.wire.values import metadata_from

_Write: TypeAlias = Callable[[Any], Any]


class _Field(NamedTuple):
    """`may_be_absent` says whether it is left out where it is not set; `write` is None where JSON has the value as it is."""

    name: str
    may_be_absent: bool
    write: _Write | None


def to_json(message: Message) -> dict[str, Any]:
    """`message` as an object of JSON."""
    written: dict[str, Any] = {}
    for name, may_be_absent, write in _fields(cast(Descriptor, message.DESCRIPTOR)):
        if not may_be_absent or message.HasField(name):
            value = getattr(message, name)
            written[name] = value if write is None else write(value)
    return written


@functools.cache
def _fields(message: Descriptor) -> tuple[_Field, ...]:
    return tuple(_Field(field.name, field.has_presence, _way(field)) for field in message.fields)


def _way(field: FieldDescriptor) -> _Write | None:
    if not field.is_repeated:
        return _way_of_one(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _way_of_map(field.message_type.fields_by_name["value"])
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _floats
    one = _way_of_one(field)
    return list if one is None else lambda values: [one(value) for value in values]


def _way_of_map(value: FieldDescriptor) -> _Write:
    """All maps of the contract have texts for keys, as JSON has."""
    one = _way_of_one(value)
    return dict if one is None else lambda entries: {key: one(entries[key]) for key in sorted(entries)}


def _way_of_one(field: FieldDescriptor) -> _Write | None:
    if field.enum_type is not None:
        return functools.partial(_member, field.enum_type)
    if field.message_type is not None:
        return _way_of_message(field.message_type)
    return _SCALARS.get(field.type)


def _way_of_message(message: Descriptor) -> _Write:
    match message.full_name:
        case "lookalike.v1.Metadata":
            return metadata_from
        case "google.protobuf.Timestamp" | "google.protobuf.Duration":
            return lambda value: value.ToJsonString()
        case name if name.startswith("google.protobuf."):
            return _as_protobuf_does
        case _:
            return to_json


def _as_protobuf_does(value: Message) -> Any:
    return json_format.MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _member(enum: EnumDescriptor, number: int) -> str | int:
    known = enum.values_by_number.get(number)
    return number if known is None else str(known.name)


def _float(value: float) -> float | str:
    """A float of 32 bits, which NumPy writes with as few digits as it needs."""
    return _number(float(str(np.float32(value))))


def _floats(values: Any) -> list[float | str]:
    """As `_float`, at a time."""
    return [_number(float(text)) for text in np.array(values, np.float32).astype(np.str_).tolist()]


def _number(value: float) -> float | str:
    """A float of JSON; what JSON has no number for is its name."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_SCALARS: dict[int, _Write] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_BYTES: lambda value: base64.b64encode(value).decode(),
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_DOUBLE: _number,
}
"""Types of which JSON has other values."""
