"""Batches over HTTP: a line for each query, errors of the whole before any line."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from lookalike.spaces import HISTOGRAM, SIAMESE
from tests.unit.gateway.http_app import SEARCH, ask

BATCH = f"{SEARCH}:batch"
PICTURE = base64.b64encode(b"picture").decode()
STORED = {"image_id": "001"}


def batch_body(*queries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"queries": [{"query": query} for query in queries], **more}


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """In order of the queries."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return sorted((json.loads(line) for line in response.text.splitlines()), key=lambda line: line["index"])


def test_every_query_of_a_batch_gets_the_answer_that_it_gets_alone() -> None:
    queries: list[dict[str, Any]] = [
        {"image": PICTURE},
        {"image_id": "003"},
        {"vectors": {"spaces": [{"space": SIAMESE, "values": [1, 0, 0, 0]}]}},
    ]
    options = {"top_k": 3, "include_query_vectors": True, "ef": 70}
    answered = lines(ask("POST", BATCH, json=batch_body(*queries, options=options)))
    assert [line["index"] for line in answered] == [0, 1, 2]
    for line, query in zip(answered, queries, strict=True):
        assert set(line) == {"index", "answer"}
        alone = ask("POST", SEARCH, json={"query": query, "options": options}).json()
        assert set(line["answer"].pop("timing")) == set(alone.pop("timing")) == {"total", "query_vectors", "nearest"}
        assert line["answer"] == alone


def test_a_form_may_hold_many_pictures() -> None:
    files = [("images", (f"{number}.png", content)) for number, content in enumerate([b"one", b"bad", b"three"])]
    data = {"spaces": "histogram, siamese", "top_k": "2", "weights": '{"siamese": 3}'}
    one, bad, three = lines(ask("POST", BATCH, files=files, data=data))
    assert [space["name"] for space in one["answer"]["spaces"]] == [HISTOGRAM, SIAMESE]
    assert len(three["answer"]["neighbours"]) == 2
    assert (bad["error"]["code"], bad["error"]["field"], bad["error"]["reason"]) == (400, "query.image", "IMAGE_UNREADABLE")


def test_what_is_wrong_with_one_query_is_its_line() -> None:
    bad = base64.b64encode(b"bad picture").decode()
    queries: list[dict[str, Any]] = [{}, {"image": bad}, {"image_id": "nobody"}, {"image_id": "001"}]
    answered = lines(ask("POST", BATCH, json=batch_body(*queries)))
    assert [line.get("error", {}).get("field") for line in answered] == ["query", "query.image", "query.image_id", None]
    assert [line.get("error", {}).get("code") for line in answered] == [400, 400, 404, None]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"json": {}}, "queries"),
        ({"json": {"queries": []}}, "queries"),
        ({"json": batch_body(*[STORED] * 257)}, "queries"),
        ({"json": batch_body(STORED, options={"top_k": 0})}, "options.top_k"),
        ({"json": batch_body(STORED, options={"filter": "label ="})}, "options.filter"),
        ({"json": batch_body(STORED, {"image": "%%%"})}, "queries[1].query.image"),
        ({"json": batch_body({**STORED, "image": PICTURE})}, "queries[0].query"),
        ({"json": {"queries": [{}]}}, "queries[0].query"),
        ({"json": batch_body({**STORED, "top_k": 3})}, "queries[0].query.top_k"),
        ({"json": {"queries": [STORED]}}, "queries[0].image_id"),
        ({"files": {"images": b"x"}, "data": {"top_k": "many"}}, "options.top_k"),
        ({"files": {"image": b"x"}}, "image"),
        ({"data": {"images": "text"}, "files": {"other": b"x"}}, "images"),
        ({"data": {"top_k": "3"}, "files": {}}, "body"),
    ],
)
def test_what_is_wrong_with_all_of_it_is_an_error_and_no_stream(request_: dict[str, Any], field: str) -> None:
    error = ask("POST", BATCH, **request_).json()["error"]
    assert (error["code"], error["field"]) == (400, field), error


def test_a_batch_in_a_collection_that_is_not_there_is_404() -> None:
    response = ask("POST", "/v1/collections/others/search:batch", json=batch_body(STORED))
    assert (response.status_code, response.json()["error"]["reason"]) == (404, "COLLECTION_NOT_FOUND")


def test_the_lines_and_both_bodies_are_documented() -> None:
    document = ask("GET", "/openapi.json").json()
    operation = document["paths"]["/v1/collections/{collection}/search:batch"]["post"]
    (kind, answer), *others = operation["responses"]["200"]["content"].items()
    assert (kind, others) == ("application/x-ndjson", [])
    assert answer["schema"] == {"$ref": "#/components/schemas/SearchBatchResponse"}
    content, schemas = operation["requestBody"]["content"], document["components"]["schemas"]
    assert content["multipart/form-data"]["schema"]["properties"]["images"]["type"] == "array"
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/SearchBatchRequest"}
    assert schemas["SearchBatchRequest"]["properties"]["queries"]["items"] == {"$ref": "#/components/schemas/BatchQueryInput"}
    assert set(schemas["QueryInput"]["properties"]) == {"image", "vectors", "image_id"}
