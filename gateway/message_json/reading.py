"""JSON, or the texts of a query or form, as messages of the contract: by protobuf's own mapping, but metadata is plain JSON.

What a field takes is made of its descriptor once: its type, its bound, which fields must be there. A text of a query goes the
same way, after it has become the JSON that it stands for. Fields are known by their own names and in lowerCamelCase. Errors
name the field by its path, and are worded as gRPC's where both refuse the same. Called by `operations` and `search`; what a
message is read into is filled in place, without a copy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from google.api.field_behavior_pb2 import OUTPUT_ONLY, REQUIRED
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.http_server.json_texts import printable, read_json
from gateway.message_json.contract import asked_fields, behavior, is_map, is_ours
from gateway.message_json.values import MOST_OF_FLOATS, SHOWN, WHOLE, moment_of, reader_of, text_within
from lookalike.bounds import most_bytes, most_items, too_long, too_many
from lookalike.errors import InvalidArgument
from lookalike.metadata import check_metadata
from lookalike.spans import span_of
from lookalike.wire.values import fill_metadata, moment_message, span_message

_Fill: TypeAlias = Callable[[Any, Any, str], None]
"""Puts a value of JSON, which stands at a path, into a message."""

T = TypeVar("T")

NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,4})?")
_CAPITAL = re.compile("[A-Z]")
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
    return reader_of(field)(text, path)


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
        return _inside(self.outer, printable(self.name[:SHOWN]))


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
    read = reader_of(field)
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
        inner, read = None, reader_of(field)

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
    if field.type not in MOST_OF_FLOATS or not set(map(type, values)) <= {int, float}:
        return False
    try:
        target.extend(values)
    except OverflowError:
        return False
    return True


def _filling_of_map(field: FieldDescriptor) -> _Fill:
    """All maps of the contract have texts for keys, as JSON has."""
    _, value = field.message_type.fields  # type: ignore[union-attr]  # a map is a list of messages
    name, most, longest, read = field.name, most_items(field), most_bytes(field), reader_of(value)

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
            return lambda message, value, path: message.CopyFrom(moment_message(moment_of(value, path)))
        case "google.protobuf.Duration":
            return lambda message, value, path: message.CopyFrom(span_message(span_of(path, value)))
        case "google.protobuf.FieldMask":
            read = text_within(most_bytes(field))
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


# --- texts ---


def _json_of(field: FieldDescriptor, path: str, given: Sequence[str], commas: bool) -> Any:
    """What the texts `given` for a `field` stand for; a text that is not of its type stays, and is refused as it is."""
    if field.is_repeated and not is_map(field):
        items = list(given)
        if commas and len(given) <= (most := most_items(field)):  # more are refused, though they be empty
            parts = (part.strip() for text in given for part in text.split(",", most))
            items = [part for part in parts if part]
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
    if field.type in MOST_OF_FLOATS and NUMBER.fullmatch(text):
        return float(text)
    if field.type == FieldDescriptor.TYPE_INT32 and WHOLE.fullmatch(text):
        return int(text)
    return text
