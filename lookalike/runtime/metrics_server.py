"""Answers Prometheus from a thread of its own, and holds few connections, none of them for long. `telemetry` starts it.

prometheus_client's own server waits in a thread without end for each peer that has connected and says nothing. This server
takes `_CONNECTIONS` at once, closes the oldest for a new one, and closes each after `longest_s`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

_CONNECTIONS = 16
LONGEST_S = 10.0
"""Bounds a scrape, from its connection to its answer; scrapes take milliseconds."""


def start_metrics_server(host: str, port: int, longest_s: float = LONGEST_S) -> Callable[[], None]:
    """Serve `/metrics`; the returned function ends that. Raises `OSError` where the port cannot be bound."""
    kind: type[_Server] = type("_Server", (_Server,), {"address_family": _family(host, port), "longest_s": longest_s})
    server = make_server(host, port, make_wsgi_app(), kind, _Quiet)
    threading.Thread(target=server.serve_forever, args=(min(0.5, longest_s / 4),), name="metrics", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape is not an event."""


class _Server(ThreadingWSGIServer):
    """A server that notes the time at which each connection must end, the oldest first."""

    block_on_close = False
    longest_s = LONGEST_S

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: dict[Any, float] = {}
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= _CONNECTIONS:
                _end(next(iter(self._open)))
                del self._open[next(iter(self._open))]
            self._open[request] = time.monotonic() + self.longest_s
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called after each request, and several times a second."""
        now_s = time.monotonic()
        with self._lock:
            for request in [request for request, until_s in self._open.items() if until_s < now_s]:
                _end(request)
                del self._open[request]

    def handle_error(self, *_: Any) -> None:
        """Log nothing: the peer has gone, or its connection was closed."""


def _end(request: Any) -> None:
    """Close a connection, which wakes up the thread that waits for it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
