"""Masks of updates (https://google.aip.dev/134): which fields of a resource a request changes.

Which fields may be changed, the contract says: those that are neither the server's (OUTPUT_ONLY) nor given once (IDENTIFIER,
IMMUTABLE). Called by the other modules of `wire`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from google.api.field_behavior_pb2 import IDENTIFIER, IMMUTABLE, OUTPUT_ONLY, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from lookalike.errors import InvalidArgument

_EVERYTHING = "*"
_FIXED = frozenset({IDENTIFIER, IMMUTABLE, OUTPUT_ONLY})


def masked_paths(resource: Message, mask: FieldMask) -> tuple[str, ...]:
    """The dotted fields that a request changes: those of its `mask`; where that is empty, those that are set in `resource`.

    Raises `InvalidArgument` (`update_mask`) for a path that the resource does not have, or that cannot be changed, and where
    nothing is to be changed.
    """
    descriptor = cast(Any, resource).DESCRIPTOR
    allowed = list(changeable_paths(descriptor))
    if not mask.paths:
        paths = [path for path in _set(resource) if path in allowed]
        if not paths:
            raise InvalidArgument("update_mask", f"is empty, and nothing that can be changed is set; {_named(allowed)}")
        return tuple(paths)
    if _EVERYTHING in mask.paths:
        if len(mask.paths) > 1:
            raise InvalidArgument("update_mask", "has other paths besides *, which means all that can be changed")
        return tuple(path for path in allowed if "." not in path)
    for path in mask.paths:
        if path not in allowed:
            problem = "cannot be changed" if _is_there(descriptor, path) else f"is not a field of a {descriptor.name}"
            raise InvalidArgument("update_mask", f"{path[:80]!r} {problem}; {_named(allowed)}")
    return tuple(dict.fromkeys(mask.paths))


def changeable_paths(message: Descriptor) -> Iterator[str]:
    """The dotted fields of a resource that a mask may name."""
    for field in message.fields:
        if not _FIXED.intersection(field.GetOptions().Extensions[field_behavior]):
            yield field.name
            if _has_fields(field):
                yield from (f"{field.name}.{path}" for path in changeable_paths(cast(Descriptor, field.message_type)))


def _set(message: Message) -> Iterator[str]:
    """The fields that are set in a message, those of the messages in it instead of these."""
    for field, value in message.ListFields():
        if _has_fields(field):
            yield from (f"{field.name}.{path}" for path in _set(value))
        else:
            yield field.name


def _is_there(message: Descriptor, path: str) -> bool:
    name, dot, deeper = path.partition(".")
    field = message.fields_by_name.get(name)
    if field is None or not dot:
        return field is not None
    return field.message_type is not None and _is_there(field.message_type, deeper)


def _has_fields(field: FieldDescriptor) -> bool:
    """Whether a mask may name fields within `field`."""
    kind = field.message_type
    return kind is not None and not field.is_repeated and kind.full_name.startswith("lookalike.")


def _named(allowed: list[str]) -> str:
    return f"{', '.join(allowed)} can be changed"
