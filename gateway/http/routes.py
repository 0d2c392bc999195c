"""Routes made from the contract: each RPC with a `google.api.http` option, called as gRPC calls it.

The path, the query and the JSON body make the request together; the answer is the RPC's own. An RPC is therefore written in
`protos/` and `gateway.rpcs` alone. The other files serve by hand what the contract cannot say: forms, streams, files, and the
metadata of many images.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, TypeAlias, cast

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel

from gateway.backends.large_answers import Answer
from gateway.http.convert import RequestCall, errors, respond, to_message
from gateway.http.models import answer_model, comment, field_type, request_model, resource_model
from gateway.http.reading import ReadingRoute
from lookalike.errors import InvalidArgument
from lookalike.http_bindings import Binding, bindings
from lookalike.runtime.call import Call
from lookalike.v1 import collection_service_pb2, ingest_service_pb2, search_service_pb2

Rpc: TypeAlias = Callable[[Any, Call], Awaitable[Message | Answer]]

_FILES = (search_service_pb2.DESCRIPTOR, collection_service_pb2.DESCRIPTOR, ingest_service_pb2.DESCRIPTOR)
_BINDINGS = {binding.name: binding for binding in bindings(_FILES)}
METHODS = tuple(binding.method for binding in _BINDINGS.values())
BY_HAND = frozenset({"Search", "SearchBatch", "UpdateImages", "GetThumbnail", "WatchIngestJob"})
"""RPCs whose routes are made in `search`, `images` and `job_streams`."""
_CODES = {"CreateCollection": 201, "ReembedCollection": 202, "CreateIngestJob": 201, "RetryIngestFailures": 201}
"""Codes of success other than 200, of RPCs that make something or start to."""
_STATUSES = {"NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409}
"""Codes of errors besides 400, by the status that an RPC's comment names."""
_BODY_BYTES = {"DeleteImages": 2 * 1024 * 1024}
"""The size of a JSON body, where it may be larger than others: a thousand ids."""


def contract_router(*services: object) -> APIRouter:
    """`services` have the methods of `gateway.rpcs`, by the contract's names."""
    router = APIRouter(route_class=ReadingRoute)
    for name, binding in _BINDINGS.items():
        if name not in BY_HAND:
            (rpc,) = [getattr(service, name) for service in services if hasattr(service, name)]
            _add(router, binding, rpc)
    return router


def by_contract(name: str, **by_hand: Any) -> dict[str, Any]:
    """What the document says of the route of an RPC: the words of the contract, and what is said `by_hand` in their place."""
    binding = _BINDINGS[name]
    first, *rest = comment(binding.method.full_name).split("\n")
    codes = [code for status, code in _STATUSES.items() if any(status in part for part in rest)]
    return {
        "path": binding.path,
        "methods": [binding.verb],
        "operation_id": name,
        "summary": first.partition(". ")[0].removesuffix("."),
        "description": "\n\n".join([first, *rest]),
        "tags": [_tag(binding)],
        "status_code": _CODES.get(name, 200),
        "response_model": answer_model(binding.method.output_type),
        "responses": errors(400, *codes, *([413] if binding.body else [])),
        **by_hand,
    }


def _tag(binding: Binding) -> str:
    if binding.name.startswith("Search"):
        return "search"
    service = binding.method.containing_service.name
    return {"SearchService": "images", "CollectionService": "collections"}.get(service, "ingest")


def _add(router: APIRouter, binding: Binding, rpc: Rpc) -> None:
    code, message_class = _CODES.get(binding.name, 200), GetMessageClass(binding.method.input_type)

    async def endpoint(call: Call, query: BaseModel | None = None, body: BaseModel | None = None, **in_path: str) -> Response:
        request: Any = to_message(query, message_class())
        if binding.body in ("", "*"):
            to_message(body, request)
        else:
            to_message(body, getattr(request, binding.body), binding.body)
        for name, value in in_path.items():
            _set_from_path(request, binding.in_path[name], value)
        return await respond(await rpc(request, call), code)

    parameters = [_parameter("call", RequestCall), *_parameters(binding)]
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    router.add_api_route(endpoint=endpoint, **by_contract(binding.name))


def _set_from_path(request: Any, field: str, value: str) -> None:
    """Raises `InvalidArgument` where the body says something else than the path."""
    *outer, last = field.split(".")
    message = functools.reduce(getattr, outer, request)
    if (said := getattr(message, last)) not in ("", value):
        raise InvalidArgument(field, f"is {said!r}, where the path says {value!r}")
    setattr(message, last, value)


def _parameters(binding: Binding) -> Iterator[inspect.Parameter]:
    """As FastAPI reads them of an endpoint: a parameter for each field in the path, and for the body and for the query one
    each."""
    request = binding.method.input_type
    for name, path in binding.in_path.items():
        field = _field_at(request, path)
        slashes = " URL-encoded; it may hold slashes." if f"{{{name}:path}}" in binding.path else ""
        yield _parameter(name, Annotated[field_type(field), Path(description=comment(field.full_name) + slashes)])
    in_path, body_bytes = frozenset(binding.in_path.values()), _BODY_BYTES.get(binding.name)
    if binding.body == "*":
        yield from _body(request_model(request, without=in_path, body_bytes=body_bytes))
        return
    if binding.body:
        yield _parameter("body", resource_model(request.fields_by_name[binding.body]))
    query = request_model(request, without=in_path | {binding.body})
    if query.model_fields:
        yield _parameter("query", Annotated[query, Query()])


def _body(model: Any) -> Iterator[inspect.Parameter]:
    if any(field.is_required() for field in model.model_fields.values()):
        yield _parameter("body", model)
    elif model.model_fields:
        yield _parameter("body", model | None, default=None)


def _field_at(message: Descriptor, path: str) -> FieldDescriptor:
    name, _, deeper = path.partition(".")
    field = message.fields_by_name[name]
    return _field_at(cast(Descriptor, field.message_type), deeper) if deeper else field


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
