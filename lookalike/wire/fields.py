"""Records <-> messages of the contract, field by field: the one place that copies what has one name on both sides.

How a value is copied, the contract says: a `Timestamp` is a moment, a `Duration` a span, `Metadata` a mapping, an enum the
member of its name, a message the record that stands there, a list a tuple, a oneof of messages the record of the one that is
given. Absence is None where the record's field may be None. A field that has no namesake is the caller's to give.
`tests/unit/lookalike/wire/test_round_trip.py` finds one that is forgotten.

Used by the other files of `wire`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_type_hints

import numpy as np
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from lookalike.errors import Internal, InvalidArgument
from lookalike.spaces import UnknownKind
from lookalike.wire.values import (
    histogram_from,
    metadata_from,
    metadata_message,
    moment_from,
    moment_message,
    span_from,
    span_message,
)

UNKNOWN = "UNKNOWN"
"""The name of a member of an enum that a newer server sent."""
E = TypeVar("E", bound=enum.Enum)
M = TypeVar("M", bound=Message)
R = TypeVar("R")
_Write = Callable[[Any], Any]
_Read = Callable[[Any, str], Any]
"""Takes a value of a message and where it stands in the message, for errors."""


class _Choice(NamedTuple):
    """A field of the record that stands for a oneof of the message, both of one name: the fields of the oneof, by the record
    that each holds."""

    name: str
    fields: Mapping[type, _Field]
    may_be_unknown: bool

    def written(self, value: Any) -> dict[str, Any]:
        if isinstance(value, UnknownKind):
            return {}
        field = self.fields[type(value)]
        return {field.name: value if field.write is None else field.write(value)}

    def read(self, message: Message, path: str) -> Any:
        """Raises `Internal` where nothing is given that this version knows, unless the record has a place for that."""
        given = message.WhichOneof(self.name)
        for field in self.fields.values():
            if field.name == given and field.read is not None:
                return field.read(getattr(message, given), _inside(path, given))
        if self.may_be_unknown:
            return UnknownKind()
        raise Internal(f"an answer has no {_inside(path, self.name)} that this version of lookalike knows")


class _Field(NamedTuple):
    """A field that both have: its name, whether None stands for absence, and how its value is written and read; None for a
    value that is the same on both sides."""

    name: str
    optional: bool
    write: _Write | None
    read: _Read | None


def message_of(kind: type[M], record: Any, **given: Any) -> M:
    """A message of `kind` with what `record` has for it. `given` are fields of the message that are made in another way."""
    for name, _, write, _ in _shared(cast(Any, type(record)), cast(Any, kind)):
        if name not in given:
            value = getattr(record, name)
            given[name] = value if write is None or value is None else write(value)
    for choice in _choices(cast(Any, type(record)), cast(Any, kind)):
        given |= choice.written(getattr(record, choice.name))
    return kind(**given)


def record_of(kind: type[R], message: Message, path: str = "", **given: Any) -> R:
    """A record of `kind` with what `message` has for it. `given` are fields of the record that are made in another way; `path`
    is where the message stands, for errors.

    A member of an enum that this version does not know is one of the name UNKNOWN. Raises `Internal` for a member of a oneof
    that this version does not know, and `InvalidArgument` for a time that no calendar has, or a span that the contract does not
    allow.
    """
    for name, optional, _, read in _shared(cast(Any, kind), cast(Any, type(message))):
        if name not in given:
            value = None if optional and not message.HasField(name) else getattr(message, name)
            given[name] = value if read is None or value is None else read(value, _inside(path, name))
    for choice in _choices(cast(Any, kind), cast(Any, type(message))):
        given[choice.name] = choice.read(message, path)
    return kind(**given)


def asked_of(kind: type[R], message: Message, path: str) -> R:
    """As `record_of`, from a part of a request: what the caller left open has the record's default.

    Raises `InvalidArgument` for a number that an enum does not have.
    """
    given: dict[str, Any] = {}
    for name, _, _, read in _shared(cast(Any, kind), cast(Any, type(message))):
        field, value = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
        if field.has_presence and not message.HasField(name):
            continue
        if field.enum_type is not None:
            _check_member(cast(EnumDescriptor, field.enum_type), value, f"{path}.{name}")
            if not value:
                continue
        given[name] = value if read is None else read(value, f"{path}.{name}")
    return kind(**given)


def member_from(kind: type[E], contract: EnumDescriptor, number: int, path: str) -> E | None:
    """The member of a request's enum; None for 0, by which the caller left it open. Raises as `asked_of`."""
    _check_member(contract, number, path)
    return members_of(kind, contract)[number] if number else None


def _check_member(contract: EnumDescriptor, number: int, path: str) -> None:
    if number not in contract.values_by_number:
        *others, last = [value.name for value in contract.values[1:]]
        raise InvalidArgument(path, f"{number} is unknown; {', '.join(others)} and {last} are allowed")


def numbers_of(kind: type[E], contract: EnumDescriptor) -> dict[E, Any]:
    """The members of `kind` with the numbers of their namesakes in the contract, which has a prefix before each name."""
    prefix = contract.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {member: contract.values_by_name[prefix + member.name].number for member in kind}


def members_of(kind: type[E], contract: EnumDescriptor) -> dict[int, E]:
    """As `numbers_of`, the other way round."""
    return {number: member for member, number in numbers_of(kind, contract).items()}


@functools.cache
def _shared(record: Any, message: Any) -> tuple[_Field, ...]:
    """The fields that records of one class and messages of another share."""
    contract, hints = message.DESCRIPTOR.fields_by_name, get_type_hints(record)
    return tuple(_field(contract[name], hints[name]) for name in (field.name for field in fields(record)) if name in contract)


@functools.cache
def _choices(record: Any, message: Any) -> tuple[_Choice, ...]:
    """The oneofs of messages of one class that a field of a record stands for."""
    contract, hints = message.DESCRIPTOR.oneofs_by_name, get_type_hints(record)
    return tuple(
        _choice(contract[field.name], get_args(hints[field.name])) for field in fields(record) if field.name in contract
    )


def _choice(theirs: OneofDescriptor, records: tuple[Any, ...]) -> _Choice:
    """The record of a field is the one with the name of its message."""
    by_name = {record.__name__: record for record in records}
    found = {by_name[field.message_type.name]: field for field in theirs.fields if field.message_type is not None}
    return _Choice(theirs.name, {record: _field(field, record) for record, field in found.items()}, UnknownKind in records)


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _field(theirs: FieldDescriptor, hint: Any) -> _Field:
    optional = NoneType in get_args(hint)
    kind = next(kind for kind in get_args(hint) if kind is not NoneType) if optional else hint
    return _Field(theirs.name, optional and theirs.has_presence, *_ways(theirs, kind))


def _ways(theirs: FieldDescriptor, hint: Any) -> tuple[_Write | None, _Read | None]:
    if not theirs.is_repeated:
        return _ways_of_one(theirs, hint)
    if theirs.message_type is not None and theirs.message_type.GetOptions().map_entry:
        return _ways_of_map(theirs.message_type.fields_by_name["value"], get_args(hint)[-1])
    if get_args(hint)[-1:] == (np.dtype[np.float32],):
        return lambda array: array.tolist(), lambda values, _path: np.array(values, np.float32)
    write, read = _ways_of_one(theirs, (*get_args(hint), None)[0])
    return (
        None if write is None else lambda values: [write(value) for value in values],
        _tuple if read is None else lambda values, path: tuple(read(value, f"{path}[{n}]") for n, value in enumerate(values)),
    )


def _ways_of_map(theirs: FieldDescriptor, hint: Any) -> tuple[_Write | None, _Read | None]:
    write, read = _ways_of_one(theirs, hint)
    return (
        None if write is None else lambda values: {key: write(value) for key, value in values.items()},
        _dict if read is None else lambda values, path: {key: read(value, f"{path}.{key}") for key, value in values.items()},
    )


def _dict(values: Any, _path: str) -> dict[Any, Any]:
    return dict(values)


def _tuple(values: Any, _path: str) -> tuple[Any, ...]:
    return tuple(values)


def _ways_of_one(theirs: FieldDescriptor, hint: Any) -> tuple[_Write | None, _Read | None]:
    if theirs.enum_type is not None:
        return _ways_of_member(theirs.enum_type, hint)
    if theirs.message_type is None:
        return None, None
    match theirs.message_type.full_name:
        case "google.protobuf.Timestamp":
            return moment_message, moment_from
        case "google.protobuf.Duration":
            return span_message, span_from
        case "lookalike.v1.Metadata":
            return metadata_message, lambda message, _path: metadata_from(message)
        case "lookalike.v1.HistogramSettings":
            return functools.partial(message_of, GetMessageClass(theirs.message_type)), histogram_from
        case _:
            return functools.partial(message_of, GetMessageClass(theirs.message_type)), functools.partial(record_of, hint)


def _ways_of_member(contract: EnumDescriptor, kind: type[E]) -> tuple[_Write, _Read]:
    numbers, known = numbers_of(kind, contract), members_of(kind, contract)

    def read(number: int, _path: str) -> E:
        return known[number] if number in known else _unknown(kind, number)

    return numbers.__getitem__, read


@functools.cache
def _unknown(kind: type[E], number: int) -> E:
    """What stands for a member that a newer server sent: its name is UNKNOWN, its value has the number. `kind` itself does not
    have it, so that nothing that goes through its members, and no request, meets it."""
    member = object.__new__(kind)
    member._name_, member._value_ = UNKNOWN, f"unknown ({number})"
    return member
