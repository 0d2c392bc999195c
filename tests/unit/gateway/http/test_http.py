"""HTTP over fakes: one shape of error, limits before reading, ids and pages. Pages and OpenAPI are in `test_http_pages`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.collections.collections import Collections
from gateway.http.app import Core, build_app
from gateway.http_server.errors import error_response
from gateway.jobs.ingest import Ingest
from gateway.readiness import Readiness
from lookalike.errors import Overloaded
from lookalike.jobs.uploads import Uploads
from lookalike.records.collection import Collection
from lookalike.records.job import CreateJob, Job
from lookalike.records.job_state import JobState
from lookalike.runtime.call import Call, Deadline
from lookalike.sources import Artifacts
from lookalike.spaces import HISTOGRAM, SIAMESE
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit.gateway.fakes import NOTHING, FakeEmbedder, FakeLedger, MemoryBackends, few_threads, job
from tests.unit.gateway.http_app import LIMIT, SEARCH, ask, build


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "status", "reason", "message", "field", "metadata"}
    assert body["error"]["code"] == response.status_code
    error: dict[str, Any] = body["error"]
    return error


def test_a_form_and_json_with_the_same_picture_give_the_same_answer() -> None:
    form = ask("POST", SEARCH, files={"image": b"picture"}, data={"spaces": "histogram, siamese", "top_k": "3"})
    body = {"query": {"image": "cGljdHVyZQ=="}, "options": {"spaces": ["histogram", "siamese"], "top_k": 3}}
    assert form.status_code == 200
    by_form, by_json = form.json(), ask("POST", SEARCH, json=body).json()
    for answer in (by_form, by_json):
        times = {leg: float(time.removesuffix("s")) for leg, time in answer.pop("timing").items()}
        assert times["total"] >= times["query_vectors"] + times["nearest"] + times["fuse"] > 0
    assert by_form == by_json
    assert len(by_form["neighbours"]) == 3


@pytest.mark.parametrize("spaces", [["a," * 60_000] * 8, [""] * 9, ["a,b,c,d,e", "f,g,h,i"]], ids=["huge", "empty", "many"])
def test_a_list_of_a_form_is_as_short_as_that_of_a_body(spaces: list[str]) -> None:
    """Not even split: half a million names would take the event loop 0.16 s."""
    response = ask("POST", SEARCH, data={"spaces": spaces}, files={"image": b"picture"})
    assert error_of(response)["message"] == "options.spaces: more than 8 are given; at most 8 are allowed"


def test_options_of_a_form_reach_the_search() -> None:
    data = {"spaces": ["histogram", "siamese"], "weights": '{"siamese": 3}', "include_query_vectors": "true", "ef": "99"}
    answer = ask("POST", SEARCH, files={"image": b"picture"}, data=data).json()
    assert [vector["space"] for vector in answer["query_vectors"]] == [HISTOGRAM, SIAMESE]
    assert answer["ef"] == 99
    shares = answer["neighbours"][0]["shares"]
    assert shares[1]["share"] == pytest.approx(0.75 * shares[1]["similarity"], rel=1e-5)


def search(**options: Any) -> dict[str, Any]:
    return {"query": {"image_id": "001"}, "options": options}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"json": {}}, "query"),
        ({"json": {"query": {}}}, "query"),
        ({"json": {"query": {"image_id": "001", "image": "cGlj"}}}, "query"),
        ({"json": {"query": {"image": "%%%"}}}, "query.image"),
        ({"json": {"query": {"image_id": ""}}}, "query.image_id"),
        ({"json": search(top_k=0)}, "options.top_k"),
        ({"json": search(top_k=20_000)}, "options.top_k"),
        ({"json": search(top_k="many")}, "options.top_k"),
        ({"json": search(top_k=10**12)}, "options.top_k"),
        ({"json": search(topk=5)}, "options.topk"),
        ({"json": search(ef=3)}, "options.ef"),
        ({"json": search(spaces=["siamese", "siamese"])}, "options.spaces[1]"),
        ({"json": search(filter="label =")}, "options.filter"),
        ({"json": search(weights={"siamese": "heavy"})}, "options.weights.siamese"),
        ({"json": search(weights={"siamese": 0})}, "options.weights.siamese"),
        ({"json": search(consistency="SOON")}, "options.consistency"),
        ({"json": search(view="IMAGE_VIEW_MOST")}, "options.view"),
        (
            {"json": {"query": {"vectors": {"spaces": [{"space": "siamese", "values": [1, "x"]}]}}}},
            "query.vectors.spaces[0].values[1]",
        ),
        (
            {"json": {"query": {"vectors": {"spaces": [{"space": "siamese", "values": [1, 2]}]}}}},
            "query.vectors.spaces[0].values",
        ),
        ({"json": {"query": {"vectors": {"spaces": [{"values": [1, 2]}]}}}}, "query.vectors.spaces[0].space"),
        ({"json": [1]}, "body"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "body"),
        ({"content": b"picture", "headers": {"content-type": "image/png"}}, "body"),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, "body"),
        ({"data": {"image": "text"}, "files": {"other": b"x"}}, "image"),
        ({"files": {"image": b"x"}, "data": {"top_k": ["1", "2"]}}, "options.top_k"),
        ({"files": {"image": b"x"}, "data": {"weights": "heavy"}}, "options.weights"),
        ({"files": {"image": b"x"}, "data": {"colour": "red"}}, "colour"),
        ({"files": {"picture": b"x"}}, "picture"),
    ],
)
def test_a_search_that_cannot_be_read_names_its_field(request_: dict[str, Any], field: str) -> None:
    error = error_of(ask("POST", SEARCH, **request_))
    assert (error["code"], error["status"], error["field"]) == (400, "INVALID_ARGUMENT", field)
    assert error["message"].startswith(field)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"image_id": "001"}, "image_id: is query.image_id now"),
        ({"query": {"image_id": "001"}, "top_k": 5}, "top_k: is options.top_k now"),
        ({"query": {"image_id": "001", "spaces": ["siamese"]}}, "query.spaces: is options.spaces now"),
        ({"include_vectors": True}, "include_vectors: is options.view now, with IMAGE_VIEW_FULL"),
        (search(include_vectors=True), "options.include_vectors: is options.view now, with IMAGE_VIEW_FULL"),
        (search(topk=5), "options.topk: is not a field of this request"),
    ],
)
def test_a_field_at_its_old_place_is_refused_with_its_place_now(body: dict[str, Any], message: str) -> None:
    assert error_of(ask("POST", SEARCH, json=body))["message"] == message
    moved = error_of(ask("POST", "/v1/collections/things:reembed", json={"grace_s": 60}))["message"]
    assert moved == 'grace_s: is grace now, with a text such as "3600s"'


def test_what_is_an_entry_of_the_spaces_now_is_refused_with_the_entry() -> None:
    for name, kind in (("model", '"siamese", "model": {"name": ...}'), ("histogram", '"histogram", "histogram": {...}')):
        message = error_of(ask("POST", "/v1/collections", json={"name": "a", name: "photo"}))["message"]
        assert message == f'{name}: is spaces now, with an entry {{"name": {kind}}}'
    assert error_of(ask("POST", SEARCH, json={"model": "photo"}))["message"] == "model: is not a field of this request"


def test_vectors_as_a_list_are_refused_with_the_place_of_the_list_now() -> None:
    error = error_of(ask("POST", SEARCH, json={"query": {"vectors": [{"space": "siamese", "values": [1, 0, 0, 0]}]}}))
    assert error["message"] == "query.vectors: is a JSON object now; the list stands in query.vectors.spaces"


def test_a_field_at_its_old_place_is_refused_with_its_place_now_in_batches_forms_and_queries() -> None:
    for query, message in (
        ({"query": {"image_id": "001", "top_k": 3}}, "queries[0].query.top_k: is options.top_k now"),
        ({"top_k": 3}, "queries[0].top_k: is options.top_k now"),
        ({"image_id": "001"}, "queries[0].image_id: is queries[0].query.image_id now"),
        ({"vectors": []}, "queries[0].vectors: is queries[0].query.vectors now"),
    ):
        assert error_of(ask("POST", f"{SEARCH}:batch", json={"queries": [query]}))["message"] == message
    form = {"files": {"image": b"x"}, "data": {"include_vectors": "true"}}
    assert error_of(ask("POST", SEARCH, **form))["message"] == "include_vectors: is view now, with IMAGE_VIEW_FULL"
    page = ask("GET", "/v1/collections/things/images?include_vectors=true")
    assert error_of(page)["message"] == "include_vectors: is view now, with IMAGE_VIEW_FULL"


def test_a_view_says_how_much_of_an_image_comes() -> None:
    images = "/v1/collections/things/images"
    for view, score, vectors in (("ID", None, 0), ("BASIC", 7.0, 0), ("FULL", 7.0, 2)):
        name = f"IMAGE_VIEW_{view}"
        query = {"query": {"image_id": "000"}, "options": {"view": name, "top_k": 9, "spaces": [HISTOGRAM, SIAMESE]}}
        hits = ask("POST", SEARCH, json=query).json()["neighbours"]
        found = next(hit["image"] for hit in hits if hit["image"]["id"] == "a/b c")
        got = ask("GET", f"{images}/a%2Fb%20c?view={name}").json()["image"]
        listed = ask("GET", f"{images}?view={name}").json()["images"][-1]
        assert found == got == listed
        assert (got["metadata"].get("score"), len(got["vectors"])) == (score, vectors)
        assert ("index_time" in got, got["sha256"] != "") == (view != "ID", view != "ID")


@pytest.mark.parametrize(
    ("method", "path", "code", "status", "reason"),
    [
        ("GET", "/v1/nothing", 404, "NOT_FOUND", "PATH_NOT_FOUND"),
        ("GET", "/page/nothing.js", 404, "NOT_FOUND", "PATH_NOT_FOUND"),
        ("GET", "/page/../settings.py", 404, "NOT_FOUND", "PATH_NOT_FOUND"),
        ("GET", "/page/%2e%2e/settings.py", 404, "NOT_FOUND", "PATH_NOT_FOUND"),
        ("PUT", "/v1/collections", 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/collections/others", 404, "NOT_FOUND", "COLLECTION_NOT_FOUND"),
        ("GET", "/v1/collections/things/images/nobody", 404, "NOT_FOUND", "IMAGE_NOT_FOUND"),
        ("GET", "/v1/ingest-jobs/nobody", 404, "NOT_FOUND", "INGEST_JOB_NOT_FOUND"),
        ("GET", "/v1/ingest-jobs/nobody:watch", 404, "NOT_FOUND", "INGEST_JOB_NOT_FOUND"),
    ],
)
def test_what_is_not_there_has_the_same_shape_of_error(method: str, path: str, code: int, status: str, reason: str) -> None:
    error = error_of(ask(method, path))
    assert (error["code"], error["status"], error["reason"]) == (code, status, reason)


@pytest.mark.parametrize(
    ("method", "path", "request_", "field"),
    [
        ("GET", "/v1/collections/things/images?page_size=x", {}, "page_size"),
        ("GET", "/v1/collections/things/images?page_size=-1", {}, "page_size"),
        ("GET", "/v1/collections/things/images?page_token=x", {}, "page_token"),
        ("GET", "/v1/collections/things/images?filter=a%20%3D", {}, "filter"),
        ("GET", "/v1/collections/things/thumbnail", {}, "id"),
        ("GET", "/v1/ingest-jobs?state=failed", {}, "state"),
        ("GET", "/v1/collections/things/images?page_size=1&filtr=a", {}, "filtr"),
        ("DELETE", "/v1/collections/things?dry_run=", {}, "dry_run"),
        ("GET", "/v1/collections/No", {}, "name"),
        ("POST", "/v1/collections", {"json": {}}, "name"),
        (
            "POST",
            "/v1/collections",
            {"json": {"name": "a", "spaces": [{"name": "a", "histogram": {"bins": 7}}]}},
            "spaces[0].histogram.bins",
        ),
        (
            "POST",
            "/v1/collections",
            {"json": {"name": "a", "spaces": [{"name": "a", "histogram": {"grid": 9}}]}},
            "spaces[0].histogram.grid",
        ),
        ("POST", "/v1/collections", {"json": {"name": "a", "spaces": [{"name": "a"}]}}, "spaces[0].kind"),
        (
            "POST",
            "/v1/collections",
            {"json": {"name": "a", "spaces": [{"name": "a", "histogram": {}, "model": {}}]}},
            "spaces[0]",
        ),
        (
            "POST",
            "/v1/collections",
            {"json": {"name": "a", "spaces": [{"name": "a", "model": {"name": "A b"}}]}},
            "spaces[0].model.name",
        ),
        ("POST", "/v1/collections", {"content": b"name=a"}, "body"),
        ("POST", "/v1/ingest-jobs", {"json": {"collection": "things", "source": {}}}, "source"),
        (
            "POST",
            "/v1/ingest-jobs",
            {"json": {"collection": "things", "source": {"folder": {"uri": "/a"}, "upload": {"upload_id": "b"}}}},
            "source",
        ),
        (
            "POST",
            "/v1/ingest-jobs",
            {"json": {"collection": "things", "source": {"folder": {"uri": "/a", "exclude": ["a", "!b"]}}}},
            "source.folder.exclude[1]",
        ),
        ("POST", "/v1/collections/things/images", {"data": {"ids": "a"}, "files": {"x": b""}}, "x"),
        ("GET", "/v1/collections", {"headers": {"x-timeout-s": "-1"}}, "x-timeout-s"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_by_its_field(
    method: str, path: str, request_: dict[str, Any], field: str
) -> None:
    error = error_of(ask(method, path, **request_))
    assert (error["code"], error["status"], error["field"]) == (400, "INVALID_ARGUMENT", field)


def test_an_id_may_hold_slashes_and_spaces_and_numbers_stay_as_they_are() -> None:
    response = ask("GET", "/v1/collections/things/images/a%2Fb%20c")
    assert response.json()["image"]["id"] == "a/b c"
    assert '"metadata":{"score":7.0,"year":9007199254740993}' in response.text
    assert response.json()["image"]["vectors"] == []


def test_pages_of_images_follow_each_other() -> None:
    first = ask("GET", "/v1/collections/things/images?page_size=6").json()
    token = first["next_page_token"]
    second = ask("GET", "/v1/collections/things/images", params={"page_size": 6, "page_token": token}).json()
    assert [len(first["images"]), len(second["images"])] == [6, 4]
    assert second["next_page_token"] == ""


THINGS = "/v1/collections/things"


def test_a_collection_that_was_read_is_sent_back_changed() -> None:
    app = build()
    read = ask("GET", THINGS, app).json()["collection"] | {"exact": True}
    changed = {**read, "description": "Winter", "defaults": {"spaces": ["histogram"], "weights": {"siamese": 2}, "ef": 128}}
    made = ask("PATCH", THINGS, app, json=changed).json()["collection"]
    assert made == {**changed, "defaults": {"spaces": ["histogram"], "weights": {"siamese": 2.0}, "ef": 128}}
    assert ask("GET", THINGS, app).json()["collection"] == made
    found = ask("POST", f"{THINGS}/search", app, json={"query": {"image_id": "001"}}).json()
    assert ([space["name"] for space in found["spaces"]], found["ef"]) == (["histogram"], 128)
    made = ask("PATCH", THINGS, app, json={"description": "left out"}, params={"update_mask": "defaults.ef,defaults.spaces"})
    assert made.json()["collection"]["defaults"] == {"spaces": [], "weights": {"siamese": 2.0}, "ef": 0}
    assert made.json()["collection"]["description"] == "Winter"
    cleared = ask("PATCH", THINGS, app, json={}, params={"update_mask": "*"}).json()["collection"]
    assert cleared == {**read, "description": "", "defaults": {"spaces": [], "weights": {}, "ef": 0}}


@pytest.mark.parametrize(
    ("body", "mask", "field"),
    [
        ({}, "", "update_mask"),
        ({"image_count": "7"}, "", "update_mask"),
        ({}, "descriptions", "update_mask"),
        ({}, "name", "update_mask"),
        ({}, "x" * 2000, "update_mask"),
        ({"descriptions": "a"}, "", "collection.descriptions"),
        ({"description": 5}, "", "collection.description"),
        ({"description": "x" * 1001}, "", "collection.description"),
        ({"defaults": {"efs": 5}}, "", "collection.defaults.efs"),
        ({"defaults": {"ef": "many"}}, "", "collection.defaults.ef"),
        ({"defaults": {"ef": 10**6}}, "", "collection.defaults.ef"),
        ({"defaults": {"spaces": ["colour"]}}, "", "collection.defaults.spaces[0]"),
        ({"defaults": {"weights": {"siamese": -1}}}, "", "collection.defaults.weights.siamese"),
        ({"name": "others", "description": "a"}, "", "collection.name"),
        ([], "", "collection"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_update_is_said_by_its_field_as_over_grpc(body: Any, mask: str, field: str) -> None:
    error = error_of(ask("PATCH", THINGS, json=body, params={"update_mask": mask} if mask else {}))
    assert (error["code"], error["field"]) == (404 if "spaces" in field else 400, field)


def test_the_document_says_what_of_a_collection_is_the_server_s() -> None:
    document = ask("GET", "/openapi.json").json()
    patch = document["paths"]["/v1/collections/{name}"]["patch"]
    inside = [(one["in"], one["name"]) for one in patch["parameters"] if one["in"] != "header"]
    assert inside == [("path", "name"), ("query", "update_mask")]
    schema = document["components"]["schemas"]["CollectionInput"]["properties"]
    assert {name for name, one in schema.items() if one.get("readOnly")} == schema.keys() - {"name", "description", "defaults"}


def test_the_document_closes_the_enums_of_requests_and_leaves_those_of_answers_open() -> None:
    document = ask("GET", "/openapi.json").json()
    state = document["components"]["schemas"]["IngestJob"]["properties"]["state"]
    assert ("enum" in state, state["examples"][0], len(state["examples"])) == (False, "INGEST_JOB_STATE_PENDING", 7)
    parameters = document["paths"]["/v1/ingest-jobs"]["get"]["parameters"]
    (asked,) = [one["schema"]["items"] for one in parameters if one["name"] == "states"]
    assert asked["enum"] == state["examples"]


def test_images_are_counted_alone_or_by_filter() -> None:
    path = "/v1/collections/things/images:count"
    assert ask("GET", path).json() == {"count": "10"}
    params = {"filter": 'id < "004"', "consistency": "CONSISTENCY_STRONG"}
    assert ask("GET", path, params=params).json() == {"count": "4"}
    assert error_of(ask("GET", path, params={"filter": "id <"}))["field"] == "filter"
    assert error_of(ask("GET", "/v1/collections/others/images:count"))["reason"] == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize("path", ["/v1/collections", "/v1/collections/things/images"])
def test_a_page_may_be_asked_for_too_large_and_not_by_a_token_of_another_list(path: str) -> None:
    assert ask("GET", path, params={"page_size": 5000}).status_code == 200
    token = ask("GET", "/v1/collections/things/images", params={"page_size": 1, "filter": 'id != "x"'}).json()[
        "next_page_token"
    ]
    error = error_of(ask("GET", path, params={"page_token": token}))
    assert (error["code"], error["field"]) == (400, "page_token")
    assert "belongs to another list" in error["message"]


def test_images_are_deleted_by_path_or_by_list() -> None:
    app, deleted = build(), {"revision": "9", "sample_ids": []}
    assert ask("DELETE", "/v1/collections/things/images/a%2Fb%20c", app).json() == {"deleted": "1", **deleted}
    ids = {"ids": ["000", "001", "nobody"]}
    assert ask("POST", "/v1/collections/things/images:delete", app, json=ids).json() == {"deleted": "2", **deleted}


def test_a_delete_is_validated_and_an_image_that_was_written_since_is_a_conflict() -> None:
    app = build()
    images = "/v1/collections/things/images"
    would = {"deleted": "4", "revision": "0", "sample_ids": ["000", "001", "002", "003"]}
    params = {"filter": 'id < "004"', "validate_only": True}
    assert ask("DELETE", images, app, params=params).json() == would
    assert ask("POST", f"{images}:delete", app, json=params).json() == would
    for error in (
        error_of(ask("DELETE", f"{images}/000", app, params={"expected_revision": "4"})),
        error_of(ask("POST", f"{images}:delete", app, json={"ids": ["000"], "expected_revision": "4"})),
        error_of(ask("PATCH", f"{images}/000", app, json={"metadata": {}, "expected_revision": "4"})),
    ):
        assert (error["code"], error["status"], error["reason"]) == (409, "ABORTED", "REVISION_MISMATCH")
        assert error["metadata"] == {"id": "000", "expected": "4", "actual": "1"}
    assert ask("DELETE", f"{images}/000", app, params={"expected_revision": "1"}).json()["deleted"] == "1"


def test_images_are_deleted_by_filter_and_updated_alone_or_together() -> None:
    app = build()
    images = "/v1/collections/things/images"
    patched = ask("PATCH", f"{images}/a%2Fb%20c", app, json={"metadata": {"year": None, "size": 3}})
    assert patched.json() == {"updated": "1", "missing_ids": [], "revision": "9"}
    assert ask("GET", f"{images}/a%2Fb%20c", app).json()["image"]["metadata"] == {"score": 7.0, "size": 3}
    assert error_of(ask("PATCH", f"{images}/nobody", app, json={"metadata": {}}))["code"] == 404
    updates = {"updates": [{"id": "000", "metadata": {"x": 1}}, {"id": "nobody", "metadata": {}, "merge": True}]}
    assert ask("POST", f"{images}:update", app, json=updates).json()["missing_ids"] == ["nobody"]
    for refused in (images, f"{images}?filter=", f"{images}?filter=%20", f"{images}?filter=a%20%3D"):
        assert error_of(ask("DELETE", refused, app))["field"] == "filter"
    # 000 and a/b c are of the revision of the delete itself in this fake; the others are older.
    deleted = ask("DELETE", f"{images}?filter=revision%20%3E%200", app).json()
    assert deleted == {"deleted": "8", "revision": "9", "sample_ids": []}
    assert ask("POST", f"{images}:delete", app, json={"filter": "a = 1"}).json()["deleted"] == "0"
    assert error_of(ask("POST", f"{images}:delete", app, json={}))["field"] == "ids"


async def _endless() -> AsyncIterator[bytes]:
    yield b'--b\r\ncontent-disposition: form-data; name="image"; filename="x"\r\n\r\n'
    while True:
        yield b"\0" * 65536


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["/v1/collections", "/v1/collections/things/images", SEARCH])
def test_a_body_over_the_limit_is_refused_without_being_read_to_its_end(path: str, announced: bool) -> None:
    kind = "application/json" if path == "/v1/collections" else "multipart/form-data; boundary=b"
    headers = {"content-type": kind} | ({"content-length": "999999999"} if announced else {})
    error = error_of(ask("POST", path, content=b"" if announced else _endless(), headers=headers))
    assert (error["code"], error["reason"], error["field"]) == (413, "BODY_TOO_LARGE", "body")
    if path.endswith("/images"):
        assert str(LIMIT) in error["message"]


@pytest.mark.parametrize(("site", "code"), [("cross-site", 403), ("same-site", 403), ("same-origin", 201), ("none", 201)])
def test_other_web_sites_cannot_change_anything(site: str, code: int) -> None:
    response = ask("POST", "/v1/collections", build(), json={"name": "a"}, headers={"sec-fetch-site": site})
    assert response.status_code == code
    if code == 403:
        assert error_of(response)["reason"] == "CROSS_SITE"


def test_nothing_is_offered_to_other_origins() -> None:
    response = ask(
        "OPTIONS", "/v1/collections", headers={"origin": "https://example.org", "access-control-request-method": "GET"}
    )
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_refusal_for_now_says_when_to_come_back() -> None:
    response = error_response(Overloaded("busy", retry_after_s=1.2))
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert json.loads(bytes(response.body))["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_a_defect_is_an_incident_not_a_traceback() -> None:
    class Broken(MemoryVectors):
        def count(self, collection: Collection, *, timeout_s: float, **of: Any) -> int:
            raise ZeroDivisionError("secret")

    backends = MemoryBackends(make_vectors=Broken)
    core = Core(NOTHING, NOTHING, Collections(backends, FakeLedger(), FakeEmbedder(), few_threads()), NOTHING, NOTHING)
    app = build_app(core, Readiness({}), upload_limit_bytes=LIMIT)
    with capture_logs() as logs:
        error = error_of(ask("GET", "/v1/collections", app))
    assert (error["code"], error["status"]) == (500, "INTERNAL")
    assert error["metadata"]["incident"] in error["message"]
    assert [line["incident"] for line in logs] == [error["metadata"]["incident"]]
    assert "secret" not in json.dumps(error)


def test_readyz_names_what_is_missing_and_healthz_does_not_care() -> None:
    async def never(_deadline: Deadline) -> None:
        return

    readiness = Readiness({"milvus": never})
    app = build(readiness)
    assert ask("GET", "/healthz", app).status_code == 200
    before = ask("GET", "/readyz", app)
    asyncio.run(readiness.look())
    after = ask("GET", "/readyz", app)
    assert (before.status_code, list(before.json()["missing"])) == (503, ["milvus"])
    assert (after.status_code, after.json()) == (200, {"status": "ready", "missing": {}})


def test_metrics_count_requests_by_route_not_by_id() -> None:
    app = build()
    ask("GET", "/v1/collections/things/images/012", app)
    text = ask("GET", "/metrics", app).text
    assert 'route="/v1/collections/{collection}/images/{id:path}"' in text
    assert "/images/012" not in text


def test_the_time_that_an_upload_takes_is_not_taken_from_the_job_s() -> None:
    class Noting(Ingest):
        async def create(self, request: CreateJob, call: Call) -> Job:
            left_s.append(call.deadline.remaining_s())
            return job(JobState.PENDING)

    async def slow() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="images"; filename="x"\r\n\r\npicture'
        await asyncio.sleep(0.2)
        yield b"\r\n--b--\r\n"

    left_s: list[float] = []
    uploads = Uploads(Artifacts("memory://slow-upload"))
    ingest = Noting(MemoryBackends(), FakeLedger(), NOTHING, uploads, NOTHING, NOTHING, few_threads())
    app = build_app(Core(NOTHING, NOTHING, NOTHING, ingest, NOTHING), Readiness({}), upload_limit_bytes=LIMIT)
    headers = {"content-type": "multipart/form-data; boundary=b", "x-timeout-s": "0.1"}
    response = ask("POST", "/v1/collections/things/images", app, content=slow(), headers=headers)
    assert response.status_code == 202, response.text
    assert 0.0 < left_s[0] <= 0.1
