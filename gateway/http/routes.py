"""Routes made from the contract: each RPC with a `google.api.http` option, called as gRPC calls it.

The path, the query and the JSON body make the request together; the answer is the RPC's own. An RPC is therefore written in
`protos/` and `gateway.rpcs` alone. The other files serve by hand what the contract cannot say: forms, streams, files, and the
metadata of many images.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel

from gateway.backends.large_answers import Answer
from gateway.http.convert import RequestCall, errors, respond, to_message
from gateway.http.models import answer_model, comment, field_type, request_model
from gateway.http.reading import ReadingRoute
from lookalike.http_bindings import Binding, bindings
from lookalike.runtime.call import Call
from lookalike.v1 import collection_service_pb2, ingest_service_pb2, search_service_pb2

Rpc: TypeAlias = Callable[[Any, Call], Awaitable[Message | Answer]]

_FILES = (search_service_pb2.DESCRIPTOR, collection_service_pb2.DESCRIPTOR, ingest_service_pb2.DESCRIPTOR)
_BINDINGS = {binding.name: binding for binding in bindings(_FILES)}
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
        "responses": errors(400, *codes, *([413] if binding.has_body else [])),
        **by_hand,
    }


def _tag(binding: Binding) -> str:
    if binding.name.startswith("Search"):
        return "search"
    service = binding.method.containing_service.name
    return {"SearchService": "images", "CollectionService": "collections"}.get(service, "ingest")


def _add(router: APIRouter, binding: Binding, rpc: Rpc) -> None:
    code, message_class = _CODES.get(binding.name, 200), GetMessageClass(binding.method.input_type)

    async def endpoint(call: Call, rest: BaseModel | None = None, **in_path: str) -> Response:
        return await respond(await rpc(to_message(rest, message_class(**in_path)), call), code)

    parameters = [_parameter("call", RequestCall), *_parameters(binding)]
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    router.add_api_route(endpoint=endpoint, **by_contract(binding.name))


def _parameters(binding: Binding) -> Iterator[inspect.Parameter]:
    """As FastAPI reads them of an endpoint: a parameter for each field in the path, and `rest` for the body or the query."""
    request = binding.method.input_type
    in_path = re.findall(r"{(\w+)", binding.path)
    for name in in_path:
        said = comment(request.fields_by_name[name].full_name)
        slashes = " URL-encoded; it may hold slashes." if f"{{{name}:path}}" in binding.path else ""
        yield _parameter(name, Annotated[field_type(request, name), Path(description=said + slashes)])
    model = request_model(request, without=frozenset(in_path), body_bytes=_BODY_BYTES.get(binding.name))
    if not model.model_fields:
        return
    if not binding.has_body:
        yield _parameter("rest", Annotated[model, Query()])
    elif any(field.is_required() for field in model.model_fields.values()):
        yield _parameter("rest", model)
    else:
        yield _parameter("rest", model | None, default=None)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
