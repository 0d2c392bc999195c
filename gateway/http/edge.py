"""The outermost layer of HTTP: whose requests are taken, limits on bodies, metrics, and the last resort for defects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus

from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.errors import BodyTooLarge, error_response
from gateway.http.hosts import Hosts, of_absolute_target
from lookalike.errors import Cancelled, DeadlineExceeded, Overloaded, Unavailable
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.runtime import tracing
from lookalike.runtime.interceptors import as_ours

HTTP_SECONDS = Histogram(
    "lookalike_gateway_http_seconds",
    "Time to serve an HTTP request, by route, method and status code.",
    ("route", "method", "code"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

BODY_LIMIT_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 1024 * 1024
"""One picture of the largest size in base64, and room for the fields beside it."""
BODY_IDLE_S = 60.0
"""Without a byte of a body that is not complete, the request is given up: it would hold its share of `Bodies` for ever."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Bodies:
    """The bytes of request bodies held by all requests together, at most `limit_bytes`. Used from one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self.held_bytes = limit_bytes, 0

    def take(self, size_bytes: int) -> None:
        """Raises `Overloaded` where they do not fit beside what the others hold."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            raise Overloaded("the bodies of other requests take all the memory there is for them; try again")
        self.held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes


class Edge:
    """ASGI middleware. `limit_for(path)` says how many bytes a body sent to `path` may have; `bodies` is for all together.

    A body of which nothing comes for `idle_s` seconds is given up. `hosts` says which requests are meant for us.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_for: Callable[[str], int],
        bodies: Bodies,
        *,
        hosts: Hosts = Hosts(),  # noqa: B008 - frozen
        idle_s: float = BODY_IDLE_S,
    ) -> None:
        self._app, self._limit_for, self._bodies, self._idle_s, self._hosts = app, limit_for, bodies, idle_s, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = of_absolute_target(scope)
        started_s = time.perf_counter()
        code = HTTPStatus.INTERNAL_SERVER_ERROR.value
        begun = False
        body = _Body(receive, self._limit_for(scope["path"]), self._bodies, self._idle_s)

        async def noting_send(message: Message) -> None:
            nonlocal code, begun
            if message["type"] == "http.response.start":
                code, begun = message["status"], True
            await send(message)

        try:
            self._hosts.check(scope)
            body.expect(Headers(scope=scope).get("content-length", ""))
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
            HTTP_SECONDS.labels(_route(scope), _method(scope), str(code)).observe(elapsed_s)


class _Body:
    """The body of one request: within its own limit, within what is left for all, and not too slow.

    Held until the request has been answered: a parsed body is as large as what came.
    """

    def __init__(self, receive: Receive, limit_bytes: int, bodies: Bodies, idle_s: float) -> None:
        self._receive, self._limit_bytes, self._bodies, self._idle_s = receive, limit_bytes, bodies, idle_s
        self._received_bytes = self._held_bytes = 0
        self._complete = False

    def expect(self, content_length: str) -> None:
        """Make room for all of it before a byte is read, where the headers tell how much it is."""
        if content_length.isdigit():
            self._hold(int(content_length))

    def release(self) -> None:
        self._bodies.give(self._held_bytes)
        self._held_bytes = 0

    async def receive(self) -> Message:
        """ASGI's `receive`. Raises `BodyTooLarge`, `Overloaded`, `DeadlineExceeded` for a sender that is silent, and
        `Cancelled` for one that has gone: no defect, and nothing that an operator should be called for."""
        if self._complete:
            return await self._receive()  # This one waits until the client goes.
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError as error:
            raise DeadlineExceeded(f"nothing of the body came for {self._idle_s:g} s") from error
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller has gone before its body was complete")
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            self._hold(self._received_bytes)
        return message

    def _hold(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes)
        if size_bytes > self._held_bytes:
            self._bodies.take(size_bytes - self._held_bytes)
            self._held_bytes = size_bytes


def _traced(scope: Scope) -> AbstractContextManager[None]:
    """A span for a call of the API; probes, scrapes and files of the page are none."""
    if not scope["path"].startswith("/v1/"):
        return nullcontext()
    parent = tracing.known(Headers(scope=scope).get(tracing.HEADER, ""))
    return tracing.span(f"HTTP {_method(scope)}", "server", parent=parent)


def _method(scope: Scope) -> str:
    """HTTP lets a client invent methods; each would be a time series of its own."""
    return scope["method"] if scope["method"] in _METHODS else "OTHER"


def _route(scope: Scope) -> str:
    """The route's template, so that ids never become label values."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))
