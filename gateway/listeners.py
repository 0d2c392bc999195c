"""The two servers on one event loop: gRPC by `lookalike.runtime.server`, HTTP by uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from gateway.grpc.servicers import CollectionServicer, IngestServicer, SearchServicer
from gateway.http.app import Core
from gateway.http_server.connections import Connections, PeerLimits
from lookalike.errors import Unavailable
from lookalike.runtime.peers import PeerBounds
from lookalike.runtime.server import AioServer, Servicer, build_aio_server
from lookalike.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from lookalike.v1.ingest_service_pb2_grpc import add_IngestServiceServicer_to_server
from lookalike.v1.search_service_pb2_grpc import add_SearchServiceServicer_to_server

_BACKLOG = 2048
_VANISHED_S = 60
"""The time without an answer, even at the level of TCP, after which a peer counts as gone."""


async def build_grpc(
    core: Core,
    address: str,
    health_address: str | None = None,
    bounds: PeerBounds = PeerBounds(),  # noqa: B008 - frozen
) -> AioServer:
    """The gRPC server, bound to `address` (`HOST:PORT`), not started. Raises `Unavailable` where it cannot be bound.

    `health_address` is where health checks are answered whatever the load; `bounds` are those of the server's peers.
    """
    return await build_aio_server(
        [
            Servicer(
                add_SearchServiceServicer_to_server,
                SearchServicer(core.search, core.images),
                "lookalike.v1.SearchService",
            ),
            Servicer(
                add_CollectionServiceServicer_to_server,
                CollectionServicer(core.collections, core.generations),
                "lookalike.v1.CollectionService",
            ),
            Servicer(add_IngestServiceServicer_to_server, IngestServicer(core.ingest), "lookalike.v1.IngestService"),
        ],
        address=address,
        health_address=health_address,
        bounds=bounds,
    )


class _Server(uvicorn.Server):
    """uvicorn that leaves the process' signals alone: they belong to `__main__`."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """uvicorn on the running loop, with `limits` for its peers. Binds when made, so that a port in use is found before anything
    else starts."""

    def __init__(self, app: ASGIApp, address: str, limits: PeerLimits = PeerLimits()) -> None:  # noqa: B008 - frozen
        self._socket = _bound(address)
        self._connections = Connections(limits)
        self._watch: asyncio.Task[None] | None = None
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", self._connections.protocol),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # any client can send them
                ws="none",
                timeout_keep_alive=cast("int", limits.keep_alive_s),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._watch = asyncio.create_task(self._connections.watch())
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self, grace_s: float) -> None:
        """Refuse new connections, give requests under way `grace_s` seconds, then end."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        if self._watch is not None:
            self._watch.cancel()


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable("address", f"cannot listen on {address}: {error.strerror or error}") from error
    # Connections inherit these options on Linux. Elsewhere the deadlines of `connections` end a peer that has gone.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _VANISHED_S)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_S * 1000)
    return listener
