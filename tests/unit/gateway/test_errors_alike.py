"""What is wrong with a search is called the same over gRPC and HTTP, by its path in the request."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from google.protobuf import json_format

from gateway.grpc.servicers import SearchServicer
from lookalike import bounds
from lookalike.errors import LookalikeError
from lookalike.v1 import search_service_pb2 as pb
from tests.unit.gateway.fakes import NOTHING, FakeEmbedder, MemoryBackends, random_images, search_core
from tests.unit.gateway.http_app import SEARCH, ask

STORED, PICTURE = {"image_id": "000"}, {"image": base64.b64encode(b"picture").decode()}
ONES = [1.0, 1.0, 1.0, 1.0]


class Context:
    def time_remaining(self) -> float | None:
        return 5.0


def over_grpc(body: dict[str, Any]) -> LookalikeError:
    request = json_format.ParseDict(body, pb.SearchRequest(collection="things"))
    search = search_core(MemoryBackends(random_images(9)), FakeEmbedder(random_images(1)[0].vectors))
    with pytest.raises(LookalikeError) as raised:
        asyncio.run(_answered(SearchServicer(search, NOTHING), request.SerializeToString()))
    return raised.value


async def _answered(servicer: SearchServicer, request: bytes) -> None:
    await servicer.Search(bounds.read(request, pb.SearchRequest), Context())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "options", "field"),
    [
        ({}, {}, "query"),
        ({"image": base64.b64encode(b"bad").decode()}, {}, "query.image"),
        ({"image_id": ""}, {}, "query.image_id"),
        ({"image_id": "nobody"}, {}, "query.image_id"),
        ({"vectors": {"spaces": []}}, {}, "query.vectors.spaces"),
        ({"vectors": {"spaces": [{"space": "siamese", "values": ONES}] * 9}}, {}, "query.vectors.spaces"),
        ({"vectors": {"spaces": [{"space": "siamese", "values": ONES}] * 2}}, {}, "query.vectors.spaces[1].space"),
        ({"vectors": {"spaces": [{"space": "colour", "values": ONES}]}}, {}, "query.vectors.spaces[0].space"),
        ({"vectors": {"spaces": [{"space": "siamese", "values": ONES[:3]}]}}, {}, "query.vectors.spaces[0].values"),
        ({"vectors": {"spaces": [{"space": "siamese", "values": [0.0] * 32_769}]}}, {}, "query.vectors.spaces[0].values"),
        (
            {"vectors": {"spaces": [{"space": "siamese", "values": ONES, "fingerprint": "0" * 16}]}},
            {},
            "query.vectors.spaces[0].fingerprint",
        ),
        (
            {"vectors": {"spaces": [{"space": "siamese", "values": ONES}]}},
            {"spaces": ["histogram"]},
            "query.vectors.spaces[0].space",
        ),
        (STORED, {"spaces": ["colour"]}, "options.spaces[0]"),
        (STORED, {"spaces": ["siamese", "siamese"]}, "options.spaces[1]"),
        (STORED, {"spaces": ["siamese"] * 9}, "options.spaces"),
        (STORED, {"top_k": 0}, "options.top_k"),
        (STORED, {"top_k": 1001}, "options.top_k"),
        (STORED, {"filter": "label ="}, "options.filter"),
        (PICTURE, {"filter": "x" * 4097}, "options.filter"),
        (PICTURE, {"weights": {"colour": 1}}, "options.weights.colour"),
        (PICTURE, {"weights": {"siamese": -1}}, "options.weights.siamese"),
        (PICTURE, {"weights": {str(number): 1 for number in range(9)}}, "options.weights"),
        (PICTURE, {"ef": 3}, "options.ef"),
        (PICTURE, {"ef": 32_769}, "options.ef"),
    ],
)
def test_an_error_names_the_same_path_over_grpc_and_http(query: dict[str, Any], options: dict[str, Any], field: str) -> None:
    body = {"query": query, "options": options}
    ours, theirs = over_grpc(body), ask("POST", SEARCH, json=body).json()["error"]
    assert (ours.field, theirs["field"]) == (field, field)
    assert ours.reason == theirs["reason"]
