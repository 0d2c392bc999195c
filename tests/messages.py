"""Makes messages of the contract from dictionaries, which protobuf takes for messages inside of one, and its stubs do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from lookalike.wire.values import metadata_message

M = TypeVar("M", bound=Message)


def made(kind: Callable[..., M], **fields: Any) -> M:
    """A message of `kind`. Metadata may be given as the plain values that it holds."""
    descriptor: Any = kind
    return kind(**_parts(descriptor.DESCRIPTOR, fields))


def _parts(message: Descriptor, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _part(message.fields_by_name[name].message_type, value) for name, value in fields.items()}


def _part(message: Descriptor | None, value: Any) -> Any:
    if message is None or message.GetOptions().map_entry or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [_part(message, one) for one in value]
    if message.full_name == "lookalike.v1.Metadata":
        return metadata_message(value)
    return _parts(message, value) if message.full_name.startswith("lookalike.") else value
