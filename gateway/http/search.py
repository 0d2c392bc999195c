"""`POST /v1/collections/{collection}/search` and `search:batch`: one search, or many whose answers are streamed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from gateway.backends.large_answers import is_large_outcome
from gateway.backends.threads import off_loop
from gateway.http.convert import RequestCall, RequestTimeout, respond
from gateway.http_server.errors import error_body
from gateway.http_server.json_texts import json_pieces
from gateway.http.message_json import to_json
from gateway.http.models import Name
from gateway.http.reading import ReadingRoute
from gateway.http.routes import by_contract
from gateway.http.search_bodies import batch_answer_model, batch_body, read_batch, read_search, search_body
from gateway.rpcs.search import SearchRpcs
from gateway.search.search import Search
from lookalike.errors import LookalikeError
from lookalike.records.search import Outcome
from lookalike.runtime.call import Call
from lookalike.wire.search import batch_from, search_result_message

_BATCH = """\
A line of JSON (`SearchBatchResponse`) for each query, as it is answered, in any order: `curl -N` shows them come. What is \
wrong with one query is its line and fails no other; what is wrong with all of them is an `ErrorResponse` instead of any line.
"""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no nginx holds the stream back."""


_LINES = "application/x-ndjson"
"""JSON, one object a line (https://github.com/ndjson/ndjson-spec): a browser's `EventSource` could not send a body."""


class _Documented(JSONResponse):
    """Only for the document: FastAPI shows no model for a stream."""

    media_type = _LINES


def search_router(search: Search, rpcs: SearchRpcs) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)

    @router.api_route(**by_contract("Search", openapi_extra={"requestBody": search_body()}))
    async def post_search(collection: Name, request: Request, call: RequestCall) -> Response:
        message = await read_search(request)
        message.collection = collection
        return await respond(await rpcs.Search(message, call))

    streamed = {"description": _BATCH, "response_model": batch_answer_model(), "response_class": _Documented}

    @router.api_route(**by_contract("SearchBatch", **streamed, openapi_extra={"requestBody": batch_body()}))
    async def post_batch(collection: Name, request: Request, timeout_s: RequestTimeout) -> StreamingResponse:
        message = await read_batch(request)
        message.collection = collection
        batch = await off_loop(lambda: batch_from(message), large=True)
        outcomes = await search.answer_batch(batch, Call.begun(timeout_s))
        return StreamingResponse(_lines(outcomes), media_type=_LINES, headers=_HEADERS)

    return router


async def _lines(outcomes: AsyncGenerator[tuple[int, Outcome], None]) -> AsyncIterator[bytes]:
    async with aclosing(outcomes):
        async for index, outcome in outcomes:
            yield await off_loop(partial(_line, index, outcome), large=is_large_outcome(outcome))


def _line(index: int, outcome: Outcome) -> bytes:
    if isinstance(outcome, LookalikeError):
        return json.dumps({"index": index, "error": error_body(outcome).model_dump()}).encode() + b"\n"
    answer = json_pieces(to_json(search_result_message(outcome)))
    return b"".join([f'{{"index": {index}, "answer": '.encode(), *answer, b"}\n"])
