"""The streams of a job over HTTP: its moments as server-sent events, and all its failures as a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import astuple, fields
from functools import partial
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Send

from gateway.backends.large_answers import MANY
from gateway.backends.threads import off_loop
from gateway.http.convert import RequestCall, errors
from gateway.http_server.errors import error_response
from gateway.http.message_json import to_json
from gateway.http.models import JobIdInPath
from gateway.http.reading import ReadingRoute
from gateway.http.routes import by_contract
from gateway.jobs.ingest import Ingest
from lookalike.csv_cells import csv_text
from lookalike.errors import LookalikeError
from lookalike.records.job import Failure, Job
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import failure_message, job_message

ENDED = "ended"
"""Id of the last event. A browser that comes back with it gets a 204: there is nothing more."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no cache keeps a stream, and no nginx holds it back."""
_SUMMARY = "Watch a job to its end, as server-sent events"
_WATCH = """\
Server-sent events, for a browser's `EventSource` or `curl -N`:

- `job`: the job (`GetIngestJobResponse`) now, after every change, and every 15 seconds without one;
- `end`: the last event, after the `job` that has ended. An `EventSource` that connects again after it is answered 204, which \
makes it stop;
- `problem`: what broke the stream (`ErrorResponse`), its last event then. Connect again: what will not pass is then the answer.
"""
_EVENTS: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["job", "end", "problem"]},
        "id": {"type": "string", "description": f"`{ENDED}` with the event `end`, else absent."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/GetIngestJobResponse"},  # the same fields
                    {"$ref": "#/components/schemas/ErrorResponse"},
                    {"type": "object", "maxProperties": 0},  # of `end`
                ]
            },
        },
    },
}
_COLUMNS = tuple(field.name for field in fields(Failure))
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


def job_streams_router(ingest: Ingest) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)
    _add_watching(router, ingest)
    _add_downloading(router, ingest)
    return router


def _add_watching(router: APIRouter, ingest: Ingest) -> None:
    responses: dict[int | str, Any] = {
        200: {"content": {"text/event-stream": {"schema": _EVENTS}}},
        204: {"description": f"To a request with `Last-Event-ID: {ENDED}`."},
        **errors(400, 404),
    }
    streamed = {"response_model": None, "response_class": StreamingResponse, "responses": responses}

    @router.api_route(**by_contract("WatchIngestJob", summary=_SUMMARY, description=_WATCH, **streamed))
    async def watch(job_id: JobIdInPath, call: RequestCall, last_event_id: Annotated[str, Header()] = "") -> Response:
        # Its errors can still be answered; within the stream they could only break it.
        job = await ingest.get(job_id, call)
        if last_event_id == ENDED and job.state.ended:
            return Response(status_code=204)
        return EventSourceResponse(_events(ingest.watch(job_id)), headers=_HEADERS)


async def _events(jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    """Each moment of a job as an event. Not called `error`: so `EventSource` calls a lost connection."""
    try:
        async for job in jobs:
            document = to_json(pb.WatchIngestJobResponse(job=job_message(job)))
            yield format_sse_event(event="job", data_str=json.dumps(document))
    except LookalikeError as error:
        yield format_sse_event(event="problem", data_str=bytes(error_response(error).body).decode())
    else:
        yield format_sse_event(event="end", data_str="{}", id=ENDED)


def _add_downloading(router: APIRouter, ingest: Ingest) -> None:
    @router.get(
        "/v1/ingest-jobs/{id}/failures:download",
        operation_id="DownloadIngestFailures",
        summary="All items that failed so far, as a file",
        description="CSV with a header, or JSONL of `ItemFailure`. In CSV a cell that a spreadsheet would take for a formula "
        "has an apostrophe before it. Where failures cannot be read, the connection breaks off: a "
        "file that came to its end is complete. The deadline is for the first 1,000 only.",
        tags=["ingest"],
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {
                    "text/csv": {"schema": {"type": "string"}},
                    "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/ItemFailure"}},
                }
            },
            **errors(400, 404),
        },
    )
    async def download(
        job_id: JobIdInPath,
        call: RequestCall,
        file_format: Annotated[Literal["csv", "jsonl"], Query(alias="format", description="`csv` or `jsonl`.")] = "csv",
    ) -> StreamingResponse:
        pages = ingest.all_failures(job_id, call)
        first = await anext(pages)  # As with `watch`.
        headers = {
            "Content-Disposition": f'attachment; filename="{job_id}-failures.{file_format}"',
            "Cache-Control": "no-cache",
        }
        content = _csv_file(first, pages) if file_format == "csv" else _json_file(first, pages)
        return _Download(content, media_type=_MEDIA_TYPES[file_format], headers=headers)


class _Download(StreamingResponse):
    """A file that is not ended where its content breaks off: the connection is closed, and nobody takes half for all."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except LookalikeError as error:
            structlog.get_logger().warning("download broken off", problem=error.message)


async def _csv_file(first: Sequence[Failure], rest: AsyncIterator[Sequence[Failure]]) -> AsyncIterator[bytes]:
    yield csv_text([_COLUMNS]).encode()
    async for failures in _all(first, rest):
        yield await off_loop(partial(_csv, failures), large=len(failures) > MANY)


async def _json_file(first: Sequence[Failure], rest: AsyncIterator[Sequence[Failure]]) -> AsyncIterator[bytes]:
    async for failures in _all(first, rest):
        yield await off_loop(partial(_jsonl, failures), large=len(failures) > MANY)


async def _all(first: Sequence[Failure], rest: AsyncIterator[Sequence[Failure]]) -> AsyncIterator[Sequence[Failure]]:
    yield first
    async for failures in rest:
        yield failures


def _csv(failures: Iterable[Failure]) -> bytes:
    return csv_text(map(astuple, failures)).encode()


def _jsonl(failures: Iterable[Failure]) -> bytes:
    return b"".join(json.dumps(to_json(failure_message(failure))).encode() + b"\n" for failure in failures)
