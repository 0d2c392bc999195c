"""JSON, or the texts of a query or form, as messages of the contract: by protobuf's own mapping, but metadata is plain JSON.

What a field takes is made of its descriptor once: its type, its bound, which fields must be there. A text of a query goes the
same way, after it has become the JSON that it stands for. Fields are known by their own names and in lowerCamelCase. Errors
name the field by its path, and are worded as gRPC's where both refuse the same. Called by `operations` and `search`; what a
message is read into is filled in place, without a copy.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from google.api.field_behavior_pb2 import OUTPUT_ONLY, REQUIRED
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.http_server.json_texts import PIECE, printable, read_json
from gateway.message_json.contract import asked_fields, behavior, is_map, is_ours, members
from lookalike.bounds import most_bytes, most_items, range_of, too_long, too_many
from lookalike.errors import InvalidArgument
from lookalike.metadata import check_metadata
from lookalike.spans import span_of
from lookalike.wire.values import fill_metadata, moment_message, span_message

_Fill: TypeAlias = Callable[[Any, Any, str], None]
"""Puts a value of JSON, which stands at a path, into a message."""
_Read: TypeAlias = Callable[[Any, str], Any]
"""What protobuf takes for a value of JSON, which stands at a path."""

T = TypeVar("T")

_UTF8_BYTES = 4
"""Bytes of a character at most."""
_SHOWN = 80
"""Characters of a name that an error repeats."""
_WHOLE = re.compile(r"-?[0-9]{1,19}")
NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,4})?")
_CAPITAL = re.compile("[A-Z]")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(\.\d{1,9})?([Zz]|[-+]\d\d:\d\d)", re.ASCII)
_MOST = {FieldDescriptor.TYPE_FLOAT: 3.4028235677973366e38, FieldDescriptor.TYPE_DOUBLE: 1.7976931348623157e308}
"""Bounds a number in floating point, before it is rounded."""
_RENAMED = {
    "include_vectors": (("view", "options.view"), "IMAGE_VIEW_FULL"),
    "grace_s": (("grace",), 'a text such as "3600s"'),
    "histogram": (("spaces",), 'an entry {"name": "histogram", "histogram": {...}}'),
    "model": (("spaces",), 'an entry {"name": "siamese", "model": {"name": ...}}'),
}
"""Fields of before, with their places now and what stands there for their value."""
_WERE_LISTS = {"lookalike.v1.QueryVectors": "spaces"}
"""Messages for which JSON had a list before, with the field that holds the list now."""


class Part(NamedTuple):
    """The fields of a `message` that a body or a query brings: all but those that stand elsewhere. Of a `resource`, what the
    server sets is taken and left out, as AIP-203 has it, so that what was read can be sent back changed."""

    message: Descriptor
    elsewhere: frozenset[str] = frozenset()
    resource: bool = False

    @property
    def fields(self) -> list[FieldDescriptor]:
        return [field for field in asked_fields(self.message) if field.name not in self.elsewhere]


def fill(message: Any, value: object, part: Part, path: str = "") -> None:
    """Read `value`, which stands at `path`, into `message`. Raises `InvalidArgument`."""
    try:
        _plan(part).fill(message, value, path)
    except _UnknownFieldError as error:
        problem = f"is {error.place} now" if error.place else not_known(error.name, part)
        raise InvalidArgument(error.path, problem) from None


def fill_from_texts(
    message: Any, texts: Mapping[str, Sequence[str]], part: Part, path: str = "", *, commas: bool = False
) -> None:
    """The same for texts by the name of a field of `part`, each of which a query or a form may have several times.

    In a list an item is a text, or between `commas`; an object is JSON.
    """
    kinds = part.message.fields_by_name
    fill(
        message, {name: _json_of(kinds[name], _inside(path, name), given, commas) for name, given in texts.items()}, part, path
    )


def value_of(field: FieldDescriptor, text: str, path: str) -> Any:
    """The value of a `field` that stands in a path."""
    return _read(field)(text, path)


def own_names(message: Descriptor, given: Mapping[str, T], path: str = "") -> dict[str, T]:
    """`given`, by the own names of the fields of `message`: printers of protobuf's JSON send them in lowerCamelCase. Raises
    `InvalidArgument` for a field that is given by both names."""
    renamed, own = dict[str, T](), _own_by_camel(message)
    for name, value in given.items():
        known = own.get(name, name)
        if known in renamed:
            raise InvalidArgument(_inside(path, known), "is given by both of its names; give one of them")
        renamed[known] = value
    return renamed


@functools.cache
def _own_by_camel(message: Descriptor) -> Mapping[str, str]:
    return {field.json_name: field.name for field in message.fields if field.json_name != field.name}


def _snake(name: str) -> str:
    """The own name of a field that has `name` in lowerCamelCase."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name)


def not_known(name: object, part: Part, problem: str = "is not a field of this request") -> str:
    """What is wrong with a field or parameter that there is not: its place in the request now, or `problem`."""
    places, own = _places(part), _snake(str(name))
    now, value = _RENAMED.get(own, ((), ""))
    place = next((one for one in now if one in places.values()), None) if now else places.get(own)
    if place is None:
        return problem
    return f"is {place} now" + (f", with {value}" if value else "")


class _UnknownFieldError(Exception):
    """A field `name` that the message at `outer` does not have. `place` is where it stands now within its item of a list, if
    anywhere."""

    def __init__(self, outer: str, name: str) -> None:
        super().__init__(outer)
        self.outer, self.name, self.place = outer, name, ""

    @property
    def path(self) -> str:
        return _inside(self.outer, printable(self.name[:_SHOWN]))


class _Plan(NamedTuple):
    """How a message is filled: by the name of each field how, and whether null stands for its absence; names that are taken and
    left out, names that must be there, and those of which one may be."""

    fields: Mapping[str, tuple[_Fill, bool]]
    message: Descriptor
    ignored: frozenset[str]
    required: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]

    def fill(self, message: Any, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument(path or "body", "is not a JSON object")
        if not _own_by_camel(self.message).keys().isdisjoint(value):
            value = own_names(self.message, value, path)
        for name, inner in value.items():
            if (known := self.fields.get(name)) is not None:
                filling, nullable = known
                if inner is not None or not nullable:
                    filling(message, inner, _inside(path, name))
            elif name not in self.ignored:
                raise _UnknownFieldError(path, name)
        for name in self.required:
            if value.get(name) is None:
                raise InvalidArgument(_inside(path, name), "is missing")
        for names in self.choices:
            if len(given := [name for name in names if value.get(name) is not None]) > 1:
                raise InvalidArgument(path or "body", f"{' and '.join(given)} are given; give one of them")


@functools.cache
def _plan(part: Part) -> _Plan:
    names = {field.name for field in part.fields}
    choices = (tuple(field.name for field in oneof.fields if field.name in names) for oneof in part.message.oneofs)
    ignored = (field.name for field in part.message.fields if part.resource and OUTPUT_ONLY in behavior(field))
    return _Plan(
        {field.name: (_filling(field), field.has_presence) for field in part.fields},
        part.message,
        frozenset(ignored),
        tuple(field.name for field in part.fields if REQUIRED in behavior(field)),
        tuple(names for names in choices if len(names) > 1),
    )


@functools.cache
def _places(part: Part) -> Mapping[str, str]:
    """The path of each field of `part` by its name, at any depth, but for those in lists; the least deep of several."""
    places = {field.name: field.name for field in part.fields}
    for field in part.fields:
        if is_ours(field) and not field.is_repeated:
            for name, path in _places(Part(cast(Descriptor, field.message_type))).items():
                if name not in places or path.count(".") + 1 < places[name].count("."):
                    places[name] = f"{field.name}.{path}"
    return places


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- fields ---


def _filling(field: FieldDescriptor) -> _Fill:
    name = field.name
    if is_map(field):
        return _filling_of_map(field)
    if field.is_repeated:
        return _filling_of_list(field)
    if field.message_type is not None:
        inner = _filling_of_message(field)
        return lambda message, value, path: inner(_set(getattr(message, name)), value, path)
    read = _read(field)
    return lambda message, value, path: setattr(message, name, read(value, path))


def _set(message: Any) -> Any:
    """`message`, which is there from now on, if empty."""
    message.SetInParent()
    return message


def _filling_of_list(field: FieldDescriptor) -> _Fill:
    name, most = field.name, most_items(field)
    if field.message_type is not None:
        inner, read = _filling_of_item(field), None
    else:
        inner, read = None, _read(field)

    def filling(message: Any, values: Any, path: str) -> None:
        if not isinstance(values, list):
            raise InvalidArgument(path, "is not a list")
        if len(values) > most:
            raise InvalidArgument(path, too_many(most))
        target = getattr(message, name)
        if inner is not None:
            for index, value in enumerate(values):
                inner(target.add(), value, f"{path}[{index}]")
        elif read is None or not _extended(field, target, values):
            target.extend([read(value, f"{path}[{index}]") for index, value in enumerate(values)])  # type: ignore[misc]

    return filling


def _filling_of_item(field: FieldDescriptor) -> _Fill:
    inner = _filling_of_message(field)
    if not is_ours(field):
        return inner
    places = _places(Part(cast(Descriptor, field.message_type)))

    def filling(message: Any, value: Any, path: str) -> None:
        try:
            inner(message, value, path)
        except _UnknownFieldError as error:
            if error.outer == path and (place := places.get(_snake(error.name))):
                error.place = _inside(path, place)
            raise

    return filling


def _extended(field: FieldDescriptor, target: Any, values: list[Any]) -> bool:
    """Whether `values` are numbers that the list `target` of a `field` took in one go."""
    if field.type not in _MOST or not set(map(type, values)) <= {int, float}:
        return False
    try:
        target.extend(values)
    except OverflowError:
        return False
    return True


def _filling_of_map(field: FieldDescriptor) -> _Fill:
    """All maps of the contract have texts for keys, as JSON has."""
    _, value = field.message_type.fields  # type: ignore[union-attr]  # a map is a list of messages
    name, most, longest, read = field.name, most_items(field), most_bytes(field), _read(value)

    def filling(message: Any, entries: Any, path: str) -> None:
        if not isinstance(entries, dict):
            raise InvalidArgument(path, "is not a JSON object")
        if len(entries) > most:
            raise InvalidArgument(path, too_many(most))
        target = getattr(message, name)
        for entry, inner in entries.items():
            if len(entry.encode()) > longest:
                raise InvalidArgument(path, too_long(len(entry.encode()), longest))
            target[entry] = read(inner, f"{path}.{entry}")

    return filling


def _filling_of_message(field: FieldDescriptor) -> _Fill:
    """Some messages JSON writes in a way of their own."""
    kind = cast(Descriptor, field.message_type)
    match kind.full_name:
        case "lookalike.v1.Metadata":
            return _fill_metadata
        case "google.protobuf.Timestamp":
            return lambda message, value, path: message.CopyFrom(moment_message(_moment(value, path)))
        case "google.protobuf.Duration":
            return lambda message, value, path: message.CopyFrom(span_message(span_of(path, value)))
        case "google.protobuf.FieldMask":
            read = _text_within(most_bytes(field))
            return lambda message, value, path: message.paths.extend(
                filter(None, map(str.strip, _snake(read(value, path)).split(",")))
            )
    part, was_list = Part(kind), _WERE_LISTS.get(kind.full_name)

    def filling(message: Any, value: Any, path: str) -> None:
        if was_list is not None and isinstance(value, list):
            raise InvalidArgument(path, f"is a JSON object now; the list stands in {path}.{was_list}")
        _plan(part).fill(message, value, path)

    return filling


def _fill_metadata(message: Any, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise InvalidArgument(path, "is not a JSON object")
    check_metadata(value, path)
    fill_metadata(message, value)


# --- values ---


@functools.cache
def _read(field: FieldDescriptor) -> _Read:
    """How a value of a field is read that is no message, or an item of such a list."""
    if field.enum_type is not None:
        return _member_of(field)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _text_within(most_bytes(field))
        case FieldDescriptor.TYPE_BYTES:
            return _bytes_within(most_bytes(field))
        case FieldDescriptor.TYPE_BOOL:
            return _flag
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return functools.partial(_number, _MOST[field.type])
        case FieldDescriptor.TYPE_INT32:
            return functools.partial(_whole, *range_of(field))
    return _long


def _text_within(most: int) -> _Read:
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


def _bytes_within(most: int) -> _Read:
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
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise InvalidArgument(path, "is not a whole number of 64 bits")
    return value


def _member_of(field: FieldDescriptor) -> _Read:
    numbers = {name: field.enum_type.values_by_name[name].number for name in members(field)}  # type: ignore[union-attr]
    *others, last = [value.name for value in field.enum_type.values[1:]]  # type: ignore[union-attr]

    def read(value: Any, path: str) -> int:
        if not isinstance(value, str) or value not in numbers:
            shown = repr(printable(value[:_SHOWN])) if isinstance(value, str) else "a value that is not text"
            raise InvalidArgument(path, f"{shown} is unknown; {', '.join(others)} and {last} are allowed")
        return numbers[value]

    return read


def _moment(value: Any, path: str) -> datetime:
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


def _json_of(field: FieldDescriptor, path: str, given: Sequence[str], commas: bool) -> Any:
    """What the texts `given` for a `field` stand for; a text that is not of its type stays, and is refused as it is."""
    if field.is_repeated and not is_map(field):
        items = list(given)
        if commas and len(given) <= most_items(field):  # more are refused, though they be empty
            items = [item.strip() for text in given for item in text.split(",") if item.strip()]
        return [_json_of_one(field, f"{path}[{index}]", item) for index, item in enumerate(items)]
    if len(given) > 1:
        raise InvalidArgument(path, "is given more than once")
    return _json_of_one(field, path, given[0])


def _json_of_one(field: FieldDescriptor, path: str, text: str) -> Any:
    if is_map(field) or is_ours(field):
        try:
            return read_json(text.encode(), path)
        except InvalidArgument as error:
            raise InvalidArgument(path, 'is not a JSON object such as {"siamese": 2}') from error
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    if field.type in _MOST and NUMBER.fullmatch(text):
        return float(text)
    if field.type == FieldDescriptor.TYPE_INT32 and _WHOLE.fullmatch(text):
        return int(text)
    return text
