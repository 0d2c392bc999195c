"""Makes messages of the contract from dictionaries, which protobuf takes for messages inside of one, and its stubs do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from lookalike.v1 import search_service_pb2
from lookalike.v1.embedder_service_pb2 import EmbedSpace
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


def search_request(collection: str, **fields: Any) -> search_service_pb2.SearchRequest:
    """A search, from fields of `Query` and of `SearchOptions`."""
    return made(search_service_pb2.SearchRequest, collection=collection, **search_body(fields))


def search_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same as the body of a request over HTTP; a part of which no field is given is left out."""
    query = {name: value for name, value in fields.items() if name in search_service_pb2.Query.DESCRIPTOR.fields_by_name}
    options = {name: value for name, value in fields.items() if name not in query}
    return ({"query": query} if query else {}) | ({"options": options} if options else {})


def asked_spaces(*names: str, model: str = "", fingerprint: str = "", **histogram: Any) -> list[EmbedSpace]:
    """Spaces to embed in: `histogram`, which counts as `histogram` says, and others, which version `fingerprint` of `model`
    fills."""
    return [
        made(EmbedSpace, spec={"name": name, "histogram": histogram})
        if name == "histogram"
        else made(EmbedSpace, spec={"name": name, "model": {"name": model}}, fingerprint=fingerprint)
        for name in names or ("histogram", "siamese")
    ]
