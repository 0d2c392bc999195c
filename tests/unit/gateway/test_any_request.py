"""Whatever a caller sends, no request ends as a defect of the product, or without an answer.

Requests are made from the contract, field by field, with values that have been awkward somewhere; the core is over fakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.grpc.servicers import CollectionServicer, IngestServicer, SearchServicer
from gateway.http.app import Core, build_app
from gateway.http_server.json_texts import printable
from gateway.readiness import Readiness
from lookalike import bounds
from lookalike.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LookalikeError, NotFound
from lookalike.v1 import collection_service_pb2, ingest_service_pb2, search_service_pb2
from lookalike.wire.values import metadata_message
from tests.unit.gateway.gateway_at_limits import build_core
from tests.unit.gateway.http_app import LIMIT, ask

AWKWARD = [
    "",
    " ",
    "a",
    "things",
    "siamese",
    "histogram",
    "0000",
    "\0",
    "a\nb",
    "\ud83d\ude00",
    "é" * 300,
    "../..",
    "http://[",
    "=1",
]
TEXTS = st.sampled_from(
    [*AWKWARD, "a = 1", "`a\nb` = 1", "(" * 400, "a = 1e999", "/x", "s3://b/x", "W1td", "9" * 400]
) | st.text(max_size=8)
WHOLE = st.sampled_from([0, 1, -1, 5, 1000, 1001, 2**31 - 1, -(2**31)])
LONG = WHOLE | st.sampled_from([2**63 - 1, -(2**63), 10**12])
REALS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e20, 1e-40, 1e38, float("nan"), float("inf"), float("-inf")])
_UNICODE = TEXTS.filter(lambda text: printable(text) == text)
_FACTS = REALS | LONG | _UNICODE | st.none() | st.lists(st.booleans(), max_size=2)
METADATA = st.dictionaries(st.text(max_size=4), _FACTS, max_size=3).map(metadata_message)
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: WHOLE,
    FieldDescriptor.CPPTYPE_INT64: LONG,
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([0, 1, 2, 3, 99, -1]),
    FieldDescriptor.CPPTYPE_FLOAT: REALS,
    FieldDescriptor.CPPTYPE_DOUBLE: REALS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}
FILES = (collection_service_pb2, ingest_service_pb2, search_service_pb2)
METHODS = [method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods]


def messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            chosen[field.name] = st.dictionaries(TEXTS, REALS, max_size=2)
        else:
            one = _value(field)
            chosen[field.name] = st.lists(one, max_size=3) if field.is_repeated else one
    return st.fixed_dictionaries({}, optional=chosen)


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=8)
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXTS
    if field.message_type is None:
        return _NUMBERS[field.cpp_type]
    if field.message_type.full_name == "lookalike.v1.Metadata":
        return METADATA
    return messages(field.message_type)


class Context:
    def time_remaining(self) -> float | None:
        return 5.0


@pytest.fixture(scope="module")
def core() -> Any:
    return build_core()


@pytest.fixture(scope="module")
def app(core: Core) -> Any:
    return build_app(core, Readiness({}), upload_limit_bytes=LIMIT)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_any_message_is_answered_or_refused_as_its_sender_s_mistake(core: Core, method: Any) -> None:
    search, collection = SearchServicer(core.search, core.images), CollectionServicer(core.collections, core.generations)
    kinds = {"SearchService": search, "CollectionService": collection, "IngestService": IngestServicer(core.ingest)}
    call = getattr(kinds[method.containing_service.name], method.name)
    message = GetMessageClass(method.input_type)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages(method.input_type))
    def sent(fields: dict[str, Any]) -> None:
        asyncio.run(_call(call, _read(message, fields), method.name))

    sent()


def _read(kind: type[Message], fields: dict[str, Any]) -> Message | None:
    """As a server would get it; None where it would be refused, or could not be sent."""
    try:
        return bounds.read(kind(**fields).SerializeToString(), kind)
    except (ValueError, TypeError, LookalikeError, DecodeError):
        return None


async def _call(call: Any, request: Message | None, name: str) -> None:
    if request is None:
        return

    async def several() -> AsyncIterator[Message]:
        yield request

    with contextlib.suppress(InvalidArgument, NotFound, AlreadyExists, FailedPrecondition):
        if name in ("SearchBatch", "WatchIngestJob"):
            async for _ in call(request, Context()):
                pass
        else:
            await call(several() if name == "UploadItems" else request, Context())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | LONG | REALS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BODIES = {
    "/v1/collections": ("name", "description", "model", "histogram"),
    "/v1/collections/things/search": ("query", "options"),
    "/v1/collections/things/search:batch": ("queries", "options"),
    "/v1/collections/things/images:delete": ("ids", "filter"),
    "/v1/collections/things/images:update": ("updates",),
    "/v1/collections/things:reembed": ("model", "request_id", "allow_missing", "grace"),
    "/v1/ingest-jobs": ("collection", "source", "request_id", "near_duplicates", "mirror"),
}


@pytest.mark.parametrize("path", BODIES)
def test_any_json_is_answered_or_refused_as_its_sender_s_mistake(app: Any, path: str) -> None:
    likely = {
        "query": {"image_id": "0000"},
        "queries": [{"query": {"image_id": "0000"}}],
        "options": {"top_k": 5},
        "name": "made",
        "collection": "things",
        "ids": ["a"],
        "updates": [{"id": "a", "metadata": {}}],
    }
    query = st.fixed_dictionaries({}, optional=dict.fromkeys(search_service_pb2.Query.DESCRIPTOR.fields_by_name, JSON_VALUES))
    option = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(search_service_pb2.SearchOptions.DESCRIPTOR.fields_by_name, JSON_VALUES)
    )
    in_batch = st.fixed_dictionaries({}, optional={"query": query})
    parts = {"query": query, "queries": st.lists(in_batch, max_size=3), "options": option}
    known = st.fixed_dictionaries(
        {}, optional={name: JSON_VALUES | st.just(likely.get(name)) | parts.get(name, st.none()) for name in BODIES[path]}
    )

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(known | JSON_VALUES | st.just([]).map(lambda _: "lone"), st.sampled_from(["", "\\ud800"]))
    def sent(body: Any, planted: str) -> None:
        text = json.dumps(body).replace("lone", planted)
        response = ask("POST", path, app, content=text.encode(), headers={"content-type": "application/json"})
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.json()["error"]["status"] in (
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "FAILED_PRECONDITION",
                "ALREADY_EXISTS",
            )

    sent()
