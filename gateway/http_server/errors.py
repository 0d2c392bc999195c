"""Every error over HTTP in one shape: `{"error": {code, status, reason, message, field, metadata}}`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from gateway.http_server.json_texts import printable
from lookalike.errors import InvalidArgument, LookalikeError, forget_frames
from lookalike.runtime.interceptors import as_ours
from lookalike.wire.status import grpc_code, http_code

_Handler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What went wrong: HTTP's code, the name of gRPC's, `reason` for programs and `message` for people, the `field` at fault
    where there is one, and further facts."""

    code: int
    status: str
    reason: str
    message: str
    field: str | None
    metadata: Mapping[str, str]


class BodyTooLarge(InvalidArgument):
    """More bytes than a request to this path may have. Known to HTTP only, where it is 413."""

    reason, http_code = "BODY_TOO_LARGE", 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("body", f"is larger than the {limit_bytes} bytes that are allowed here")


def error_response(error: LookalikeError, code: int | None = None) -> JSONResponse:
    """`error` in the one shape, with `Retry-After` where trying again makes sense; with another HTTP `code` than its own."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    body = error_body(error)
    return _shaped(body if code is None else replace(body, code=code), headers)


def error_body(error: LookalikeError) -> ErrorBody:
    """`error` as the caller gets it, alone or as a line of a stream."""
    return ErrorBody(
        code=getattr(error, "http_code", None) or http_code(error),
        status=grpc_code(error).name,
        reason=error.reason,
        message=printable(error.message),
        field=None if error.field is None else printable(error.field),
        metadata={name: printable(value) for name, value in error.metadata.items()},
    )


def _shaped(body: ErrorBody, headers: dict[str, str]) -> JSONResponse:
    """`body` as an answer of its code."""
    return JSONResponse({"error": asdict(body)}, status_code=body.code, headers=headers)


def add_error_handlers(app: Starlette) -> None:
    """Make `app` answer every exception in the one shape."""
    app.add_exception_handler(LookalikeError, _forgetting(_ours))
    app.add_exception_handler(HTTPException, _forgetting(_http))
    app.add_exception_handler(Exception, _ours)


def _forgetting(answer: _Handler) -> _Handler:
    """`answer`, which lets go of its error's frames."""

    async def handle(request: Request, error: Exception) -> Response:
        response = await answer(request, error)
        forget_frames(error)
        return response

    return handle


async def _ours(_request: Request, error: Exception) -> Response:
    return error_response(as_ours(error, "http"))


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, wrong method, a body that is not what its header says."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    if isinstance(error.__cause__, LookalikeError):
        return error_response(error.__cause__)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    known = {
        404: ("NOT_FOUND", "PATH_NOT_FOUND", f"there is nothing at {request.url.path}; see /docs"),
        405: ("UNIMPLEMENTED", "METHOD_NOT_ALLOWED", f"{request.method} is not possible at {request.url.path}; see /docs"),
    }
    other = ("INVALID_ARGUMENT", "INVALID_ARGUMENT", f"body: {error.detail}")
    status, reason, message = known.get(error.status_code, other)
    field = "body" if status == "INVALID_ARGUMENT" else None
    return _shaped(ErrorBody(error.status_code, status, reason, message, field, {}), headers)


def _allowed(request: Request) -> list[str]:
    """Every method that the path of `request` has; Starlette names those of the first route that fits."""
    routes = request.app.routes
    methods = [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return sorted([*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])])
