"""What the contract says of fields beside their types: which of them a request has, and in what words. Read by `reading`,
`schemas`, `operations` and `openapi`."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from lookalike.bounds import most_bytes, most_items

_PLAIN_BYTES = 32
"""The size of a number, and of the name of a field, as JSON."""
_ESCAPED = 6
"""Characters of JSON that a byte takes at most: `\\u0000`."""


def behavior(field: FieldDescriptor) -> Iterable[int]:
    """`google.api.field_behavior`."""
    return field.GetOptions().Extensions[field_behavior]  # type: ignore[no-any-return]


def asked_fields(message: Descriptor) -> list[FieldDescriptor]:
    """The fields that a request may bring: all but those that only answers have."""
    return [field for field in message.fields if OUTPUT_ONLY not in behavior(field)]


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_ours(field: FieldDescriptor) -> bool:
    """Whether `field` holds messages of the contract that JSON writes field by field."""
    kind = field.message_type
    return kind is not None and kind.full_name.startswith("lookalike.") and kind.name != "Metadata" and not is_map(field)


def members(field: FieldDescriptor) -> list[str]:
    """The names of an enum's members that are sent."""
    enum: EnumDescriptor = field.enum_type  # type: ignore[assignment]  # of enums only
    return [one.name for one in enum.values if comment(f"{enum.full_name}.{one.name}") != "Never sent."]


def most_json_bytes(message: Descriptor) -> int:
    """The size of a request as JSON, each field at its bound."""
    return sum(_most_json_bytes(field) for field in asked_fields(message))


def _most_json_bytes(field: FieldDescriptor) -> int:
    one = _PLAIN_BYTES
    if is_ours(field):
        one += most_json_bytes(field.message_type)  # type: ignore[arg-type]  # a message
    elif field.message_type is not None and not is_map(field):
        one += 2 * most_bytes(field)  # metadata: its text with all of it escaped
    else:
        one += _ESCAPED * most_bytes(field)
    return one * (most_items(field) if field.is_repeated else 1)


def comment(name: str) -> str:
    """What the contract says of `name` (a message, a field, a method), a line for each paragraph; "" for what is not of it."""
    return _comments().get(name, "")


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
