"""What the gateway promises over HTTP, on the whole system: answers, and one shape of error for every bad input."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest

from lookalike.runtime.channels import open_channel
from lookalike.v1 import search_service_pb2 as search_pb
from tests.contract.gateway_collections import TIMEOUT_S, fill, image_id, label, picture, stubs
from tests.messages import search_body, search_request
from tests.pictures.made_pictures import bomb
from tests.servers.stack import Stack
from tests.unit.gateway.events import events

COLLECTION = "gateway_http"
COUNT = 40
PATH = f"/v1/collections/{COLLECTION}"
STRONG = "CONSISTENCY_STRONG"
PICTURE = picture(1)


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    fill(stack.target, COLLECTION, COUNT)
    with httpx.Client(base_url=stack.http_url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with open_channel(stack.target) as channel:
        yield channel


def form(image: bytes, **fields: str) -> dict[str, Any]:
    return {"files": {"image": ("picture.png", image)}, "data": fields}


def search(http: httpx.Client, **request: Any) -> dict[str, Any]:
    response = http.post(f"{PATH}/search", **request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_http_gives_what_grpc_gives(http: httpx.Client, channel: grpc.Channel) -> None:
    over_http = search(http, **form(picture(COUNT + 3), spaces="histogram,siamese", top_k="7", consistency=STRONG))
    request = search_request(
        COLLECTION,
        image=picture(COUNT + 3),
        spaces=["histogram", "siamese"],
        top_k=7,
        consistency=search_pb.CONSISTENCY_STRONG,
    )
    over_grpc = stubs(channel).search.Search(request, timeout=TIMEOUT_S)
    assert [(hit["image"]["id"], hit["rank"]) for hit in over_http["neighbours"]] == [
        (hit.image.id, hit.rank) for hit in over_grpc.neighbours
    ]
    for ours, theirs in zip(over_http["neighbours"], over_grpc.neighbours, strict=True):
        assert ours["similarity"] == pytest.approx(theirs.similarity, abs=1e-6)
        assert [share["share"] for share in ours["shares"]] == pytest.approx([share.share for share in theirs.shares], abs=1e-6)


def test_a_picture_in_base64_a_vector_and_a_stored_image_are_searched_by_json(http: httpx.Client) -> None:
    common = {"spaces": ["siamese"], "top_k": 4, "consistency": STRONG}
    encoded = base64.b64encode(picture(2)).decode()
    by_image = search(http, json=search_body({"image": encoded, "include_query_vectors": True, **common}))
    by_vector = search(http, json=search_body({"vectors": {"spaces": by_image["query_vectors"]}, **common}))
    by_id = search(http, json=search_body({"image_id": image_id(2), **common, "top_k": 3}))
    found = [hit["image"]["id"] for hit in by_image["neighbours"]]
    assert found[0] == image_id(2)
    assert [hit["image"]["id"] for hit in by_vector["neighbours"]] == found
    assert [hit["image"]["id"] for hit in by_id["neighbours"]] == found[1:]


def test_metadata_comes_back_as_it_was_given(http: httpx.Client) -> None:
    image = http.get(f"{PATH}/images/{quote(image_id(4), safe='')}").json()["image"]
    assert image["metadata"] == {"label": label(4), "number": 4}
    assert isinstance(image["metadata"]["number"], int)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (form(b""), (400, "INVALID_ARGUMENT", "query.image", "IMAGE_EMPTY")),
        (form(PICTURE[: len(PICTURE) // 2]), (400, "INVALID_ARGUMENT", "query.image", "IMAGE_UNREADABLE")),
        (form(bytes(20_000_001)), (400, "INVALID_ARGUMENT", "query.image", "IMAGE_TOO_LARGE")),
        (form(bytes(40_000_000)), (413, "INVALID_ARGUMENT", "body", "BODY_TOO_LARGE")),
        (form(b"certainly not a picture"), (400, "INVALID_ARGUMENT", "query.image", "IMAGE_FORMAT_UNKNOWN")),
        (form(bomb()), (400, "INVALID_ARGUMENT", "query.image", "IMAGE_TOO_MANY_PIXELS")),
        (form(PICTURE, top_k="0"), (400, "INVALID_ARGUMENT", "options.top_k", "INVALID_ARGUMENT")),
        (form(PICTURE, top_k="20000"), (400, "INVALID_ARGUMENT", "options.top_k", "INVALID_ARGUMENT")),
        (form(PICTURE, spaces="colour"), (404, "NOT_FOUND", "options.spaces[0]", "SPACE_NOT_FOUND")),
        (form(PICTURE, filter="label = "), (400, "INVALID_ARGUMENT", "options.filter", "FILTER_INVALID")),
        ({"json": {"query": {"image_id": "nobody"}}}, (404, "NOT_FOUND", "query.image_id", "IMAGE_NOT_FOUND")),
        (
            {"json": {"query": {"vectors": {"spaces": [{"space": "siamese", "values": [1, 2]}]}}}},
            (400, "INVALID_ARGUMENT", "query.vectors.spaces[0].values", "DIMENSION_MISMATCH"),
        ),
        (
            {
                "json": {
                    "query": {"vectors": {"spaces": [{"space": "siamese", "values": [1.0] * 256, "fingerprint": "0" * 16}]}}
                }
            },
            (409, "FAILED_PRECONDITION", "query.vectors.spaces[0].fingerprint", "FINGERPRINT_MISMATCH"),
        ),
        ({"json": {}}, (400, "INVALID_ARGUMENT", "query", "INVALID_ARGUMENT")),
    ],
)
def test_a_bad_search_is_refused_with_code_status_field_and_reason(
    http: httpx.Client, request_: dict[str, Any], expected: tuple[int, str, str, str]
) -> None:
    assert _error(http.post(f"{PATH}/search", **request_)) == expected


@pytest.mark.parametrize(
    ("method", "path", "request_", "expected"),
    [
        ("POST", "/v1/collections/nowhere/search", form(PICTURE), (404, "NOT_FOUND", "collection", "COLLECTION_NOT_FOUND")),
        ("GET", "/v1/collections/nowhere", {}, (404, "NOT_FOUND", "name", "COLLECTION_NOT_FOUND")),
        ("POST", "/v1/collections", {"json": {"name": COLLECTION}}, (409, "ALREADY_EXISTS", None, "ALREADY_EXISTS")),
        (
            "POST",
            "/v1/collections",
            {"json": {"name": "fine", "spaces": [{"name": "a", "model": {"name": "nobody"}}]}},
            (404, "NOT_FOUND", "spaces[0].model.name", "MODEL_NOT_FOUND"),
        ),
        ("GET", f"{PATH}/images/nobody", {}, (404, "NOT_FOUND", "id", "IMAGE_NOT_FOUND")),
        ("GET", f"{PATH}/images?page_token=rubbish", {}, (400, "INVALID_ARGUMENT", "page_token", "INVALID_ARGUMENT")),
        ("GET", f"{PATH}/thumbnail?id=nobody", {}, (404, "NOT_FOUND", "id", "IMAGE_NOT_FOUND")),
        ("GET", "/v1/ingest-jobs/nobody", {}, (404, "NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        ("GET", "/v1/ingest-jobs/nobody:watch", {}, (404, "NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        ("GET", "/v1/ingest-jobs/nobody/failures:download", {}, (404, "NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        ("POST", "/v1/ingest-jobs/nobody:cancel", {}, (404, "NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        (
            "POST",
            "/v1/ingest-jobs",
            {"json": {"collection": COLLECTION, "source": {"upload": {"upload_id": "0" * 16}}}},
            (404, "NOT_FOUND", "source.upload.upload_id", "UPLOAD_NOT_FOUND"),
        ),
        (
            "POST",
            f"{PATH}/images",
            {"files": {"images": b"x"}, "data": {"metadata": "[]"}},
            (400, "INVALID_ARGUMENT", "metadata[0]", "INVALID_ARGUMENT"),
        ),
        (
            "POST",
            f"{PATH}/images",
            {"files": {"images": b"x"}, "data": {"ids": ["a", "b"]}},
            (400, "INVALID_ARGUMENT", "ids", "INVALID_ARGUMENT"),
        ),
    ],
)
def test_a_bad_request_is_refused_with_code_status_field_and_reason(
    http: httpx.Client, method: str, path: str, request_: dict[str, Any], expected: tuple[int, str, str, str]
) -> None:
    assert _error(http.request(method, path, **request_)) == expected


def test_a_time_limit_that_cannot_be_kept_is_504(http: httpx.Client) -> None:
    response = http.post(f"{PATH}/search", **form(PICTURE), headers={"X-Timeout-S": "0.001"})
    assert _error(response)[:2] == (504, "DEADLINE_EXCEEDED")


def test_a_thumbnail_is_not_sent_again_to_who_has_it(http: httpx.Client) -> None:
    first = http.get(f"{PATH}/thumbnail", params={"id": image_id(3)})
    assert first.headers["content-type"] == "image/jpeg"
    assert first.content[:3] == b"\xff\xd8\xff"
    again = http.get(f"{PATH}/thumbnail", params={"id": image_id(3)}, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_images_added_over_http_are_indexed_and_a_bad_one_fails_alone(http: httpx.Client) -> None:
    name = "gateway_http_added"
    http.post("/v1/collections", json={"name": name}).raise_for_status()
    files = [("images", (f"{n}.png", content)) for n, content in enumerate([picture(0), PICTURE[:80], b"", picture(0)])]
    data = {"ids": ["a/1", "bad", "empty", ""], "metadata": ['{"label": "Coat", "year": 2019}', "", "", ""]}
    made = http.post(f"/v1/collections/{name}/images", files=files, data=data)
    assert made.status_code == 202, made.text
    job_id = made.json()["job"]["id"]
    with http.stream("GET", f"/v1/ingest-jobs/{job_id}:watch") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        *moments, end = events(stream.iter_lines())
    assert (end.name, {moment.name for moment in moments}) == ("end", {"job"})
    last = moments[-1].data["job"]
    assert last["state"] == "INGEST_JOB_STATE_SUCCEEDED"
    assert last["counts"] == {"submitted": "4", "indexed": "2", "skipped": "0", "failed": "2"}
    failures = http.get(f"/v1/ingest-jobs/{job_id}/failures").json()["failures"]
    assert [(failure["id"], failure["position"]) for failure in failures] == [("bad", "1"), ("empty", "2")]
    assert http.get(f"/v1/collections/{name}").json()["collection"]["image_count"] == "2"
    images = http.get(f"/v1/collections/{name}/images", params={"filter": "year >= 2019", "consistency": STRONG}).json()
    assert [image["id"] for image in images["images"]] == ["a/1"]
    assert _error(http.post(f"/v1/ingest-jobs/{job_id}:cancel")) == (409, "FAILED_PRECONDITION", "id", "JOB_ENDED")
    assert http.delete(f"/v1/collections/{name}/images/a%2F1").json()["deleted"] == "1"
    assert http.delete(f"/v1/collections/{name}").status_code == 200
    assert http.get(f"/v1/collections/{name}").status_code == 404


def test_the_gateway_is_ready_and_counts_what_it_serves(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready", "missing": {}}
    text = http.get("/metrics").text
    assert "lookalike_gateway_search_stage_seconds_count" in text
    assert 'lookalike_dependency_up{dependency="milvus"} 1.0' in text


def _error(response: httpx.Response) -> tuple[int, str, str | None, str]:
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert error["message"]
    return response.status_code, error["status"], error["field"], error["reason"]
