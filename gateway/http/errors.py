"""Answers every exception of a route in the shape of `gateway.http_server.errors`. Called by `app`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from gateway.http_server.errors import ErrorBody, error_response, shaped
from lookalike.errors import InvalidArgument, LookalikeError, forget_frames
from lookalike.runtime.interceptors import as_ours

_Handler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]

WITHIN = "within"
"""The type of pydantic's errors about a part of a value: their context has the `path` of the part from the value on."""


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every exception in the one shape."""
    app.add_exception_handler(LookalikeError, _forgetting(_ours))
    app.add_exception_handler(RequestValidationError, _forgetting(_validation))
    app.add_exception_handler(HTTPException, _forgetting(_http))
    app.add_exception_handler(Exception, _ours)


def _forgetting(answer: _Handler) -> _Handler:
    """`answer`, which lets go of its error's frames."""

    async def handle(request: Request, error: Exception) -> Response:
        response = await answer(request, error)
        forget_frames(error)
        return response

    return handle


def field_name(location: Sequence[int | str]) -> str:
    """pydantic's place of a value as our dotted path: `("vectors", 0, "values")` -> `vectors[0].values`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def as_invalid(errors: Sequence[ErrorDetails], *, skip: int = 0, prefix: str = "") -> InvalidArgument:
    """The first of pydantic's `errors`; `skip` leaves out the first parts of its place (`body`, `query`, `path`), `prefix` goes
    before it."""
    first = errors[0]
    field = f"{prefix}{field_name(first['loc'][skip:])}".removesuffix(".")
    if first["type"] == WITHIN:
        return InvalidArgument(f"{field}{first['ctx']['path']}", first["msg"])
    if first["type"] == "json_invalid":
        return InvalidArgument("body", f"is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    if not field:
        return InvalidArgument("body", "is not a JSON object; send one, with the content type application/json")
    if first["type"] == "extra_forbidden":
        return InvalidArgument(field, "is not a field of this request")
    if first["type"] == "missing":
        return InvalidArgument(field, "is missing")
    return InvalidArgument(field, first["msg"][:1].lower() + first["msg"][1:])


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    return error_response(as_ours(error, "http"))


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    return error_response(as_invalid(error.errors(), skip=1))


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
    body = ErrorBody(code=error.status_code, status=status, reason=reason, message=message, field=field, metadata={})
    return shaped(body, headers)


def _allowed(request: Request) -> list[str]:
    """Every method that the path of `request` has; Starlette names those of the first route that fits."""
    routes = request.app.routes
    methods = [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return sorted([*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])])
