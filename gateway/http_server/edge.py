"""The outermost layer of HTTP: whose requests are taken, limits on bodies, metrics, and the last resort for defects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http_server.bodies import Body, Pace, Share
from gateway.http_server.errors import error_response
from gateway.http_server.hosts import Hosts, of_absolute_target
from lookalike.errors import Unavailable
from lookalike.runtime import tracing
from lookalike.runtime.call import REQUEST_ID_HEADER, named, request_id_from
from lookalike.runtime.interceptors import as_ours
from lookalike.runtime.places import Places

HTTP_SECONDS = Histogram(
    "lookalike_gateway_http_seconds",
    "Time to serve an HTTP request, by route and method.",
    ("route", "method"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

HTTP_REQUESTS = Counter(
    "lookalike_gateway_http_requests_total",
    "HTTP requests served, by route, method and status code.",
    ("route", "method", "code"),
)
"""Apart from their times: each code that a caller provokes would be a series for every bucket."""

STREAMS_FULL = "too many streamed answers are under way; try again"
_OTHER = "OTHER"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    """ASGI middleware. `share_for(path)` says which bodies those sent to `path` share their room with, `streams` bounds the
    answers that go on for long, which `is_stream(path)` knows, and `hosts` says which requests are meant for us."""

    def __init__(
        self,
        app: ASGIApp,
        share_for: Callable[[str], Share],
        streams: Places,
        is_stream: Callable[[str], bool],
        *,
        hosts: Hosts = Hosts(),  # noqa: B008 - frozen
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        self._app, self._share_for, self._hosts, self._pace = app, share_for, hosts, pace
        self._streams, self._is_stream = streams, is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = of_absolute_target(scope)
        started_s = time.perf_counter()
        code = HTTPStatus.INTERNAL_SERVER_ERROR.value
        begun = False
        body = Body(receive, self._share_for(scope["path"]), self._pace)
        request_id = request_id_from(Headers(scope=scope).get(REQUEST_ID_HEADER))

        async def noting_send(message: Message) -> None:
            nonlocal code, begun
            if message["type"] == "http.response.start":
                code, begun = message["status"], True
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER.encode(), request_id.encode())]
            await send(message)

        with named(request_id):
            try:
                self._hosts.check(scope)
                body.expect(Headers(scope=scope).get("content-length", ""))
                if self._is_stream(scope["path"]):
                    body.hold(self._streams.take(body.end))
                with _traced(scope):
                    await self._app(scope, body.receive, noting_send)
                    tracing.note(http__route=_route(scope), http__response__status_code=code)
            except Exception as error:  # noqa: BLE001 - the edge
                # Starlette raises a defect once more after it was answered and logged by our handler.
                if not begun:
                    ours = as_ours(error, f"{scope['method']} {_route(scope)}")
                    await error_response(ours)(scope, receive, noting_send)
            except asyncio.CancelledError:
                # Only the server's end cancels a request, when its time to drain is over.
                if not begun:
                    await error_response(Unavailable("gateway", "it is shutting down"))(scope, receive, noting_send)
            finally:
                body.release()
                elapsed_s = time.perf_counter() - started_s
                # A route that does not have the method is no operation of its own.
                labels = (_route(scope), _method(scope) if code != HTTPStatus.METHOD_NOT_ALLOWED else _OTHER)
                HTTP_SECONDS.labels(*labels).observe(elapsed_s)
                HTTP_REQUESTS.labels(*labels, str(code)).inc()


def _traced(scope: Scope) -> AbstractContextManager[None]:
    """A span for a call of the API; probes, scrapes and files of the page are none."""
    if not scope["path"].startswith("/v1/"):
        return nullcontext()
    parent = tracing.known(Headers(scope=scope).get(tracing.HEADER, ""))
    return tracing.span(f"HTTP {_method(scope)}", "server", parent=parent)


def _method(scope: Scope) -> str:
    """HTTP lets a client invent methods; each would be a time series of its own."""
    return scope["method"] if scope["method"] in _METHODS else _OTHER


def _route(scope: Scope) -> str:
    """The route's template, so that ids never become label values."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))
