"""What HTTP offers: an operation for each RPC with a `google.api.http` option, and those that the contract cannot say.

The path, the query and the body fill a message, as gRPC would have brought it. An RPC is therefore written in `protos/` and
`gateway.rpcs` alone. `search`, `images`, `ingest` and `job_streams` make the operations with forms, streams and files; `app`
makes routes of all, and `openapi` the document.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from google.api.field_behavior_pb2 import REQUIRED
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.backends.large_answers import Answer
from gateway.backends.threads import off_loop
from gateway.http_server.json_texts import json_pieces
from gateway.http_server.requests import FORM, PatientRequest, kind_of, read_json_body, texts_of_query, timeout_of
from gateway.message_json.contract import behavior, comment, most_json_bytes
from gateway.message_json.reading import Part, fill, fill_from_texts, not_known, own_names, value_of
from gateway.message_json.writing import to_json
from lookalike.errors import InvalidArgument
from lookalike.http_bindings import Binding, bindings
from lookalike.runtime.call import Call
from lookalike.v1 import collection_service_pb2, examples_pb2, ingest_service_pb2, search_service_pb2

Rpc: TypeAlias = Callable[[Any, Call], Awaitable[Message | Answer]]

_FILES = (search_service_pb2.DESCRIPTOR, collection_service_pb2.DESCRIPTOR, ingest_service_pb2.DESCRIPTOR)
_BINDINGS: Mapping[str, Binding] = {binding.name: binding for binding in bindings(_FILES)}
_TAGS = {"CollectionService": "collections", "IngestService": "ingest"}
_CODES = {"CreateCollection": 201, "ReembedCollection": 202, "CreateIngestJob": 201, "RetryIngestFailures": 201}
"""Codes of success other than 200, of RPCs that make something or start to."""
_STATUSES = {"NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "FAILED_PRECONDITION": 409}
"""Codes of errors, by the status that an RPC's comment names."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been read. Its time begins with `call`: reading it takes nothing of that."""

    message: Any
    request: Request
    timeout_s: float

    def call(self) -> Call:
        return Call.begun(self.timeout_s)


Serve: TypeAlias = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a `path`, written as Starlette has it.

    `in_path` has the field of `message` for each parameter there; `query` and `body` are what these bring of it. The body fills
    the field `body_path`, or all of `message` where that is "". `read_form` reads a body that is a form. `required` are the
    parameters of the query that must be there, besides those of the contract. `parameters` are those that no field stands for;
    the document takes `responses` as they are where the answer is no message, and `form` as the schema of a form. `streams` is
    true of an answer that goes on for long, `uploads` of a body that holds many pictures.
    """

    name: str
    verb: str
    path: str
    serve: Serve
    summary: str
    description: str
    tag: str
    message: Descriptor
    in_path: Mapping[str, str]
    query: Part
    answer: Descriptor
    required: frozenset[str] = frozenset()
    body: Part | None = None
    body_path: str = ""
    read_form: Callable[[Request, Any], Awaitable[None]] | None = None
    form: Callable[[Any], Mapping[str, Any]] | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()
    answer_type: str = "application/json"
    code: int = 200
    errors: tuple[int, ...] = (400, 404)
    example: str = ""
    responses: Mapping[int, Any] = field(default_factory=dict)
    streams: bool = False
    uploads: bool = False

    @property
    def needs_body(self) -> bool:
        parts = () if self.body is None else self.body.fields
        return bool(self.body_path) or any(REQUIRED in behavior(one) for one in parts)

    def fields_in_path(self) -> Iterator[tuple[str, FieldDescriptor]]:
        for name, path in self.in_path.items():
            *outer, last = path.split(".")
            kind = functools.reduce(lambda kind, one: kind.fields_by_name[one].message_type, outer, cast(Any, self.message))
            yield name, kind.fields_by_name[last]

    async def answered(self, request: Request) -> Response:
        """What its route answers. Raises our exceptions."""
        request = PatientRequest(request.scope, request.receive)
        timeout_s, texts = timeout_of(request), own_names(self.message, texts_of_query(request))
        message: Any = GetMessageClass(self.message)()
        fill_from_texts(message, self._checked(texts), self.query)
        if self.read_form is not None and (self.body is None or kind_of(request) == FORM):
            await self.read_form(request, message)
        elif self.body is not None:
            target = getattr(message, self.body_path) if self.body_path else message
            read = functools.partial(fill, target, part=self.body, path=self.body_path)
            await read_json_body(request, read, most_json_bytes(self.body.message), required=self.needs_body)
        for name, kind in self.fields_in_path():
            self._set(message, name, value_of(kind, request.path_params[name], name))
        return await self.serve(Asked(message, request, timeout_s))

    def _checked(self, texts: dict[str, list[str]]) -> dict[str, list[str]]:
        """Those of `texts` that fields stand for. Raises `InvalidArgument` for the first that no parameter has."""
        fields = {one.name for one in self.query.fields}
        known = fields | {str(one["name"]) for one in self.parameters if one["in"] == "query"}
        for name in texts:
            if name not in known:
                allowed = ", ".join(sorted(known)) or "there are none here"
                problem = f"is not a parameter of this request ({allowed})"
                raise InvalidArgument(name[:80], not_known(name, self.query, problem))
        for name in self.required:
            if not "".join(texts.get(name, ())).strip():
                raise InvalidArgument(name, "is missing")
        return {name: given for name, given in texts.items() if name in fields}

    def _set(self, message: Any, name: str, value: Any) -> None:
        """Raises `InvalidArgument` where the body says something else than the path."""
        *outer, last = self.in_path[name].split(".")
        target = functools.reduce(getattr, outer, message)
        if target.DESCRIPTOR.fields_by_name[last].is_repeated:
            getattr(target, last).append(value)
        elif (said := getattr(target, last)) not in ("", value):
            raise InvalidArgument(self.in_path[name], f"is {said!r}, where the path says {value!r}")
        else:
            setattr(target, last, value)


def operations_of(*services: object, without: frozenset[str]) -> Iterator[Operation]:
    """An operation for each RPC. `services` have the methods of `gateway.rpcs`, by the contract's names; operations for those
    `without` are made elsewhere."""
    for name in _BINDINGS:
        if name in without:
            continue
        (rpc,) = [getattr(service, name) for service in services if hasattr(service, name)]
        yield by_contract(name, served(rpc, _CODES.get(name, 200)))


async def respond(answer: Message | Answer, status_code: int = 200) -> Response:
    """`answer` as JSON. A large one is made and written in a thread, an item of its lists at a time."""
    if isinstance(answer, Message):
        return JSONResponse(to_json(answer), status_code=status_code)
    if not answer.large:
        return JSONResponse(to_json(answer.message()), status_code=status_code)
    content = await off_loop(lambda: b"".join(json_pieces(to_json(answer.message()))), large=True)
    return Response(content, status_code=status_code, media_type="application/json")


def served(rpc: Rpc, code: int = 200) -> Serve:
    """The answer of `rpc`, as it is."""

    async def serve(asked: Asked) -> Response:
        return await respond(await rpc(asked.message, asked.call()), code)

    return serve


def by_contract(name: str, serve: Serve, **by_hand: Any) -> Operation:
    """The operation of an RPC in the words of the contract, and what is said `by_hand` in their place."""
    binding = _BINDINGS[name]
    request, elsewhere = binding.method.input_type, frozenset(binding.in_path.values())
    if binding.body == "*":
        query, body = Part(request, frozenset(request.fields_by_name)), Part(request, elsewhere)
    else:
        query, body = Part(request, elsewhere | {binding.body}), None
        if binding.body:
            body = Part(cast(Descriptor, request.fields_by_name[binding.body].message_type), resource=True)
    first, *rest = comment(binding.method.full_name).split("\n")
    codes = {code for status, code in _STATUSES.items() if any(status in paragraph for paragraph in rest)}
    service = binding.method.containing_service.name
    given: dict[str, Any] = {
        "summary": first.partition(". ")[0].removesuffix("."),
        "description": "\n\n".join([first, *rest]),
        "tag": "search" if name.startswith("Search") else _TAGS.get(service, "images"),
        "body_path": binding.body.removeprefix("*"),
        "code": _CODES.get(name, 200),
        "errors": (400, *codes),
        "example": binding.method.GetOptions().Extensions[examples_pb2.example],
        "streams": binding.method.server_streaming,
    }
    return Operation(
        name=name,
        verb=binding.verb,
        path=binding.path,
        serve=serve,
        message=request,
        in_path=binding.in_path,
        query=query,
        body=body,
        answer=binding.method.output_type,
        **(given | by_hand),
    )
