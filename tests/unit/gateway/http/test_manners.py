"""What HTTP's other methods answer, what is compressed, and what the OpenAPI document lets a person try."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from operator import itemgetter
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from gateway.http_server.heads import Heads
from tests.unit.gateway.http_app import SEARCH, ask, build

COLLECTIONS = "/v1/collections"
GZIP = {"accept-encoding": "gzip"}


@pytest.mark.parametrize(
    ("path", "methods"),
    [(COLLECTIONS, "GET, HEAD, OPTIONS, POST"), (f"{COLLECTIONS}/things/images", "DELETE, GET, HEAD, OPTIONS, POST"),
     (f"{COLLECTIONS}/things/images/a/b", "DELETE, GET, HEAD, OPTIONS, PATCH"), (SEARCH, "OPTIONS, POST"),
     ("/v1/ingest-jobs/a:watch", "GET, HEAD, OPTIONS"), ("/metrics", "GET, HEAD, OPTIONS")],
)  # fmt: skip
def test_allow_names_every_method_that_a_path_has(path: str, methods: str) -> None:
    refused, asked = ask("PUT", path), ask("OPTIONS", path)
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, methods, b"")


@pytest.mark.parametrize("path", ["/", "/docs", "/page/app.js", "/openapi.json", "/healthz", COLLECTIONS, f"{COLLECTIONS}/no"])
def test_head_is_get_without_its_body(path: str) -> None:
    same = {"accept-encoding": "identity"}
    head, get = ask("HEAD", path, headers=same), ask("GET", path, headers=same)
    assert (head.status_code, head.content) == (get.status_code, b"")
    for header in ("content-type", "content-length", "etag", "cache-control"):
        assert head.headers.get(header) == get.headers.get(header)


def test_head_of_a_path_that_cannot_be_read_is_refused() -> None:
    assert ask("HEAD", SEARCH).status_code == 405


def test_head_of_a_stream_ends_after_its_head() -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "data: x\n\n"
            await asyncio.sleep(0)

    answer = ask("HEAD", "/", Heads(StreamingResponse(endless(), media_type="text/event-stream")))
    assert (answer.headers["content-type"], answer.content) == ("text/event-stream; charset=utf-8", b"")


@pytest.mark.parametrize("path", ["/page/vendor/swagger-ui-bundle.js", "/page/vendor/swagger-ui.css", "/openapi.json"])
def test_text_is_compressed_for_those_who_take_it(path: str) -> None:
    small, plain = ask("GET", path, headers=GZIP), ask("GET", path, headers={"accept-encoding": "identity"})
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert "accept-encoding" in small.headers["vary"].lower()
    assert small.content == plain.content  # httpx has unpacked it
    assert len(gzip.compress(plain.content, 5)) < len(plain.content) / 3


def test_a_file_that_has_not_changed_is_not_sent_again() -> None:
    path = "/page/vendor/swagger-ui-bundle.js"
    first = ask("GET", path, headers=GZIP)
    again = ask("GET", path, headers=GZIP | {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def document() -> Any:
    return ask("GET", "/openapi.json").json()


def schemas(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from schemas(inner)


def test_no_number_of_the_document_invites_to_what_is_refused() -> None:
    found = document()
    whole = [schema for schema in schemas(found) if schema.get("type") == "integer"]
    assert not [schema for schema in whole if schema.get("minimum", 0) < 0 or "exclusiveMaximum" in schema]
    form = found["paths"][f"{COLLECTIONS}/{{collection}}/search"]["post"]["requestBody"]["content"]["multipart/form-data"]
    top_k = form["schema"]["properties"]["top_k"]
    assert (top_k["minimum"], top_k["maximum"], top_k["default"]) == (1, 1000, 5)


def bodies() -> list[tuple[str, str, Any]]:
    return [
        (method, path, content.get("example"))
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
    ]


def test_every_body_has_an_example_that_is_taken_as_it_stands() -> None:
    assert len(bodies()) >= 9
    app = build()
    for method, path, example in sorted(bodies(), key=itemgetter(1)):  # a collection is made before it is filled
        assert example is not None, path
        answer = ask(method, path.format(collection="things", name="things", id="a"), app, json=example)
        error = json.loads(answer.text.splitlines()[0]).get("error", {})  # a batch is answered in lines
        assert error.get("status") not in ("INVALID_ARGUMENT", "UNIMPLEMENTED", "INTERNAL"), (path, error)


def test_what_a_path_needs_has_an_example() -> None:
    for path, operations in document()["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    assert parameter["example"], path
