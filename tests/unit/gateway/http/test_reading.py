"""What every route reads is bounded, and a field that is not known is refused by its path, at any depth."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lookalike.names import MAX_QUERIES_PER_BATCH
from tests.messages import search_body
from tests.unit.gateway.http_app import SEARCH, ask

IMAGES = "/v1/collections/things/images"
JOBS = "/v1/ingest-jobs"


def refused(method: str, path: str, **request: Any) -> tuple[int, str, str]:
    response = ask(method, path, **request)
    error = response.json()["error"]
    return response.status_code, error["status"], error["field"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/collections", {"name": "a", "spaces": [{"name": "a", "histogram": {"bin": 16}}]}, "spaces[0].histogram.bin"),
        ("/v1/collections", {"name": "a", "space": {}}, "space"),
        ("/v1/collections/things:reembed", {"grace": 5}, "grace"),
        (
            SEARCH,
            {"query": {"vectors": {"spaces": [{"space": "siamese", "values": [1], "finger": ""}]}}},
            "query.vectors.spaces[0].finger",
        ),
        (SEARCH, {"query": {"image_id": "a"}, "options": {"topk": 5}}, "options.topk"),
        (f"{SEARCH}:batch", {"queries": [{"query": {"image_id": "a"}}, {"question": {}}]}, "queries[1].question"),
        (
            f"{SEARCH}:batch",
            {"queries": [{"query": {"vectors": {"spaces": [{"space": "x", "value": []}]}}}]},
            "queries[0].query.vectors.spaces[0].value",
        ),
        (f"{SEARCH}:batch", {"queries": [], "top": 5}, "top"),
        (f"{IMAGES}:delete", {"id": ["a"]}, "id"),
        (f"{IMAGES}:update", {"updates": [{"id": "a", "metadata": {}, "merged": True}]}, "updates[0].merged"),
        (JOBS, {"collection": "things", "source": {"folder": {"url": "/a"}}}, "source.folder.url"),
        (JOBS, {"collection": "things", "source": {"manifest": {"uri": "/a", "id": 1}}}, "source.manifest.id"),
        (JOBS, {"collection": "things", "source": {"zip": {"uri": "/a"}}}, "source.zip"),
        (
            JOBS,
            {"collection": "c", "source": {"upload": {"upload_id": "a"}}, "near_duplicates": {"at": 1}},
            "near_duplicates.at",
        ),
        (f"{JOBS}/x:retry", {"id": "a"}, "id"),
    ],
)
def test_a_field_that_there_is_not_is_refused_by_its_path(path: str, body: dict[str, Any], field: str) -> None:
    assert refused("POST", path, json=body) == (400, "INVALID_ARGUMENT", field)


def test_names_may_be_in_lower_camel_case_in_bodies_queries_forms_and_masks() -> None:
    body = {"query": {"imageId": "000"}, "options": {"topK": 2, "includeQueryVectors": True}}
    found = ask("POST", SEARCH, json=body).json()
    assert (len(found["neighbours"]), len(found["query_vectors"])) == (2, 1)
    form = ask("POST", SEARCH, files={"image": b"x"}, data={"topK": "3", "includeQueryVectors": "true"}).json()
    assert (len(form["neighbours"]), len(form["query_vectors"])) == (3, 1)
    assert len(ask("GET", f"{IMAGES}?pageSize=2").json()["images"]) == 2
    for mask, status in (("description", 200), ("updateTime", 400), ("update_time", 400)):
        response = ask("PATCH", f"/v1/collections/things?updateMask={mask}", json={"description": "new"})
        assert response.status_code == status, response.text
    assert "update_time" in ask("PATCH", "/v1/collections/things?updateMask=updateTime", json={}).json()["error"]["message"]


def test_a_field_by_both_of_its_names_is_refused() -> None:
    options = {"topK": 2, "top_k": 2}
    assert refused("POST", SEARCH, json={"query": {"image_id": "0"}, "options": options})[2] == "options.top_k"
    assert refused("POST", SEARCH, json={"query": {"image_id": "0", "imageId": "1"}})[2] == "query.image_id"
    assert refused("POST", SEARCH, files={"image": b"x"}, data={"topK": "2", "top_k": "2"})[2] == "top_k"
    assert refused("GET", f"{IMAGES}?page_size=2&pageSize=2")[2] == "page_size"


def test_a_field_of_before_is_known_in_lower_camel_case_too() -> None:
    for body, message in (
        ({"topK": 5}, "topK: is options.top_k now"),
        ({"includeVectors": True}, "includeVectors: is options.view now, with IMAGE_VIEW_FULL"),
    ):
        assert ask("POST", SEARCH, json=body).json()["error"]["message"] == message


@pytest.mark.parametrize("path", ["/v1/collections?pagesize=5", f"{IMAGES}?topk=5", f"{JOBS}?state=x", f"{IMAGES}/a?vectors=1"])
def test_a_parameter_that_there_is_not_is_refused(path: str) -> None:
    assert refused("GET", path) == (400, "INVALID_ARGUMENT", path.partition("?")[2].partition("=")[0])


JSON = {"content-type": "application/json"}


def body(**fields: Any) -> dict[str, Any]:
    """Of a search, for a stored image where no vectors are given."""
    return search_body({"image_id": "a"} | fields)


def by_vectors(values: list[Any]) -> dict[str, Any]:
    return search_body({"vectors": {"spaces": [{"space": "siamese", "values": values}]}})


TOO_MANY_BINS = {"name": "a", "histogram": {"bins": 10**30}}


def raw(body: str) -> dict[str, object]:
    return {"content": body.encode(), "headers": JSON}


@pytest.mark.parametrize(
    ("method", "path", "request_", "field"),
    [
        ("POST", SEARCH, {"json": body(spaces=["siamese"] * 20_000)}, "options.spaces"),
        ("POST", SEARCH, {"json": body(weights={str(n): 1 for n in range(9)})}, "options.weights"),
        ("POST", SEARCH, {"json": body(filter="x" * 5000)}, "options.filter"),
        ("POST", SEARCH, {"json": by_vectors(["x"] * 9)}, "query.vectors.spaces[0].values[0]"),
        ("POST", SEARCH, {"json": by_vectors([0] * 32_769)}, "query.vectors.spaces[0].values"),
        ("POST", SEARCH, raw('{"options": {"filter": "\\ud800"}}'), "options.filter"),
        ("POST", SEARCH, raw('{"options": {"weights": {"siamese": 1e999}}, "query": {}}'), "options.weights.siamese"),
        ("POST", SEARCH, {"json": by_vectors([1e39])}, "query.vectors.spaces[0].values"),
        ("POST", SEARCH, raw('{"\\ud800": 1}'), "\\ud800"),
        ("POST", SEARCH, {"files": {"image": b"x"}, "data": {"weights": "[" * 90_000}}, "options.weights"),
        ("POST", SEARCH, {"files": {"image": b"x"}, "data": {"spaces": ["siamese"] * 9}}, "options.spaces"),
        ("POST", SEARCH, {"files": {"image": b"x"}, "data": {"filter": "x" * 200_000}}, "body"),
        ("POST", f"{SEARCH}:batch", {"json": {"queries": [{}] * (MAX_QUERIES_PER_BATCH + 1)}}, "queries"),
        ("POST", f"{SEARCH}:batch", {"json": {"queries": "many"}}, "queries"),
        ("POST", "/v1/collections", raw('{"name": "a", "description": "\\ud83d"}'), "description"),
        ("POST", "/v1/collections", raw('{"name": NaN}'), "name"),
        ("POST", "/v1/collections", {"content": b"[" * 50_000, "headers": JSON}, "body"),
        ("POST", "/v1/collections", {"json": {"name": "a", "spaces": [TOO_MANY_BINS]}}, "spaces[0].histogram.bins"),
        ("POST", "/v1/collections/things:reembed", raw('{"grace": 1e999}'), "grace"),
        ("POST", "/v1/collections/things:reembed", {"json": {"grace": 60}}, "grace"),
        ("POST", "/v1/collections/things:reembed", {"json": {"grace": "1 day"}}, "grace"),
        ("POST", "/v1/collections/things:reembed", {"json": {"grace": "-60s"}}, "grace"),
        ("POST", "/v1/collections/things:reembed", {"json": {"grace": "1000000000000s"}}, "grace"),
        ("POST", f"{IMAGES}:delete", {"json": {"ids": ["a"] * 1001}}, "ids"),
        ("POST", f"{IMAGES}:delete", {"json": {"ids": ["a", "b" * 257]}}, "ids[1]"),
        ("POST", f"{IMAGES}:delete", raw('{"ids": ["\\ud800"]}'), "ids[0]"),
        ("POST", f"{IMAGES}:update", {"json": {"updates": [{"id": "a", "metadata": []}]}}, "updates[0].metadata"),
        ("POST", f"{IMAGES}:update", raw('{"updates": [{"id": "a", "metadata": {"k": 1e999}}]}'), "updates[0].metadata.k"),
        ("PATCH", f"{IMAGES}/a", {"json": {"metadata": {"k": [1, 2**64]}}}, "metadata.k[1]"),
        ("PATCH", f"{IMAGES}/a", raw('{"metadata": {"k": {"m": NaN}}}'), "metadata.k.m"),
        ("PATCH", f"{IMAGES}/a", raw('{"metadata": {"k": ["\\udc00"]}}'), "metadata.k[0]"),
        ("POST", IMAGES, {"files": {"images": b"x"}, "data": {"metadata": "[" * 90_000}}, "metadata[0]"),
        ("POST", IMAGES, {"files": {"images": b"x"}, "data": {"metadata": '{"a": "\\ud800"}'}}, "metadata[0].a"),
        ("POST", JOBS, raw('{"collection": "things", "source": {"folder": {"uri": "/\\ud800"}}}'), "source.folder.uri"),
        ("GET", f"{IMAGES}?page_token={'x' * 2000}", {}, "page_token"),
        ("GET", f"{JOBS}?{'&'.join(['states=INGEST_JOB_STATE_FAILED'] * 17)}", {}, "states"),
        ("GET", f"{JOBS}?{'&' * 200}", {}, "query"),
        ("GET", f"{JOBS}?text={'x' * 40_000}", {}, "query"),
        ("GET", f"{JOBS}/{'x' * 129}", {}, "id"),
        ("GET", f"{IMAGES}/{'x' * 257}", {}, "id"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_too_much_or_no_text_is_refused_by_its_field(
    method: str, path: str, request_: dict[str, Any], field: str
) -> None:
    assert refused(method, path, **request_) == (400, "INVALID_ARGUMENT", field)


def test_a_body_that_is_too_large_for_its_route_is_refused() -> None:
    for path, size in (("/v1/collections", 70_000), (f"{IMAGES}:delete", 3_000_000)):
        body = json.dumps({"name": "x" * size}).encode()
        assert refused("POST", path, content=body, headers=JSON) == (413, "INVALID_ARGUMENT", "body")


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "raw_unicode_escape"])
def test_a_form_cannot_bring_half_a_character_by_an_encoding_of_its_own(charset: str) -> None:
    half = {"utf-7": b"+2AA-"}.get(charset, b"\\ud800")
    assert "\ud800" in codecs.decode(half, charset)
    content = b'--b\r\ncontent-disposition: form-data; name="filter"\r\n\r\n' + half + b"\r\n--b--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    assert refused("POST", SEARCH, content=content, headers=headers) == (400, "INVALID_ARGUMENT", "filter")


def test_the_document_shows_a_bound_for_every_text_list_and_map_that_is_sent() -> None:
    document = ask("GET", "/openapi.json").json()
    loose = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "header":
                    loose += [f"{method} {path} {parameter['name']}{at}" for at in _loose(parameter["schema"], document)]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                loose += [f"{method} {path} {at}" for at in _loose(content["schema"], document)]
    assert loose == []


def _loose(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """Where in `schema` something may be of any length. Metadata is bounded as a whole, where it is stored."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from _loose(choice, document)
    free = "enum" in schema or "const" in schema or schema.get("format") in ("date-time", "binary")
    if schema.get("type") == "string" and not free and "maxLength" not in schema:
        yield ""
    if schema.get("type") == "array":
        if "maxItems" not in schema:
            yield "[]"
        yield from (f"[]{at}" for at in _loose(schema["items"], document))
    if isinstance(schema.get("additionalProperties"), dict) and "maxProperties" not in schema:
        yield "{}"
    for name, inner in schema.get("properties", {}).items():
        if name != "metadata":
            yield from (f".{name}{at}" for at in _loose(inner, document))
