"""The outermost layer of HTTP: limits on bodies, refusal of cross-site writes, metrics, and the last resort for defects."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.errors import BodyTooLarge, error_response
from lookalike.errors import FailedPrecondition
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.runtime.interceptors import as_ours

HTTP_SECONDS = Histogram(
    "lookalike_gateway_http_seconds",
    "Time to serve an HTTP request, by route, method and status code.",
    ("route", "method", "code"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

BODY_LIMIT_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 1024 * 1024
"""One picture of the largest size in base64, and room for the fields beside it."""
_UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


class Edge:
    """ASGI middleware. `limit_for(path)` says how many bytes a body sent to `path` may have."""

    def __init__(self, app: ASGIApp, limit_for: Callable[[str], int]) -> None:
        self._app, self._limit_for = app, limit_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        code = HTTPStatus.INTERNAL_SERVER_ERROR.value
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal code, begun
            if message["type"] == "http.response.start":
                code, begun = message["status"], True
            await send(message)

        try:
            limit_bytes = self._limit_for(scope["path"])
            _refuse_at_once(scope, limit_bytes)
            await self._app(scope, _limited(receive, limit_bytes), noting_send)
        except Exception as error:  # noqa: BLE001 - the edge
            # Starlette raises a defect once more after it was answered and logged by our handler.
            if not begun:
                ours = as_ours(error, f"{scope['method']} {_route(scope)}")
                await error_response(ours)(scope, receive, noting_send)
        finally:
            elapsed_s = time.perf_counter() - started_s
            HTTP_SECONDS.labels(_route(scope), scope["method"], str(code)).observe(elapsed_s)


def _refuse_at_once(scope: Scope, limit_bytes: int) -> None:
    """Raise for what the headers alone show to be wrong, before a byte of the body is read."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    # A form on a foreign web page can post here without asking; browsers say so in this header, other clients send none.
    if scope["method"] in _UNSAFE and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise FailedPrecondition("requests that change something are not taken from other web sites", reason="CROSS_SITE")


def _limited(receive: Receive, limit_bytes: int) -> Receive:
    """`receive` that raises `BodyTooLarge` as soon as more than `limit_bytes` have come."""
    received_bytes = 0

    async def limited() -> Message:
        nonlocal received_bytes
        message = await receive()
        if message["type"] == "http.request":
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit_bytes:
                raise BodyTooLarge(limit_bytes)
        return message

    return limited


def _route(scope: Scope) -> str:
    """The route's template, so that ids never become label values."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))
