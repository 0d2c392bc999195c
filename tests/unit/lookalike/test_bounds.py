"""The bounds of the contract: every field that can be long has one, and what is over it is refused before it is read."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from lookalike import bounds, names
from lookalike.errors import InvalidArgument
from lookalike.filters.parsing import MAX_CHARACTERS
from lookalike.spaces import MAX_DIMENSION
from lookalike.v1 import collection_service_pb2, embedder_service_pb2, image_pb2, ingest_service_pb2
from lookalike.v1 import search_service_pb2 as pb
from tests.messages import asked_spaces, made, search_request

FILES = (collection_service_pb2, embedder_service_pb2, ingest_service_pb2, pb)
METHODS = [method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods]


def refused(message: Message | bytes, kind: type[Message] = pb.SearchRequest) -> InvalidArgument:
    content, kind = (message, kind) if isinstance(message, bytes) else (message.SerializeToString(), type(message))
    with pytest.raises(InvalidArgument) as error:
        bounds.read(content, kind)
    return error.value


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_list_map_text_and_bytes_of_a_request_has_a_bound(method: Any) -> None:
    assert list(bounds.unbounded(method.input_type)) == []


def test_a_field_without_a_bound_is_found_at_any_depth() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="loose.proto", package="lookalike.tests", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    for number, (name, kind, label) in enumerate([("text", 9, 1), ("numbers", 5, 3), ("blob", 12, 1), ("one", 5, 1)], 1):
        inner.field.add(name=name, number=number, type=kind, label=label)
    outer = file.message_type.add(name="Outer")
    outer.field.add(name="inners", number=1, type=11, label=3, type_name=".lookalike.tests.Inner")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = [
        name.removeprefix("lookalike.tests.") for name in bounds.unbounded(pool.FindMessageTypeByName("lookalike.tests.Outer"))
    ]
    assert found == ["Outer.inners", "Inner.text", "Inner.numbers", "Inner.blob"]


def test_the_contract_s_bounds_are_those_of_the_rules() -> None:
    assert bounds.most_bytes(pb.SearchRequest.DESCRIPTOR.fields_by_name["collection"]) == names.MAX_NAME_BYTES
    assert bounds.most_bytes(image_pb2.Image.DESCRIPTOR.fields_by_name["id"]) == names.MAX_ID_BYTES
    assert bounds.most_bytes(image_pb2.Image.DESCRIPTOR.fields_by_name["uri"]) == names.MAX_URI_BYTES
    assert bounds.most_bytes(pb.Query.DESCRIPTOR.fields_by_name["image"]) == names.MAX_MESSAGE_BYTES
    assert bounds.most_bytes(pb.SearchOptions.DESCRIPTOR.fields_by_name["filter"]) == 4 * MAX_CHARACTERS
    assert bounds.most_items(image_pb2.SpaceVector.DESCRIPTOR.fields_by_name["values"]) == MAX_DIMENSION
    assert bounds.most_items(pb.SearchBatchRequest.DESCRIPTOR.fields_by_name["queries"]) == names.MAX_QUERIES_PER_BATCH
    assert bounds.most_items(embedder_service_pb2.EmbedRequest.DESCRIPTOR.fields_by_name["images"]) == names.MAX_IMAGES_PER_CALL
    # A `Struct` takes up to 5.5 times the bytes of its JSON, and is read as well: `1,` is a `Value` of 11 bytes.
    assert bounds.most_bytes(image_pb2.Image.DESCRIPTOR.fields_by_name["metadata"]) >= 5.5 * names.MAX_METADATA_BYTES


VECTOR = image_pb2.SpaceVector(space="siamese", values=[0.5] * MAX_DIMENSION)


@pytest.mark.parametrize(
    "message",
    [
        search_request("c" * 63, vectors=pb.QueryVectors(spaces=[VECTOR] * 8), weights={"s" * 63: 1.0}, top_k=5),
        search_request("", image=b"x" * 20_000_000, spaces=["siamese"] * 8, filter="é" * 4096),
        pb.SearchBatchRequest(queries=[pb.BatchQuery(query=pb.Query(image_id="é" * 128))] * 256),
        pb.DeleteImagesRequest(ids=["i" * 256] * 1000),
        pb.UpdateImagesRequest(
            updates=[made(pb.ImageUpdate, id="a", metadata={"k": ["v", 1, None, {"w": True}]}, merge=True)] * 1000
        ),
        made(ingest_service_pb2.ListIngestJobsRequest, states=[1, 2, 3, 4, 5, 6, 7], created_after={"seconds": -5, "nanos": 7}),
        made(embedder_service_pb2.EmbedRequest, images=[b"x"] * 32, spaces=asked_spaces(bins=8)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_request_at_its_bounds_is_read_as_protobuf_would(message: Message) -> None:
    assert bounds.read(message.SerializeToString(), type(message)) == message


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (search_request("", spaces=["siamese"] * 9), "options.spaces"),
        (search_request("", spaces=["siamese", "s" * 64]), "options.spaces[1]"),
        (search_request("", weights={str(number): 1.0 for number in range(9)}), "options.weights"),
        (search_request("", weights={"w" * 64: 1.0}), "options.weights"),
        (search_request("", filter="a" * 16385), "options.filter"),
        (search_request("", vectors=pb.QueryVectors(spaces=[VECTOR] * 9)), "query.vectors.spaces"),
        (
            search_request("", vectors=made(pb.QueryVectors, spaces=[VECTOR, {"values": [1.0] * 32_769}])),
            "query.vectors.spaces[1].values",
        ),
        (pb.SearchBatchRequest(queries=[pb.BatchQuery()] * 257), "queries"),
        (
            made(pb.SearchBatchRequest, queries=[{}, {"query": {"vectors": {"spaces": [{"space": "s" * 64}]}}}]),
            "queries[1].query.vectors.spaces[0].space",
        ),
        (pb.ListImagesRequest(page_token="x" * 1025), "page_token"),
        (made(pb.UpdateImagesRequest, updates=[{"id": "a"}, {"metadata": {"k": "v" * 131072}}]), "updates[1].metadata"),
        (made(pb.UpdateImagesRequest, updates=[{"metadata": {"a": [{"b": {"c": [1] * 32768}}]}}]), "updates[0].metadata"),
        (made(pb.ImportImagesRequest, images=[{"id": "a" * 257}]), "images[0].id"),
        (made(ingest_service_pb2.ListIngestJobsRequest, states=[1] * 17), "states"),
        (made(ingest_service_pb2.UploadItemsRequest, item={"problem": "p" * 65537}), "item.problem"),
    ],
)
def test_what_is_over_its_bound_is_refused_by_its_path(message: Message, field: str) -> None:
    error = refused(message)
    assert (error.field, "at most" in error.message) == (field, True)


def test_a_field_that_is_not_known_is_refused_at_any_depth_where_that_is_asked_for() -> None:
    unknown = b"\x7a\x01x"
    inner = made(pb.UpdateImagesRequest, updates=[{"id": "a"}]).updates[0].SerializeToString() + unknown
    for content, kind in (
        (b"\x12\x01a" + unknown, pb.DeleteImagesRequest),
        (b"\x12" + bytes([len(inner)]) + inner, pb.UpdateImagesRequest),
    ):
        assert bounds.read(content, kind) == kind.FromString(content)
        with pytest.raises(InvalidArgument) as raised:
            bounds.read(content, kind, strict=True)
        assert (raised.value.field, raised.value.reason) == ("request", "FIELD_UNKNOWN")
        assert "holds field 15" in raised.value.message


def test_numbers_that_come_one_by_one_are_counted_too() -> None:
    one_by_one = b"\x15\x00\x00\x80\x3f" * 32_769
    assert refused(one_by_one, image_pb2.SpaceVector).field == "values"
    few = image_pb2.SpaceVector.FromString(one_by_one[:500])
    assert bounds.read(one_by_one[:500], image_pb2.SpaceVector) == few


@pytest.mark.parametrize(
    ("content", "kind", "field"),
    [
        (b"\x0a\x07siamese", pb.SearchOptions, "spaces"),
        (b"\x22\x00", pb.SearchOptions, "weights"),
        (b"\x10\x05", pb.SearchOptions, "request"),  # one number, again and again
        (b"\x1a\x02\x0a\x00", pb.SearchRequest, "request"),  # a space in a field of its own each time: they are one message
        (b"\x7a\x00", pb.SearchRequest, "request"),  # a field that there is not
        (b"\x1b\x1c", pb.SearchRequest, "request"),  # groups, which protobuf has given up
    ],
)
def test_a_refusal_takes_no_longer_however_much_comes(content: bytes, kind: type[Message], field: str) -> None:
    """The whole of it takes protobuf a tenth of a second and more; only what is within the bounds may be looked at."""

    def cost_s(count: int) -> float:
        started_s = time.thread_time()
        assert refused(content * count, kind).field == field
        return time.thread_time() - started_s

    cost_s(100)
    assert min(cost_s(2_000_000) for _ in range(3)) < 0.02


@pytest.mark.parametrize(
    "content", [b"\x0a", b"\x0a\x05abc", b"\x00\x01", b"\x0e\x01", b"\x30" + b"\x80" * 11, b"\x12\x03\x0a\xff\xff"]
)
def test_bytes_that_are_no_message_are_called_so(content: bytes) -> None:
    error = refused(content, pb.SearchRequest if content[0] != 0x12 else pb.SearchBatchRequest)
    assert (error.field, error.reason) == ("request", "REQUEST_UNREADABLE")


@given(st.binary(max_size=64))
def test_any_bytes_are_read_as_protobuf_would_or_refused(content: bytes) -> None:
    for kind in (pb.SearchRequest, ingest_service_pb2.UploadItemsRequest):
        try:
            read = bounds.read(content, kind)
        except (InvalidArgument, DecodeError):
            continue
        assert read == kind.FromString(content)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_empty_request_is_read(method: Any) -> None:
    kind = GetMessageClass(method.input_type)
    assert bounds.read(b"", kind) == kind()
