"""Masks of updates: what they name, what they may not, and what an empty one means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from lookalike.errors import InvalidArgument
from lookalike.records.collection import CollectionDefaults
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.collections import collection_update_from
from lookalike.wire.masks import masked_paths
from tests.messages import made
from tests.unit.gateway.fakes import COLLECTION


def asked(*paths: str, **fields: Any) -> pb.UpdateCollectionRequest:
    collection = made(pb.Collection, name="things", **fields)
    return pb.UpdateCollectionRequest(collection=collection, update_mask=FieldMask(paths=paths))


def paths(*given: str, **fields: Any) -> tuple[str, ...]:
    request = asked(*given, **fields)
    return masked_paths(request.collection, request.update_mask)


def test_a_mask_names_fields_at_any_depth_and_each_counts_once() -> None:
    assert paths("description", "defaults.ef", "description") == ("description", "defaults.ef")
    assert paths("defaults") == ("defaults",)
    assert paths("*", image_count=3) == ("description", "defaults")


def test_an_empty_mask_means_what_is_set_and_can_be_changed() -> None:
    assert paths(description="new", image_count=7, defaults={"ef": 64}) == ("description", "defaults.ef")
    for fields in ({}, {"image_count": 7}, {"description": "", "defaults": {}}):
        with pytest.raises(InvalidArgument, match="is empty, and nothing that can be changed is set; description, defaults"):
            paths(**fields)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("descriptions", "'descriptions' is not a field of a Collection"),
        ("defaults.efs", "'defaults.efs' is not a field of a Collection"),
        ("defaults.weights.siamese", "'defaults.weights.siamese' is not a field of a Collection"),
        ("description.length", "'description.length' is not a field of a Collection"),
        ("", "'' is not a field of a Collection"),
        ("defaults.", "'defaults.' is not a field of a Collection"),
        ("x" * 1000, "is not a field of a Collection"),
        ("name", "'name' cannot be changed"),
        ("image_count", "'image_count' cannot be changed"),
        ("spaces", "'spaces' cannot be changed"),
        ("other.state", "'other.state' cannot be changed"),
        ("create_time.seconds", "'create_time.seconds' cannot be changed"),
    ],
)
def test_a_path_that_there_is_not_or_that_is_the_server_s_is_refused_by_name(path: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as refused:
        paths("description", path)
    assert refused.value.field == "update_mask"
    assert "description, defaults, defaults.spaces, defaults.weights, defaults.ef can be changed" in refused.value.message
    assert len(refused.value.message) < 250


def test_everything_and_something_more_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="has other paths besides"):
        paths("*", "description")


def test_only_what_the_mask_names_changes_and_what_it_names_without_a_value_is_cleared() -> None:
    before = CollectionDefaults(("siamese",), {"siamese": 2.0}, 64)
    request = asked("defaults.spaces", "defaults.ef", description="left out", defaults={"ef": 128, "weights": {"siamese": 9.0}})
    now = collection_update_from(request).applied(replace(COLLECTION, description="kept", defaults=before))
    assert now == replace(COLLECTION, description="kept", defaults=CollectionDefaults((), {"siamese": 2.0}, 128))
