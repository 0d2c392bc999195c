"""JSON Schemas of messages of the contract, made of their descriptors with their comments and bounds. Called by `openapi` and
`search`.

What a schema invites to is read by `reading`, and what it does not is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from google.api.field_behavior_pb2 import OPTIONAL, OUTPUT_ONLY, REQUIRED
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.message_json.contract import behavior, comment, is_map, is_ours, members
from gateway.message_json.reading import Part
from lookalike.bounds import float_range_of, most_bytes, most_characters, most_items, range_of
from lookalike.names import PATTERNS
from lookalike.records.search_options import DEFAULT_TOP_K
from lookalike.spans import PATTERN
from lookalike.v1 import bounds_pb2
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.masks import changeable_paths

_DEFAULTS = {pb.SearchOptions.DESCRIPTOR.fields_by_name["top_k"].full_name: DEFAULT_TOP_K}
"""What the absence of a field means, where that is another value than nought."""
_TEXT = {"type": "string"}
_FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "lookalike.v1.Metadata": {"type": "object", "additionalProperties": True},
    "google.protobuf.Any": {"type": "object", "additionalProperties": True},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": PATTERN, "maxLength": 24},
    "google.protobuf.FieldMask": {"type": "string"},
}
"""Messages that JSON writes in a way of their own."""
_SCALARS: Mapping[int, Mapping[str, Any]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
}
"""All others are texts; JSON's numbers do not keep 64 bits everywhere."""


class Schemas:
    """The schemas of messages by name, besides those that are `named` already. `instead` has the name of the schema for a field
    of an answer, by the field's full name, where that is another than its message's."""

    def __init__(self, named: Mapping[str, Any], instead: Mapping[str, str]) -> None:
        self.named, self._instead = dict(named), instead

    def answer(self, message: Descriptor) -> dict[str, Any]:
        """A message of an answer, by its name."""
        if message.name not in self.named:
            self.named[message.name] = {}  # for one that holds itself
            fields = {field.name: self._answered(field) for field in message.fields}
            needed = [field.name for field in message.fields if OPTIONAL not in behavior(field) and not field.containing_oneof]
            self.named[message.name] = object_of(fields, needed, comment(message.full_name))
        return reference(message.name)

    def request(self, part: Part, name: str) -> dict[str, Any]:
        """A body, by its `name`."""
        if name not in self.named:
            fields = {field.name: _or_null(self.asked(field), field) for field in part.fields}
            if part.resource:
                ignored = [field for field in part.message.fields if OUTPUT_ONLY in behavior(field)]
                fields |= {field.name: {"readOnly": True, "description": comment(field.full_name)} for field in ignored}
            needed = [field.name for field in part.fields if REQUIRED in behavior(field)]
            made = {**object_of(fields, needed, comment(part.message.full_name)), "additionalProperties": False}
            in_choice = [field for field in part.fields if _is_choice(field)]
            if len(in_choice) + len(needed) == len(fields) > len(needed):  # nothing else: one of the choice must be there
                made |= {"minProperties": len(needed) + 1, "maxProperties": len(needed) + 1}
            self.named[name] = made
        return reference(name)

    def asked(self, field: FieldDescriptor) -> dict[str, Any]:
        """A field of a request."""
        schema = _whole(field, lambda one: self._asked_one(one, field), bounded=True)
        if field.full_name in _DEFAULTS:
            schema["default"] = _DEFAULTS[field.full_name]
        return _described_as(schema, field)

    def texts_of(self, part: Part, most: int) -> dict[str, Any]:
        """The fields of `part` in a form, whose texts have `most` characters. A map is a text there, and so is each item of a
        list, which may hold several."""
        text = {"type": "string", "maxLength": most}
        json_text = {**text, "description": "A JSON object.", "example": "{}"}
        names = {"type": "array", "items": text, "description": "Names, in fields of their own or with commas between them."}

        def described(field: FieldDescriptor) -> dict[str, Any]:
            if is_map(field):
                return json_text
            return {**names, "maxItems": most_items(field)} if field.is_repeated else self.asked(field)

        return {field.name: described(field) for field in part.fields}

    def _answered(self, field: FieldDescriptor) -> dict[str, Any]:
        if name := self._instead.get(field.full_name):
            return reference(name)

        def one(kind: FieldDescriptor) -> dict[str, Any]:
            if kind.enum_type is not None:  # A newer gateway may answer with further members.
                return {"type": "string", "examples": members(kind)}
            return _value(kind) or self.answer(cast(Descriptor, kind.message_type))

        return _described_as(_whole(field, one, bounded=False), field)

    def _asked_one(self, one: FieldDescriptor, field: FieldDescriptor) -> dict[str, Any]:
        """An item of `field`, or a key or a value of a map, within its bound."""
        if (schema := _value(one)) is None:
            return self.request(Part(cast(Descriptor, one.message_type)), f"{one.message_type.name}Input")  # type: ignore[union-attr]
        if one.type == FieldDescriptor.TYPE_FLOAT:
            least, most = float_range_of(field)
            return {**schema, "minimum": least, "maximum": most}
        if one.type == FieldDescriptor.TYPE_INT32:
            least, most = range_of(field)
            return {**schema, "minimum": least, "maximum": most}
        if one.type == FieldDescriptor.TYPE_BYTES:
            base64 = {**schema, "contentEncoding": "base64", "maxLength": -(-most_bytes(field) // 3) * 4}
            return base64 | _format_of(field)
        if one.type == FieldDescriptor.TYPE_INT64:
            above_nought = range_of(field)[0] > 0
            return {**schema, "pattern": "^[1-9][0-9]{0,18}$" if above_nought else "^-?[0-9]{1,19}$", "maxLength": 20}
        if one.message_type is not None and one.message_type.name == "FieldMask":
            return {**schema, "pattern": _mask_pattern(one), "maxLength": most_characters(one)}
        if schema == _TEXT and one.enum_type is None:
            return {**schema, **_of_text(field)}
        return schema


def _of_text(field: FieldDescriptor) -> dict[str, Any]:
    """The bounds of a text, and its format. One that may be left out may be empty, too."""
    needed = REQUIRED in behavior(field) or _is_choice(field)
    bounds = {"maxLength": most_characters(field), **({"minLength": 1} if needed else {}), **_format_of(field)}
    if pattern := PATTERNS.get(bounds.get("format", "")):
        bounds["pattern"] = f"^{pattern}$" if needed or field.is_repeated else f"^({pattern})?$"
    return bounds


def _format_of(field: FieldDescriptor) -> dict[str, Any]:
    said = field.GetOptions().Extensions[bounds_pb2.format]
    return {"format": said} if said else {}


def _mask_pattern(field: FieldDescriptor) -> str:
    """The paths that the mask `field` of an update may name: those of the resource beside it."""
    (resource,) = [one.message_type for one in field.containing_type.fields if is_ours(one)]  # type: ignore[union-attr]
    path = f"({'|'.join(changeable_paths(cast(Descriptor, resource)))})".replace(".", "[.]")
    return rf"^([*]|{path}(,{path})*)?$"


def _value(field: FieldDescriptor) -> dict[str, Any] | None:
    """A value of `field` that is no message of the contract."""
    if field.enum_type is not None:
        return {"type": "string", "enum": members(field)}
    if field.message_type is None:
        return dict(_SCALARS.get(field.type, _TEXT))
    foreign = _FOREIGN.get(field.message_type.full_name)
    return None if foreign is None else dict(foreign)


def _whole(field: FieldDescriptor, one: Callable[[FieldDescriptor], dict[str, Any]], *, bounded: bool) -> dict[str, Any]:
    """All of `field`, where `one` gives an item, or a key or a value of a map."""
    if is_map(field):
        key, value = field.message_type.fields  # type: ignore[union-attr]  # a map is a list of messages
        bound = {"propertyNames": one(key), "maxProperties": most_items(field)} if bounded else {}
        return {"type": "object", "additionalProperties": one(value), **bound}
    if field.is_repeated:
        items = one(field)
        unique = {"uniqueItems": True} if items.get("format") == "name" else {}
        least = {"minItems": 1} if REQUIRED in behavior(field) else {}
        bounds = {**least, "maxItems": most_items(field), **unique} if bounded else {}
        return {"type": "array", "items": items, **bounds}
    return one(field)


def _described_as(schema: dict[str, Any], field: FieldDescriptor) -> dict[str, Any]:
    said = comment(field.full_name)
    return {**schema, "description": said} if said else schema


def _is_choice(field: FieldDescriptor) -> bool:
    """Whether `field` is one of several of which one may be given."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) > 1


def _or_null(schema: dict[str, Any], field: FieldDescriptor) -> dict[str, Any]:
    """JSON's null stands for the absence of a field, as protobuf's mapping has it."""
    if not field.has_presence or _is_choice(field) or REQUIRED in behavior(field):
        return schema
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    described = {"description": schema.pop("description")} if "description" in schema else {}
    return {"anyOf": [schema, {"type": "null"}], **described}


def object_of(properties: Mapping[str, Any], required: list[str], description: str) -> dict[str, Any]:
    described = {"type": "object", "description": description, "properties": dict(properties)}
    return {**described, "required": required} if required else described


def reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
