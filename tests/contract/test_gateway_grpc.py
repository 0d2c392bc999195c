"""What the gateway promises over gRPC, on the whole system: answers, and a clear error for every bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from lookalike.runtime.channels import open_channel
from lookalike.v1 import image_pb2
from lookalike.v1 import search_service_pb2 as search_pb
from tests.contract.gateway_collections import TIMEOUT_S, Stubs, fill, image_id, label, picture, refused, stubs
from tests.messages import search_request
from tests.pictures.made_pictures import bomb
from tests.servers.stack import Stack

COLLECTION = "gateway_grpc"
COUNT = 60
STRONG = search_pb.CONSISTENCY_STRONG


@pytest.fixture(scope="module")
def target(stack: Stack) -> str:
    fill(stack.target, COLLECTION, COUNT)
    return stack.target


@pytest.fixture(scope="module")
def channel(target: str) -> Iterator[grpc.Channel]:
    with open_channel(target) as channel:
        yield channel


@pytest.fixture(scope="module")
def services(channel: grpc.Channel) -> Stubs:
    return stubs(channel)


def search(services: Stubs, **fields: Any) -> search_pb.SearchResponse:
    fields = {"collection": COLLECTION, "consistency": STRONG, **fields}
    return services.search.Search(search_request(**fields), timeout=TIMEOUT_S)


def ids(response: search_pb.SearchResponse) -> list[str]:
    return [hit.image.id for hit in response.neighbours]


def vectors(*given: image_pb2.SpaceVector) -> search_pb.QueryVectors:
    return search_pb.QueryVectors(spaces=given)


# --- search ---


def test_a_stored_picture_finds_itself_first_in_each_space(services: Stubs) -> None:
    for space in ("histogram", "siamese"):
        response = search(services, image=picture(7), spaces=[space], top_k=3)
        nearest = response.neighbours[0]
        assert nearest.image.id == image_id(7)
        assert nearest.distance == pytest.approx(0, abs=1e-3)
        assert nearest.similarity == pytest.approx(1, abs=1e-3)
        assert nearest.image.metadata.fields["label"].string_value == label(7)
        assert [hit.rank for hit in response.neighbours] == [1, 2, 3]
        assert [one.name for one in response.spaces] == [space]


def test_five_by_siamese_is_what_one_gets_without_asking(services: Stubs) -> None:
    response = search(services, image=picture(COUNT + 1))
    assert len(response.neighbours) == 5
    assert [space.name for space in response.spaces] == ["siamese"]
    assert response.ef == 64


def test_picture_vectors_and_stored_image_lead_to_the_same_neighbours(services: Stubs) -> None:
    by_image = search(services, image=picture(3), spaces=["siamese"], top_k=6, include_query_vectors=True)
    own = by_image.query_vectors[0]
    by_vectors = search(services, vectors=vectors(own), top_k=6)
    by_id = search(services, image_id=image_id(3), spaces=["siamese"], top_k=5)
    assert ids(by_vectors) == ids(by_image)
    assert ids(by_image)[0] == image_id(3)
    assert ids(by_id) == ids(by_image)[1:]


def test_two_spaces_agree_with_exact_similarities_worked_out_by_hand(services: Stubs) -> None:
    spaces = ["histogram", "siamese"]
    everything = search(
        services, image=picture(COUNT + 2), spaces=spaces, weights={"siamese": 3}, top_k=COUNT,
        view=search_pb.IMAGE_VIEW_FULL, include_query_vectors=True,
    )  # fmt: skip
    query = {vector.space: np.array(vector.values) for vector in everything.query_vectors}
    assert len(everything.neighbours) == COUNT
    for hit in everything.neighbours:
        own = {vector.space: np.array(vector.values) for vector in hit.image.vectors}
        histogram = 1 - np.linalg.norm(query["histogram"] - own["histogram"]) / np.sqrt(2)
        cosine = query["siamese"] @ own["siamese"] / np.linalg.norm(query["siamese"]) / np.linalg.norm(own["siamese"])
        assert hit.similarity == pytest.approx(0.25 * histogram + 0.75 * (1 + cosine) / 2, abs=1e-5)
        assert sum(share.share for share in hit.shares) == pytest.approx(hit.similarity, abs=1e-5)
        assert not hit.HasField("distance")
    similarities = [hit.similarity for hit in everything.neighbours]
    assert similarities == sorted(similarities, reverse=True)
    few = search(services, image=picture(COUNT + 2), spaces=spaces, weights={"siamese": 3}, top_k=4)
    assert ids(few) == ids(everything)[:4]


def test_a_filter_holds_for_every_hit(services: Stubs) -> None:
    wanted = label(0)
    response = search(services, image=picture(0), filter=f'label = "{wanted}" AND number < 40', top_k=COUNT)
    expected = {image_id(n) for n in range(40) if label(n) == wanted}
    assert set(ids(response)) == expected


# --- bad input ---

PICTURE = picture(1)
WRONG = image_pb2.SpaceVector(space="siamese", values=[1.0, 2.0])
OTHER = image_pb2.SpaceVector(space="siamese", values=[1.0] * 256, fingerprint="0" * 16)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("INVALID_ARGUMENT", "query", "INVALID_ARGUMENT")),
        ({"image": b""}, ("INVALID_ARGUMENT", "query.image", "IMAGE_EMPTY")),
        ({"image": PICTURE[: len(PICTURE) // 2]}, ("INVALID_ARGUMENT", "query.image", "IMAGE_UNREADABLE")),
        ({"image": bytes(20_000_001)}, ("INVALID_ARGUMENT", "query.image", "IMAGE_TOO_LARGE")),
        ({"image": b"certainly not a picture"}, ("INVALID_ARGUMENT", "query.image", "IMAGE_FORMAT_UNKNOWN")),
        ({"image": bomb()}, ("INVALID_ARGUMENT", "query.image", "IMAGE_TOO_MANY_PIXELS")),
        ({"vectors": vectors()}, ("INVALID_ARGUMENT", "query.vectors.spaces", "INVALID_ARGUMENT")),
        ({"vectors": vectors(WRONG)}, ("INVALID_ARGUMENT", "query.vectors.spaces[0].values", "DIMENSION_MISMATCH")),
        ({"vectors": vectors(OTHER)}, ("FAILED_PRECONDITION", "query.vectors.spaces[0].fingerprint", "FINGERPRINT_MISMATCH")),
        ({"image_id": "nobody"}, ("NOT_FOUND", "query.image_id", "IMAGE_NOT_FOUND")),
        ({"image_id": ""}, ("INVALID_ARGUMENT", "query.image_id", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "collection": "nowhere"}, ("NOT_FOUND", "collection", "COLLECTION_NOT_FOUND")),
        ({"image": PICTURE, "collection": ""}, ("INVALID_ARGUMENT", "collection", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "spaces": ["colour"]}, ("NOT_FOUND", "options.spaces[0]", "SPACE_NOT_FOUND")),
        ({"image": PICTURE, "spaces": ["siamese"] * 2}, ("INVALID_ARGUMENT", "options.spaces[1]", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "top_k": 0}, ("INVALID_ARGUMENT", "options.top_k", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "top_k": 20_000}, ("INVALID_ARGUMENT", "options.top_k", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "ef": 2}, ("INVALID_ARGUMENT", "options.ef", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "filter": "label = "}, ("INVALID_ARGUMENT", "options.filter", "FILTER_INVALID")),
        ({"image": PICTURE, "filter": 'label = "a" OR'}, ("INVALID_ARGUMENT", "options.filter", "FILTER_INVALID")),
        ({"image": PICTURE, "weights": {"siamese": 0}}, ("INVALID_ARGUMENT", "options.weights.siamese", "INVALID_ARGUMENT")),
        ({"image": PICTURE, "consistency": 99}, ("INVALID_ARGUMENT", "options.consistency", "INVALID_ARGUMENT")),
    ],
)
def test_a_bad_search_is_refused_with_status_field_and_reason(
    services: Stubs, fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    request = search_request(**{"collection": COLLECTION, **fields})
    assert refused(services.search.Search, request) == expected


def test_top_k_out_of_range_says_what_is_allowed(services: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        search(services, image=PICTURE, top_k=20_000)
    assert "1 to 1000" in str(raised.value.details())


def test_a_deadline_too_short_to_keep_is_deadline_exceeded(services: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        services.search.Search(search_request(COLLECTION, image=PICTURE), timeout=0.001)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
