"""Bounds of requests, checked before a request is parsed. The bounds themselves stand in the contract, beside each field.

A message of 16 MB with eight million empty messages takes protobuf 0.3 s and 380 MB to parse, and holds Python's lock all that
time. So the bytes are walked first, by a plan that is made of the contract once: lists are counted, lengths are compared, and
values without fields are skipped. That costs some microseconds for a search, and stops at the first field over its bound.

The servers' interceptors call it for every request, other code for messages of the contract (`check_message`). HTTP asks for
the bounds of its bodies (`most_items`, `most_bytes`, `most_characters`, `range_of`, in the words of `too_many` and `too_long`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from lookalike.errors import InvalidArgument
from lookalike.v1 import bounds_pb2

M = TypeVar("M", bound=Message)

UNREADABLE = "REQUEST_UNREADABLE"
UNKNOWN = "FIELD_UNKNOWN"
SLICE_BYTES = 64 * 1024
"""Bounds the part of a message that is parsed at once, in a millisecond, so that other threads get their turn."""
_MOST_STRANGE = 64
"""Bounds the fields of a message that this version does not know, or that repeat a single value."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10
MOST_FLOAT32 = 3.4028235677973362e38
"""The greatest number that becomes a finite float of 32 bits."""
_PACKED = {
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    FieldDescriptor.CPPTYPE_DOUBLE: 8,
    FieldDescriptor.CPPTYPE_ENUM: 1,
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_INT32: 1,
    FieldDescriptor.CPPTYPE_UINT32: 1,
    FieldDescriptor.CPPTYPE_INT64: 1,
    FieldDescriptor.CPPTYPE_UINT64: 1,
}
"""Bytes of a number in a packed list; where that varies, the least."""


@dataclass(frozen=True, slots=True)
class _Field:
    """`most` items, each of at most `max_bytes`; `width` is above 0 where numbers come packed; `inner` is None for bytes, texts
    and messages without bounds of their own."""

    name: str
    most: int
    max_bytes: int
    width: int
    inner: _Plan | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The fields of a message that may be long, by number, and the numbers of its fields with one short value."""

    name: str
    long: dict[int, _Field]
    short: frozenset[int]


class _OverBoundError(Exception):
    """A bound is exceeded. Each message on the way up adds its part of the field's path."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem


class _UnknownFieldError(Exception):
    """A message has a field that this version does not know, where such are refused."""


class _NoMessageError(Exception):
    """The bytes are not a message."""


def read(content: bytes, message_class: type[M], *, strict: bool = False) -> M:
    """The message of `content`, if it keeps to the bounds of the contract.

    Raises `InvalidArgument` with the field that is over its bound, or REQUEST_UNREADABLE for bytes that are not such a message;
    where it is `strict`, FIELD_UNKNOWN for a field that this version does not know, at any depth. What metadata holds is judged
    where it is read.
    A large message is parsed a slice at a time, so that other threads run meanwhile.
    """
    slices = check(content, _descriptor(message_class), strict=strict)
    if len(slices) == 1:
        return message_class.FromString(content)
    message, view = message_class(), memoryview(content)
    for start, end in slices:
        message.MergeFromString(bytes(view[start:end]))
    return message


def check(content: bytes, message: Descriptor, *, strict: bool = False) -> list[tuple[int, int]]:
    """Raise `InvalidArgument` as `read` does. Returns the places at which `content` may be cut, into parts of some 64 KB that
    can be parsed into one message in turn, since protobuf merges by concatenation."""
    try:
        cuts = _walk(content, 0, len(content), _plan(message), strict)
    except _OverBoundError as error:
        raise InvalidArgument(error.path, error.problem) from None
    except _UnknownFieldError as error:
        raise InvalidArgument("request", str(error), reason=UNKNOWN) from None
    except (_NoMessageError, IndexError):
        raise InvalidArgument("request", f"cannot be read: it is no {message.full_name}", reason=UNREADABLE) from None
    return list(zip([0, *cuts], [*cuts, len(content)], strict=True))


def check_message(message: Message) -> None:
    """As `check`, for a parsed message."""
    check(message.SerializeToString(), _descriptor(message))


def most_items(field: FieldDescriptor) -> int:
    """The bound of a list or map; 0 where there is none."""
    return _bound(field, bounds_pb2.max_items)


def most_bytes(field: FieldDescriptor) -> int:
    """The bound of a text, of bytes, or of each of them in a list."""
    return _bound(field, bounds_pb2.max_bytes)


def most_characters(field: FieldDescriptor) -> int:
    """The most characters of a text: its bound in characters, or where there is none its bound in bytes."""
    return _bound(field, bounds_pb2.max_characters) or _bound(field, bounds_pb2.max_bytes)


def range_of(field: FieldDescriptor) -> tuple[int, int]:
    """The least and the most of a whole number."""
    return _bound(field, bounds_pb2.minimum), _bound(field, bounds_pb2.maximum) or 2**31 - 1


def float_range_of(field: FieldDescriptor) -> tuple[float, float]:
    """The least and the most of a float of 32 bits."""
    if most := _bound(field, bounds_pb2.maximum):
        return float(_bound(field, bounds_pb2.minimum)), float(most)
    return -MOST_FLOAT32, MOST_FLOAT32


def too_many(most: int) -> str:
    """What is wrong with a list or map of more than `most` items."""
    return f"more than {most:,} are given; at most {most:,} are allowed"


def too_long(size_bytes: int, most: int) -> str:
    """What is wrong with a text, or with bytes, of more than `most` bytes."""
    return f"is {size_bytes:,} bytes long; at most {most:,} are allowed"


def unbounded(message: Descriptor) -> Iterator[str]:
    """The fields of `message`, at any depth, that can be long and have no bound."""
    for field in _all_fields(message, frozenset()):
        needs = []
        if field.is_repeated:
            needs.append(bounds_pb2.max_items)
        kinds = _parts(field) if _is_map(field) else [field]
        if any(_is_text(kind) or _is_opaque(kind) for kind in kinds):
            needs.append(bounds_pb2.max_bytes)
        if not all(_bound(field, need) for need in needs):
            yield field.full_name


def _descriptor(message: Message | type[Message]) -> Descriptor:
    return cast(Descriptor, message.DESCRIPTOR)


def _parts(field: FieldDescriptor) -> Sequence[FieldDescriptor]:
    """The fields of the message that `field` holds; for a map its key and value."""
    return () if field.message_type is None else field.message_type.fields


def _all_fields(message: Descriptor, seen: frozenset[str]) -> Iterator[FieldDescriptor]:
    if message.full_name in seen:
        return
    for field in message.fields:
        yield field
        if field.message_type is not None and not _is_map(field) and not _is_opaque(field):
            yield from _all_fields(field.message_type, seen | {message.full_name})


@functools.cache
def _plan(message: Descriptor) -> _Plan:
    made = {field.number: _field(field) for field in message.fields}
    long = {number: field for number, field in made.items() if field is not None}
    return _Plan(message.full_name, long, frozenset(made.keys() - long.keys()))


def _field(field: FieldDescriptor) -> _Field | None:
    """The plan of a field; None for one short value: a number, or a message of such."""
    items, size_bytes = _bound(field, bounds_pb2.max_items), _bound(field, bounds_pb2.max_bytes)
    if _is_map(field):
        key, value = _parts(field)
        inner = _Plan(
            field.full_name,
            {
                entry.number: _Field("", 0, size_bytes, 0, None)
                for entry in (key, value)
                if _is_text(entry) or entry.message_type is not None
            },
            frozenset({key.number, value.number}),
        )
        return _Field(field.name, items, 0, 0, inner)
    if field.message_type is not None and not _is_opaque(field):
        inner = _plan(field.message_type)
        return _Field(field.name, items if field.is_repeated else 0, 0, 0, inner)
    if _is_text(field) or _is_opaque(field):
        return _Field(field.name, items if field.is_repeated else 0, size_bytes, 0, None)
    return _Field(field.name, items, 0, _PACKED[field.cpp_type], None) if field.is_repeated else None


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_text(field: FieldDescriptor) -> bool:
    return field.cpp_type == FieldDescriptor.CPPTYPE_STRING  # bytes too


def _is_opaque(field: FieldDescriptor) -> bool:
    """Whether a message is bounded by its bytes as a whole: `Metadata`, which can hold itself, and protobuf's own messages that
    may hold any value. A timestamp or duration is two numbers."""
    kind = field.message_type
    if kind is None:
        return False
    if kind.full_name.startswith("lookalike."):
        return _holds_itself(kind)
    return any(_not_a_number(part) for part in kind.fields)


@functools.cache
def _holds_itself(message: Descriptor) -> bool:
    """Whether a message may stand within itself, at any depth."""
    reached, left = set[str](), [message]
    while left:
        inner = [field.message_type for field in left.pop().fields if field.message_type is not None]
        left += [kind for kind in inner if kind.full_name not in reached]
        reached.update(kind.full_name for kind in inner)
    return message.full_name in reached


def _not_a_number(field: FieldDescriptor) -> bool:
    return field.is_repeated or field.cpp_type in (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)


def _bound(field: FieldDescriptor, option: object) -> int:
    return int(field.GetOptions().Extensions[option])  # type: ignore[index]  # its stub knows no generic options


def _walk(content: bytes, position: int, end: int, plan: _Plan, strict: bool) -> list[int]:
    """Check the fields of a message in `content[position:end]`; return the places at which it may be cut.

    Raises `_OverBoundError`, `_UnknownFieldError` where it is `strict`, and `_NoMessageError` or IndexError for bytes that are
    not a message.
    """
    counts: dict[int, int] = {}
    strange = 0
    cuts: list[int] = []
    cut_at = position + SLICE_BYTES
    while position < end:
        if position >= cut_at:
            cuts.append(position)
            cut_at = position + SLICE_BYTES
        tag = content[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint(content, position - 1)
        number, kind = tag >> 3, tag & 7
        length = 0
        if kind == _BYTES:
            length = content[position]
            position += 1
            if length >= 0x80:
                length, position = _varint(content, position - 1)
        elif kind == _VARINT:
            position = _varint(content, position)[1]
        elif kind in (_FIXED32, _FIXED64):
            position += 4 if kind == _FIXED32 else 8
        if position + length > end or not number or kind not in (_BYTES, _VARINT, _FIXED32, _FIXED64):
            raise _NoMessageError
        field = plan.long.get(number)
        if field is None or (kind != _BYTES and not field.width):
            if strict and number not in plan.short:
                raise _UnknownFieldError(
                    f"holds field {number}, which {plan.name} does not have here; is this server older than the caller?"
                )
            strange += number not in plan.short or number in counts
            counts[number] = 1
        elif field.width:
            counts[number] = counts.get(number, 0) + (-(-length // field.width) if kind == _BYTES else 1)
            if counts[number] > field.most:
                raise _OverBoundError(field.name, too_many(field.most))
        else:
            count = counts[number] = counts.get(number, 0) + 1
            if field.most and count > field.most:
                raise _OverBoundError(field.name, too_many(field.most))
            strange += not field.most and count > 1
            if field.inner is not None:
                _walk_inner(content, position, length, field, count, strict)
            elif length > field.max_bytes:
                raise _OverBoundError(_place(field, count), too_long(length, field.max_bytes))
        if strange > _MOST_STRANGE:
            raise _OverBoundError("request", f"holds more than {_MOST_STRANGE} fields that a {plan.name} does not have")
        position += length
    if position != end:
        raise _NoMessageError
    return cuts


def _walk_inner(content: bytes, position: int, length: int, field: _Field, count: int, strict: bool) -> None:
    if field.inner is None:
        return
    try:
        _walk(content, position, position + length, field.inner, strict)
    except _OverBoundError as error:
        if error.path == "request":
            raise
        path = f"{_place(field, count)}.{error.path}" if error.path else field.name
        raise _OverBoundError(path, error.problem) from None


def _place(field: _Field, count: int) -> str:
    return f"{field.name}[{count - 1}]" if field.most else field.name


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the position after it."""
    value = shift = 0
    for taken in range(_VARINT_BYTES):
        byte = content[position + taken]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + taken + 1
        shift += 7
    raise _NoMessageError
