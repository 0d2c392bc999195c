"""`POST /v1/collections/{collection}/search` and `search:batch`: one search, or many whose answers are streamed; by JSON or a
form with files."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.backends.large_answers import is_large_outcome
from gateway.backends.threads import off_loop
from gateway.http.openapi import BINARY
from gateway.http.operations import Asked, Operation, by_contract, served
from gateway.http_server.errors import error_body
from gateway.http_server.json_texts import json_pieces
from gateway.http_server.requests import FORM_TEXT_BYTES, read_form
from gateway.message_json.reading import Part, fill_from_texts, not_known, own_names
from gateway.message_json.schemas import Schemas
from gateway.message_json.writing import to_json
from gateway.rpcs.search import SearchRpcs
from gateway.search.search import Search
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.names import MAX_QUERIES_PER_BATCH
from lookalike.records.search import Outcome
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.search import batch_from, search_result_message

_FORM_TEXTS = 64
_OPTIONS = Part(pb.SearchOptions.DESCRIPTOR)
_BATCH = """\
A line of JSON (`SearchBatchResponse`) for each query, as it is answered, in any order: `curl -N` shows them come. What is \
wrong with one query is its line and fails no other; what is wrong with all of them is an `ErrorResponse` instead of any line.
"""
LINES = "application/x-ndjson"
"""JSON, one object a line (https://github.com/ndjson/ndjson-spec): a browser's `EventSource` could not send a body."""
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no cache keeps a stream, and no nginx holds it back."""


def search_operations(search: Search, rpcs: SearchRpcs) -> Iterator[Operation]:
    async def serve_batch(asked: Asked) -> Response:
        batch = await off_loop(lambda: batch_from(asked.message), large=True)
        outcomes = await search.answer_batch(batch, asked.call())
        return StreamingResponse(_lines(outcomes), media_type=LINES, headers=STREAM_HEADERS)

    picture = {**BINARY, "description": "An encoded picture, at most 20,000,000 bytes."}
    yield by_contract("Search", served(rpcs.Search), read_form=_read_search, form=partial(_form, {"image": picture}))
    pictures = {
        "type": "array",
        "items": BINARY,
        "minItems": 1,
        "maxItems": MAX_QUERIES_PER_BATCH,
        "description": f"Encoded pictures, 1 to {MAX_QUERIES_PER_BATCH}.",
    }
    yield by_contract(
        "SearchBatch",
        serve_batch,
        description=_BATCH,
        read_form=_read_batch,
        form=partial(_form, {"images": pictures}),
        answer_type=LINES,
    )


async def _read_search(request: Request, message: pb.SearchRequest) -> None:
    for image in await _read_form(request, message.options, "image", 1):
        message.query.image = image


async def _read_batch(request: Request, message: pb.SearchBatchRequest) -> None:
    for image in await _read_form(request, message.options, "images", MAX_QUERIES_PER_BATCH):
        message.queries.add().query.image = image


async def _read_form(request: Request, options: pb.SearchOptions, name: str, most: int) -> list[bytes]:
    """Up to `most` files called `name`. Every other field is the text of an option: a list repeats, or is separated by commas;
    a map is a JSON object. Raises `InvalidArgument`."""
    async with read_form(request, files=most, texts=_FORM_TEXTS) as form:
        files = form.getlist(name)
        contents = [await file.read() for file in files if isinstance(file, UploadFile)]
        if len(contents) < len(files):
            raise InvalidArgument(name, "must be a file in the form, not text")
        texts = own_names(_OPTIONS.message, {field: form.getlist(field) for field in form if field != name})
    given: dict[str, list[str]] = {}
    for field, values in texts.items():
        given[field] = [value for value in values if isinstance(value, str)]
        if len(given[field]) < len(values):
            raise InvalidArgument(field, f"must be text in the form; files are called {name!r}")
        if field not in pb.SearchOptions.DESCRIPTOR.fields_by_name:
            raise InvalidArgument(field, not_known(field, _OPTIONS))
    fill_from_texts(options, given, _OPTIONS, "options", commas=True)
    return contents


def _form(files: Mapping[str, Any], schemas: Schemas) -> Mapping[str, Any]:
    properties = {**files, **schemas.texts_of(_OPTIONS, FORM_TEXT_BYTES)}
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(files)}


async def _lines(outcomes: AsyncGenerator[tuple[int, Outcome], None]) -> AsyncIterator[bytes]:
    async with aclosing(outcomes):
        async for index, outcome in outcomes:
            yield await off_loop(partial(_line, index, outcome), large=is_large_outcome(outcome))


def _line(index: int, outcome: Outcome) -> bytes:
    if isinstance(outcome, LookalikeError):
        return json.dumps({"index": index, "error": asdict(error_body(outcome))}).encode() + b"\n"
    answer = json_pieces(to_json(search_result_message(outcome)))
    return b"".join([f'{{"index": {index}, "answer": '.encode(), *answer, b"}\n"])
