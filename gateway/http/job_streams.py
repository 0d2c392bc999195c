"""The streams of a job over HTTP: its moments as server-sent events, and all its failures as a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from functools import partial
from typing import Any

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from gateway.backends.large_answers import MANY
from gateway.backends.threads import off_loop
from gateway.http.operations import Asked, Operation, by_contract
from gateway.http.search import LINES, STREAM_HEADERS
from gateway.http_server.errors import error_response
from gateway.jobs.ingest import Ingest
from gateway.message_json.reading import Part
from gateway.message_json.writing import to_json
from lookalike.csv_cells import csv_text
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.records.job import Failure, Job
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import failure_message, job_message

ENDED = "ended"
"""Id of the last event. A browser that comes back with it gets a 204: there is nothing more."""
_WATCH = """\
Server-sent events, for a browser's `EventSource` or `curl -N`:

- `job`: the job (`GetIngestJobResponse`) now, after every change, and every 15 seconds without one;
- `end`: the last event, after the `job` that has ended. An `EventSource` that connects again after it is answered 204, which \
makes it stop;
- `problem`: what broke the stream (`ErrorResponse`), its last event then. Connect again: what will not pass is then the answer.
"""
_DOWNLOAD = """\
CSV with a header, or JSONL of `ItemFailure`. In CSV a cell that a spreadsheet would take for a formula has an apostrophe \
before it. Where failures cannot be read, the connection breaks off: a file that came to its end is complete. The deadline is \
for the first 1,000 only.
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
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": LINES}
_FAILURES = pb.ListIngestFailuresRequest.DESCRIPTOR


def job_operations(ingest: Ingest) -> Iterator[Operation]:
    yield _watching(ingest)
    yield _downloading(ingest)


def _watching(ingest: Ingest) -> Operation:
    async def watch(asked: Asked) -> Response:
        # Its errors can still be answered; within the stream they could only break it.
        job = await ingest.get(asked.message.id, asked.call())
        if asked.request.headers.get("last-event-id") == ENDED and job.state.ended:
            return Response(status_code=204)
        return StreamingResponse(
            _events(ingest.watch(asked.message.id)), media_type="text/event-stream", headers=STREAM_HEADERS
        )

    return by_contract(
        "WatchIngestJob",
        watch,
        summary="Watch a job to its end, as server-sent events",
        description=_WATCH,
        parameters=({"name": "last-event-id", "in": "header", "required": False, "schema": {"type": "string"}},),
        responses={
            200: {"description": "Events", "content": {"text/event-stream": {"schema": _EVENTS}}},
            204: {"description": f"To a request with `Last-Event-ID: {ENDED}`."},
        },
    )


def _downloading(ingest: Ingest) -> Operation:
    async def download(asked: Asked) -> Response:
        file_format = asked.request.query_params.get("format", "csv")
        if file_format not in _MEDIA_TYPES:
            raise InvalidArgument("format", f"{file_format[:40]!r} is unknown; {' and '.join(_MEDIA_TYPES)} are allowed")
        job_id = asked.message.id
        pages = ingest.all_failures(job_id, asked.call())
        first = await anext(pages)  # As with `watch`.
        headers = {
            "Content-Disposition": f'attachment; filename="{job_id}-failures.{file_format}"',
            "Cache-Control": "no-cache",
        }
        content = _csv_file(first, pages) if file_format == "csv" else _json_file(first, pages)
        return _Download(content, media_type=_MEDIA_TYPES[file_format], headers=headers)

    return Operation(
        name="DownloadIngestFailures",
        verb="GET",
        path="/v1/ingest-jobs/{id}/failures:download",
        serve=download,
        summary="All items that failed so far, as a file",
        description=_DOWNLOAD,
        tag="ingest",
        message=_FAILURES,
        in_path={"id": "id"},
        query=Part(_FAILURES, frozenset(_FAILURES.fields_by_name)),
        answer=pb.ItemFailure.DESCRIPTOR,
        parameters=(
            {
                "name": "format",
                "in": "query",
                "required": False,
                "description": "`csv` or `jsonl`.",
                "schema": {"type": "string", "enum": list(_MEDIA_TYPES), "default": "csv"},
            },
        ),
        responses={
            200: {
                "description": "A file",
                "content": {
                    "text/csv": {"schema": {"type": "string"}},
                    LINES: {"schema": {"$ref": "#/components/schemas/ItemFailure"}},
                },
            }
        },
        streams=True,
    )


def _event(name: str, data: str, more: str = "") -> bytes:
    """An event of https://html.spec.whatwg.org/multipage/server-sent-events.html, whose `data` is one line."""
    return f"event: {name}\ndata: {data}\n{more}\n".encode()


async def _events(jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    """Each moment of a job as an event. Not called `error`: so `EventSource` calls a lost connection."""
    try:
        async for job in jobs:
            document = to_json(pb.WatchIngestJobResponse(job=job_message(job)))
            yield _event("job", json.dumps(document))
    except LookalikeError as error:
        yield _event("problem", bytes(error_response(error).body).decode())
    else:
        yield _event("end", "{}", f"id: {ENDED}\n")


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
