"""Batches of queries on the whole system: real pictures, real network, over gRPC, HTTP and the client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import code_pb2

from lookalike.client import Consistency, Query
from lookalike.runtime.channels import open_channel
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.status import from_status
from tests.contract.gateway_collections import TIMEOUT_S, Stubs, fill, image_id, picture, refused, stubs
from tests.messages import made, search_request
from tests.servers.stack import Stack

COLLECTION = "gateway_batch"
COUNT = 50
STRONG = search_pb.CONSISTENCY_STRONG


@pytest.fixture(scope="module")
def target(stack: Stack) -> str:
    fill(stack.target, COLLECTION, COUNT)
    return stack.target


@pytest.fixture(scope="module")
def services(target: str) -> Iterator[Stubs]:
    with open_channel(target) as channel:
        yield stubs(channel)


def batch(services: Stubs, queries: list[search_pb.Query], **options: Any) -> list[search_pb.SearchBatchResponse]:
    """In order of the queries; each exactly once."""
    options = {"consistency": STRONG, **options}
    request = made(
        search_pb.SearchBatchRequest,
        collection=COLLECTION,
        queries=[search_pb.BatchQuery(query=one) for one in queries],
        options=options,
    )
    answers = sorted(services.search.SearchBatch(request, timeout=TIMEOUT_S), key=lambda answer: answer.index)
    assert [answer.index for answer in answers] == list(range(len(queries)))
    return answers


def ids(response: search_pb.SearchResponse) -> list[str]:
    return [hit.image.id for hit in response.neighbours]


@pytest.mark.parametrize("spaces", [["siamese"], ["histogram", "siamese"]])
def test_a_batch_answers_as_lone_searches_do(services: Stubs, spaces: list[str]) -> None:
    queries = [search_pb.Query(image=picture(COUNT + n)) for n in range(40)]
    queries += [search_pb.Query(image_id=image_id(n)) for n in range(10)]
    answers = batch(services, queries, spaces=spaces, top_k=6, filter="number < 45")
    for query, answer in zip(queries, answers, strict=True):
        options = {"consistency": STRONG, "spaces": spaces, "top_k": 6, "filter": "number < 45"}
        alone = made(search_pb.SearchRequest, collection=COLLECTION, query=query, options=options)
        response = services.search.Search(alone, timeout=TIMEOUT_S)
        assert ids(answer.answer) == ids(response)
        assert len(response.neighbours) == 6
        for ours, theirs in zip(answer.answer.neighbours, response.neighbours, strict=True):
            assert ours.similarity == pytest.approx(theirs.similarity, abs=1e-5)


def test_a_bad_picture_is_its_own_answer_with_the_details_of_its_error(services: Stubs) -> None:
    good, bad = search_pb.Query(image=picture(1)), search_pb.Query(image=picture(2)[:60])
    answers = batch(services, [good, bad, search_pb.Query(), search_pb.Query(image_id="nobody"), good])
    assert [answer.WhichOneof("outcome") for answer in answers] == ["answer", "error", "error", "error", "answer"]
    assert ids(answers[0].answer)[0] == ids(answers[4].answer)[0] == image_id(1)
    codes = [answer.error.code for answer in answers[1:4]]
    assert codes == [code_pb2.INVALID_ARGUMENT, code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND]
    errors = [(error.reason, error.field) for error in (from_status(answer.error) for answer in answers[1:4])]
    assert errors == [("IMAGE_UNREADABLE", "query.image"), ("INVALID_ARGUMENT", "query"), ("IMAGE_NOT_FOUND", "query.image_id")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"queries": []}, ("INVALID_ARGUMENT", "queries", "INVALID_ARGUMENT")),
        ({"queries": [{"query": {"image_id": "x"}}] * 257}, ("INVALID_ARGUMENT", "queries", "INVALID_ARGUMENT")),
        ({"options": {"top_k": 0}}, ("INVALID_ARGUMENT", "options.top_k", "INVALID_ARGUMENT")),
        ({"options": {"filter": "label = "}}, ("INVALID_ARGUMENT", "options.filter", "FILTER_INVALID")),
        ({"options": {"spaces": ["colour"]}}, ("NOT_FOUND", "options.spaces[0]", "SPACE_NOT_FOUND")),
        ({"collection": "nowhere"}, ("NOT_FOUND", "collection", "COLLECTION_NOT_FOUND")),
        ({"collection": ""}, ("INVALID_ARGUMENT", "collection", "INVALID_ARGUMENT")),
        ({"options": {"consistency": 99}}, ("INVALID_ARGUMENT", "options.consistency", "INVALID_ARGUMENT")),
    ],
)
def test_a_bad_batch_is_refused_as_a_whole_with_status_field_and_reason(
    services: Stubs, fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    request = {"collection": COLLECTION, "queries": [{"query": {"image_id": image_id(1)}}], **fields}
    assert refused(services.search.SearchBatch, made(search_pb.SearchBatchRequest, **request)) == expected


def test_a_deadline_too_short_to_keep_is_deadline_exceeded(services: Stubs) -> None:
    queries = [search_pb.BatchQuery(query=search_pb.Query(image=picture(n))) for n in range(64)]
    request = search_pb.SearchBatchRequest(collection=COLLECTION, queries=queries)
    with pytest.raises(grpc.RpcError) as raised:
        list(services.search.SearchBatch(request, timeout=0.001))
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_http_streams_what_grpc_streams(stack: Stack, services: Stubs) -> None:
    contents = [picture(n) for n in range(3)]
    over_grpc = batch(services, [search_pb.Query(image=content) for content in contents], top_k=4)
    path = f"/v1/collections/{COLLECTION}/search:batch"
    queries = [{"query": {"image": base64.b64encode(content).decode()}} for content in contents]
    body = {"queries": queries, "options": {"top_k": 4, "consistency": "CONSISTENCY_STRONG"}}
    files = [("images", ("picture.png", content)) for content in contents]
    with httpx.Client(base_url=stack.http_url, timeout=TIMEOUT_S) as http:
        for request in ({"json": body}, {"files": files, "data": {"top_k": "4", "consistency": "CONSISTENCY_STRONG"}}):
            with http.stream("POST", path, **request) as stream:
                lines = sorted(map(json.loads, stream.iter_lines()), key=lambda line: line["index"])
            found = [[hit["image"]["id"] for hit in line["answer"]["neighbours"]] for line in lines]
            assert found == [ids(answer.answer) for answer in over_grpc]


def test_the_client_takes_more_queries_than_one_request_holds(stack: Stack, target: str) -> None:
    with stack.client() as client:
        queries = [Query(image=picture(n % COUNT)) for n in range(300)]
        answers = list(client.search_many(COLLECTION, queries, top_k=1, consistency=Consistency.STRONG, timeout_s=TIMEOUT_S))
    nearest = {answer.index: answer.result.neighbours[0].image.id for answer in answers if answer.result}
    assert nearest == {n: image_id(n % COUNT) for n in range(300)}


def test_a_picture_searched_again_is_not_embedded_again(stack: Stack, services: Stubs) -> None:
    def cached() -> float:
        text = httpx.get(f"{stack.http_url}/metrics", timeout=TIMEOUT_S).text
        name = 'lookalike_gateway_query_embeddings_total{source="cached"} '
        return float(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name))

    before = cached()
    request = search_request(COLLECTION, image=picture(1234), include_query_vectors=True)
    first, again = (services.search.Search(request, timeout=TIMEOUT_S) for _ in range(2))
    assert cached() == before + 1
    assert list(first.query_vectors[0].values) == list(again.query_vectors[0].values)
