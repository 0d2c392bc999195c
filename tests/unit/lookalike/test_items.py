"""What makes metadata unusable, and that what passes can be carried."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from lookalike.errors import InvalidArgument
from lookalike.items import MAX_METADATA_LEVELS, check_metadata, checked_item
from lookalike.v1 import image_pb2, search_service_pb2
from lookalike.wire.values import metadata_from, metadata_message


def nested(levels: int) -> dict[str, object]:
    """Metadata of `levels` objects in one another."""
    return reduce(lambda inner, _: {"k": inner}, range(levels - 1), {"k": 1})


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": 2**63},
        {"n": -(2**63)},
        {"n": 10**5000},
        {"n": float("inf")},
        {"n": [float("nan")]},
        {"n": b"bytes"},
        {"n": {1: 2}},
        {"n": "\ud800"},
        {"\ud800": 1},
        {"n": "x" * 16 * 1024},
        {"n": reduce(lambda inner, _: [inner], range(40), list[Any]())},
        nested(MAX_METADATA_LEVELS + 1),
        nested(5000),
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="metadata") as refused:
        check_metadata(metadata)
    assert refused.value.field == "metadata"


@pytest.mark.parametrize("metadata", [{}, {"n": 2**63 - 1}, {"n": -(2**63) + 1}, {"deep": {"list": (1, 2.5, None, True, "ü")}}])
def test_metadata_that_can_be_stored_passes(metadata: dict[str, object]) -> None:
    check_metadata(metadata)


def test_the_deepest_metadata_that_passes_fits_into_the_deepest_message() -> None:
    def carried(metadata: dict[str, object]) -> object:
        image = image_pb2.Image(metadata=metadata_message(metadata))
        response = search_service_pb2.SearchResponse(neighbours=[search_service_pb2.Neighbour(image=image)])
        parsed = search_service_pb2.SearchResponse.FromString(response.SerializeToString())
        return metadata_from(parsed.neighbours[0].image.metadata)

    check_metadata(nested(MAX_METADATA_LEVELS))
    assert carried(nested(MAX_METADATA_LEVELS)) == nested(MAX_METADATA_LEVELS)


@pytest.mark.parametrize(
    "uri", ["https://me:secret@host/x.png", "HTTP://secret@host:80", "tar://a.png::https://me:secret@host/x.tar"]
)
def test_a_user_s_name_in_a_url_goes_no_further(uri: str) -> None:
    item = checked_item(0, "a", uri, {})
    assert (item.id, item.problem_reason) == ("a", "SOURCE_FORBIDDEN")
    assert "user's name" in item.problem
    assert "secret" not in repr(item)
    assert "host" in item.uri


@pytest.mark.parametrize("uri", ["https://host/@me.png", "https://host/a?to=me@host", "file:///a@b.png", "s3://bucket/a@b"])
def test_an_at_elsewhere_in_a_uri_is_no_user(uri: str) -> None:
    assert checked_item(0, "a", uri, {}).problem == ""


def test_an_item_that_cannot_be_stored_keeps_the_id_that_its_uri_gives() -> None:
    good = checked_item(0, "", "file:///a.png", {})
    assert checked_item(0, "", "file:///a.png", {"n": "x" * 20_000}).id == good.id
    assert checked_item(0, "", "x" * 3000, {}).id == ""
