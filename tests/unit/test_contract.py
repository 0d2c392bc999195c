"""What the contract says of its resources and of time: by the AIPs, and the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.api import resource_pb2
from google.api.field_behavior_pb2 import IDENTIFIER, IMMUTABLE, OUTPUT_ONLY, REQUIRED, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from lookalike.http_bindings import bindings
from lookalike.v1 import collection_service_pb2, embedder_service_pb2, image_pb2, ingest_service_pb2, search_service_pb2

FILES = tuple(
    module.DESCRIPTOR
    for module in (image_pb2, search_service_pb2, collection_service_pb2, ingest_service_pb2, embedder_service_pb2)
)
MESSAGES = [message for file in FILES for message in file.message_types_by_name.values()]
RESOURCES = {message.name: message for message in MESSAGES if message.GetOptions().Extensions[resource_pb2.resource].type}
CHANGEABLE = {"Collection.description", "Collection.defaults", "Image.metadata"}
"""Fields of resources that an RPC changes."""


def behavior(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior])


def fields() -> Iterator[FieldDescriptor]:
    for message in MESSAGES:
        yield from message.fields


def test_resources_are_declared_and_each_is_identified_by_one_field() -> None:
    assert set(RESOURCES) == {"Collection", "Image", "IngestJob", "Model"}
    for name, message in RESOURCES.items():
        said = message.GetOptions().Extensions[resource_pb2.resource]
        assert said.type == f"lookalike/{name}"
        identifiers = [field.name for field in message.fields if IDENTIFIER in behavior(field)]
        assert identifiers == [said.name_field or "name"]


def test_a_resource_has_the_pattern_of_the_path_that_gets_it() -> None:
    paths = {re.sub("{.*?}", "{}", binding.path) for binding in bindings(FILES) if binding.name.startswith("Get")}
    for name in ("Collection", "Image", "IngestJob"):
        (pattern,) = RESOURCES[name].GetOptions().Extensions[resource_pb2.resource].pattern
        assert "/v1/" + re.sub("{.*?}", "{}", pattern) in paths, name


@pytest.mark.parametrize("message", RESOURCES.values(), ids=lambda message: message.name)
def test_every_field_of_a_resource_says_who_sets_it(message: Descriptor) -> None:
    for field in message.fields:
        said = behavior(field) & {IDENTIFIER, IMMUTABLE, OUTPUT_ONLY}
        assert len(said) == (0 if f"{message.name}.{field.name}" in CHANGEABLE else 1), field.name


def test_a_request_needs_no_field_that_only_answers_have() -> None:
    assert not [field.full_name for field in fields() if {REQUIRED, OUTPUT_ONLY} <= behavior(field)]


def test_times_and_spans_have_the_types_and_the_names_of_times_and_spans() -> None:
    """https://google.aip.dev/142; bounds of a time in a filter are named for what they bound."""
    bounds = {"ListIngestJobsRequest.created_after", "ListIngestJobsRequest.created_before"}
    for field in fields():
        kind = field.message_type.full_name if field.message_type is not None else ""
        place = field.full_name.removeprefix("lookalike.v1.")
        assert (kind == "google.protobuf.Timestamp") == (field.name.endswith("_time") or place in bounds), place
        rate = field.name.endswith("_per_s")
        unit = re.search(r"_(s|ms|us|seconds|minutes|hours|at)$", field.name)
        assert rate or not unit, f"{place} has a unit in its name; make it a Duration or a Timestamp"
