"""Messages as JSON: what protobuf's own mapping makes of them, and metadata as the plain JSON that it was."""

from __future__ import annotations

import base64
import json

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from gateway.message_json.writing import to_json
from lookalike.records.image import Image
from lookalike.records.job_state import JobState
from lookalike.v1 import image_pb2
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.collections import collection_message
from lookalike.wire.images import image_message
from lookalike.wire.jobs import job_message
from lookalike.wire.values import metadata_message
from tests.messages import made, search_request
from tests.unit.gateway.fakes import COLLECTION, SPACES, job
from tests.unit.lookalike.wire.record_values import alike, whole

FLOATS = [0.1, -0.0, 1e-37, 3.4e38, 16777216.0, float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize(
    "message",
    [
        collection_message(COLLECTION),
        job_message(job(JobState.RUNNING)),
        job_message(job(JobState.FAILED, error="no column uri", error_reason="MANIFEST_INVALID")),
        search_request("", image=b"\xff\x00", weights={"a": 0.1}, ef=-1, consistency=99),
        search_pb.SearchResponse(),
        search_pb.Neighbour(distance=0.0),
        made(search_pb.SearchResponse, query_vectors=[{"space": "a", "values": FLOATS}], neighbours=[{"distance": 0.1}]),
        ingest_pb.UploadItemsResponse(items=2**63 - 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_written_as_protobuf_writes_it(message: Message) -> None:
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert alike(to_json(message), theirs)


def test_metadata_is_written_as_it_came_wherever_it_stands() -> None:
    metadata = {"big": 2**53 + 1, "least": -(2**63), "most": 2**63 - 1, "list": [7, 7.0, {"deep": None}], "yes": True}
    image = image_message(whole(Image), SPACES)
    image.metadata.CopyFrom(metadata_message(metadata))
    for message in (
        search_pb.ListImagesResponse(images=[image]),
        search_pb.GetImageResponse(image=image),
        search_pb.SearchResponse(neighbours=[search_pb.Neighbour(image=image)]),
    ):
        text = json.dumps(to_json(message))
        assert '"metadata": {"big": 9007199254740993, "least": -9223372036854775808, "list": [7, 7.0, {"deep": null}]' in text


def test_an_image_without_metadata_has_none() -> None:
    assert "metadata" not in to_json(image_pb2.Image())
    assert to_json(image_pb2.Image(metadata=image_pb2.Metadata()))["metadata"] == {}


def test_bytes_are_base64() -> None:
    assert base64.b64decode(to_json(search_pb.Query(image=b"\xff\x00"))["image"]) == b"\xff\x00"
