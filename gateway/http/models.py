"""pydantic models of the contract's messages: what bodies are validated by, and what the OpenAPI shows of bodies and answers.

A model is made from the message's descriptor: fields, bounds, enums, what is required, and comments as descriptions. A field
of a message is therefore written in `protos/` alone. Called by the routes when they are built.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeAlias, cast

from fastapi import Path
from google.api.field_behavior_pb2 import OPTIONAL, OUTPUT_ONLY, REQUIRED, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SkipValidation,
    create_model,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.http.errors import WITHIN
from lookalike.bounds import list_in, most_bytes, most_characters, most_items, range_of
from lookalike.errors import InvalidArgument
from lookalike.metadata import check_metadata
from lookalike.spans import PATTERN, span_of
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb

_MASK_CHARACTERS = 1024

Made: TypeAlias = Callable[[Descriptor], Any]
"""Makes the model of a message inside another one."""


def _metadata(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")  # noqa: TRY004 - pydantic's own convention
    try:
        check_metadata(value, field="")
    except InvalidArgument as error:
        raise PydanticCustomError(WITHIN, "{problem}", {"path": error.field, "problem": error.problem}) from error
    return value


def _a_span(text: object) -> timedelta:
    try:
        return span_of("", text)
    except InvalidArgument as error:
        raise PydanticCustomError("span", "{problem}", {"problem": error.problem}) from None


def _a_mask(text: object) -> dict[str, Any]:
    """Paths with commas between them, as protobuf's JSON mapping has a `FieldMask`."""
    if not isinstance(text, str) or len(text) > _MASK_CHARACTERS:
        problem = f"is not a list of fields such as `description,defaults.ef`, at most {_MASK_CHARACTERS} characters"
        raise PydanticCustomError("mask", "{problem}", {"problem": problem})
    return {"paths": [path.strip() for path in text.split(",") if path.strip()]}


def _most(message: Any, name: str) -> int:
    return most_characters(message.DESCRIPTOR.fields_by_name[name])


Metadata = Annotated[SkipValidation[dict[str, Any]], BeforeValidator(_metadata)]
"""Metadata is checked by the one check of all ways in. pydantic would copy it."""
_SPAN = {"type": "string", "pattern": PATTERN, "maxLength": 24}
_Span = Annotated[timedelta, PlainValidator(_a_span), WithJsonSchema(_SPAN)]
_Mask = Annotated[dict[str, Any], PlainValidator(_a_mask), WithJsonSchema({"type": "string", "maxLength": _MASK_CHARACTERS})]
Name = Annotated[str, Field(max_length=_most(search_pb.SearchRequest, "collection"))]
ImageId = Annotated[str, Field(max_length=_most(search_pb.GetImageRequest, "id"))]
Filter = Annotated[str, Field(max_length=_most(search_pb.DeleteImagesRequest, "filter"))]
ImageIdInPath = Annotated[ImageId, Path(alias="id", description="Id of the image, URL-encoded; it may hold slashes.")]
JobIdInPath = Annotated[
    str, Path(alias="id", max_length=_most(ingest_pb.GetIngestJobRequest, "id"), description="Id of the job.")
]
_ASKED: Mapping[int, Any] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BYTES: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: Annotated[int, Field(ge=-(2**31), lt=2**31)],
    FieldDescriptor.TYPE_INT64: Annotated[
        int, Field(ge=-(2**63), lt=2**63), WithJsonSchema({"type": "string", "maxLength": 20})
    ],
    FieldDescriptor.TYPE_FLOAT: Annotated[float, Field(allow_inf_nan=False)],
    FieldDescriptor.TYPE_DOUBLE: Annotated[float, Field(allow_inf_nan=False)],
}
_ANSWERED: Mapping[int, Any] = {
    **dict.fromkeys(_ASKED, str),  # The protobuf JSON mapping writes integers of 64 bits as strings.
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_FLOAT: float,
    FieldDescriptor.TYPE_DOUBLE: float,
}
_FOREIGN: Mapping[str, Any] = {
    "lookalike.v1.Metadata": Metadata,
    "google.protobuf.Any": dict[str, Any],
    "google.protobuf.Timestamp": datetime,
    "google.protobuf.Duration": _Span,
    "google.protobuf.FieldMask": _Mask,
}
"""Messages that JSON writes in a way of their own."""


@functools.cache
def answer_model(message: Descriptor) -> type[BaseModel]:
    """The model of an answer, for the document only: answers are made from the messages themselves (`message_json.to_json`)."""
    fields = {field.name: _answered(field) for field in message.fields}
    return create_model(message.name, __doc__=comment(message.full_name), **fields)


@functools.cache
def request_model(
    message: Descriptor, *, name: str = "", without: frozenset[str] = frozenset(), body_bytes: int | None = None
) -> Any:
    """The model that validates a body or a query: a class, `Any` to mypy, which knows no class that is made at run time.

    `without`: fields that do not stand there. `body_bytes`: see `reading.read_body`.
    """
    fields = {
        field.name: _asked(field)
        for field in message.fields
        if field.name not in without and OUTPUT_ONLY not in _behavior(field)
    }
    choices = [[field.name for field in oneof.fields] for oneof in message.oneofs if len(oneof.fields) > 1]
    one_of_each: Any = (
        {"one_of_each": model_validator(mode="after")(functools.partial(_one_of_each, choices))} if choices else {}
    )
    config, described = ConfigDict(extra="forbid"), comment(message.full_name)
    model = create_model(name or message.name, __config__=config, __doc__=described, __validators__=one_of_each, **fields)
    made: Any = model
    if body_bytes is not None:
        made.body_bytes = body_bytes
    return made


def resource_model(field: FieldDescriptor) -> Any:
    """The model of a body that fills `field`, a resource: as an answer has it, so that what was read can be sent back changed.
    What the server sets is taken and left out, as AIP-203 has it."""
    message = cast(Descriptor, field.message_type)
    model = _nested_request(message)
    ignored: Any = {
        one.name: (Any, Field(None, exclude=True, description=comment(one.full_name), json_schema_extra={"readOnly": True}))
        for one in message.fields
        if OUTPUT_ONLY in _behavior(one)
    }
    model = create_model(model.__name__, __base__=model, __doc__=model.__doc__, **ignored)
    made: Any = model
    made.body_path = f"{field.name}."
    return made


def field_type(field: FieldDescriptor) -> Any:
    """A field of a request where it stands alone: in a path or a query."""
    return _asked_type(field)


def absent_or(kind: Any, field: FieldDescriptor) -> Any:
    """A `kind` that may be left out. A null stands for that too; the document does not invite to it."""

    def without_null(schema: dict[str, Any]) -> None:
        schema.update(next(choice for choice in schema.pop("anyOf") if choice != {"type": "null"}))

    described = Field(description=comment(field.full_name) or None, json_schema_extra=without_null)
    return (Annotated[kind | None, described], None)


def comment(name: str) -> str:
    """What the contract says of `name` (a message, a field, a method), a line for each paragraph; "" for what is not of it."""
    return _comments().get(name, "")


def _nested_request(message: Descriptor) -> Any:
    """Named apart from the same message in an answer: both stand in one document."""
    return request_model(message, name=f"{message.name}Input")


def _one_of_each(choices: list[list[str]], body: BaseModel) -> BaseModel:
    for names in choices:
        given = [name for name in names if getattr(body, name, None) is not None]
        if len(given) > 1:
            raise PydanticCustomError("several", "{given} are given; give one of them", {"given": " and ".join(given)})
    return body


def _answered(field: FieldDescriptor) -> Any:
    kind = _whole(field, lambda one: _value(one, _ANSWERED, answer_model))
    may_be_absent = OPTIONAL in _behavior(field) or field.containing_oneof is not None
    return absent_or(kind, field) if may_be_absent else Annotated[kind, Field(description=comment(field.full_name) or None)]


def _asked(field: FieldDescriptor) -> Any:
    kind = _asked_type(field)
    if field.has_presence and REQUIRED not in _behavior(field):
        return absent_or(kind, field)
    described: Any = Annotated[kind, Field(description=comment(field.full_name))]
    if REQUIRED in _behavior(field):
        return described
    empty: Any = {} if is_map(field) else [] if field.is_repeated else _default(field)
    return (described, empty)


def _asked_type(field: FieldDescriptor) -> Any:
    if (items := list_in(field)) is not None:
        return _asked_type(items)
    return _whole(field, lambda one: _bounded(one, field))


def _bounded(one: FieldDescriptor, field: FieldDescriptor) -> Any:
    """The type of `one`, which is `field` or a part of a map `field`, within the bound of `field`."""
    kind = _value(one, _ASKED, _nested_request)
    if one.type == FieldDescriptor.TYPE_STRING:
        # A text of too many characters is refused by the core, in its words.
        return Annotated[kind, Field(max_length=most_bytes(field), json_schema_extra={"maxLength": most_characters(field)})]
    if one.type == FieldDescriptor.TYPE_INT32:  # What is out of its range is refused by the core, in its words.
        least, most = range_of(field)
        return Annotated[kind, WithJsonSchema({"type": "integer", "minimum": least, "maximum": most})]
    if one.type == FieldDescriptor.TYPE_BYTES:
        most_base64 = -(-most_bytes(field) // 3) * 4
        return Annotated[kind, Field(max_length=most_base64, json_schema_extra={"contentEncoding": "base64"})]
    return AwareDatetime if kind is datetime else kind


def _whole(field: FieldDescriptor, value: Callable[[FieldDescriptor], Any]) -> Any:
    """The type of all of `field`, where `value` gives the type of an item, or of a key or a value of a map."""
    if not field.is_repeated:
        return value(field)
    bound = Field(max_length=most_items(field) or None, fail_fast=not is_map(field) or None)
    if is_map(field):
        key, item = field.message_type.fields  # type: ignore[union-attr]  # a map is a list of messages
        kind: Any = dict[value(key), value(item)]  # type: ignore[misc]
    else:
        kind = list[value(field)]  # type: ignore[misc]
    return Annotated[kind, bound]


def _value(field: FieldDescriptor, scalars: Mapping[int, Any], made: Made) -> Any:
    if field.enum_type is not None:
        enum = field.enum_type.full_name
        return Literal[tuple(one.name for one in field.enum_type.values if comment(f"{enum}.{one.name}") != "Never sent.")]
    if field.message_type is not None:
        return _FOREIGN.get(field.message_type.full_name) or made(field.message_type)
    return scalars[field.type]


def _default(field: FieldDescriptor) -> Any:
    return field.enum_type.values[0].name if field.enum_type is not None else field.default_value


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _behavior(field: FieldDescriptor) -> Iterable[int]:
    return field.GetOptions().Extensions[field_behavior]  # type: ignore[no-any-return]


@functools.cache
def _comments() -> Mapping[str, str]:
    """The contract's comments by full name. Generated code has none; `protos/build_stubs.py` keeps them beside it."""
    content = files("lookalike.v1").joinpath("contract.binpb").read_bytes()
    return {
        _full_name(file, location.path): "\n".join(
            " ".join(paragraph.split()) for paragraph in location.leading_comments.split("\n\n")
        )
        for file in FileDescriptorSet.FromString(content).file
        for location in file.source_code_info.location
        if location.leading_comments and len(location.path) % 2 == 0
    }


def _full_name(file: FileDescriptorProto, path: Iterable[int]) -> str:
    """What `path` leads to: the number of a field and the place in its list, again and again."""
    names, numbers = [file.package], iter(path)
    part: Any = file
    for number, place in zip(numbers, numbers, strict=True):
        part = getattr(part, part.DESCRIPTOR.fields_by_number[number].name)[place]
        names.append(part.name)
    return ".".join(names)
