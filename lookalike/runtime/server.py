"""The one way a gRPC server is built here: health, reflection, our interceptor, and the same message limits.

`build_server` is for servicers with threads (embedder; the indexer's health), `build_aio_server` for asyncio (gateway). Neither
is READY until told. Both say SERVING for the service `liveness` from the start: whoever restarts what hangs asks for that, and
does not restart a service for what it waits for.

gRPC counts a health check among the calls that it bounds, so an overloaded server refuses it, and who asked takes it for dead.
Hence probes ask at an address apart, which takes health checks only: `build_health_server`, or `health_address` on asyncio,
where the answer then still tells that the event loop turns.

What gRPC refuses by itself never reaches our interceptor and comes without our details: RESOURCE_EXHAUSTED for a message over
the limit or a call beyond `max_concurrent`, UNIMPLEMENTED for a method that is not there. `status.from_rpc_error` tells them
apart for our own clients; others see the bare code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lookalike.errors import Unavailable
from lookalike.names import MAX_MESSAGE_BYTES
from lookalike.runtime.arrivals import Arrivals
from lookalike.runtime.interceptors import AioErrorInterceptor, ErrorInterceptor

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Two servers must not share a port by accident: the second start fails instead.
    ("grpc.so_reuseport", 0),
    # A client asks DNS again when a connection ends: so it comes to know of replicas that were added. Calls and streams that
    # are under way then go on to their end.
    ("grpc.max_connection_age_ms", 300_000),
    # Clients ping every 30 s (see `channels.OPTIONS`); the default would close their connection for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

MAX_CONCURRENT = 256
"""Calls at once on an asyncio server. Each may hold a message (at most 32 MiB, a picture commonly 0.1), or be a watch or an
upload, which wait most of the time. It is above the gateway's threads and places to wait (144) together, so that a burst is
refused there, with details, and leaves a hundred watches."""
_HEALTH_CALLS = 16
"""Health checks at once; each takes microseconds, or is a watch."""
LIVENESS = "liveness"
"""A name that only the health service knows: the process answers, whatever it needs does or not."""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Servicer:
    """One service to add: gRPC's `add_..._to_server`, the implementation, and the service's full name."""

    add: Callable[[Any, Any], None]
    implementation: object
    name: str


class Server:
    """A gRPC server with threads. `port` is the port it listens on; `arrivals` counts its calls."""

    def __init__(
        self,
        server: grpc.Server,
        health_servicer: health.HealthServicer,
        names: Sequence[str],
        port: int,
        arrivals: Arrivals,
    ) -> None:
        self._server, self._health, self._names, self.port, self.arrivals = server, health_servicer, names, port, arrivals

    def start(self) -> None:
        self._server.start()

    def set_ready(self, ready: bool) -> None:
        """Answer health checks (of the server and of each service) with SERVING or NOT_SERVING."""
        for name in self._names:
            self._health.set(name, _SERVING if ready else _NOT_SERVING)

    def wait(self) -> None:
        self._server.wait_for_termination()

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, give those under way `grace_s` seconds, then end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()


class AioServer:
    """A gRPC server on asyncio. `port` is the port it listens on."""

    def __init__(
        self,
        server: grpc.aio.Server,
        health_servicer: health.aio.HealthServicer,
        names: Sequence[str],
        port: int,
        for_health: grpc.aio.Server | None,
    ) -> None:
        self._server, self._health, self._names, self.port = server, health_servicer, names, port
        self._for_health = for_health

    async def start(self) -> None:
        await self._server.start()
        if self._for_health is not None:
            await self._for_health.start()

    async def set_ready(self, ready: bool) -> None:
        """Answer health checks (of the server and of each service) with SERVING or NOT_SERVING."""
        for name in self._names:
            await self._health.set(name, _SERVING if ready else _NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, give those under way `grace_s` seconds, then end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        if self._for_health is not None:
            await self._for_health.stop(None)


def build_server(servicers: Sequence[Servicer], *, address: str, threads: int, max_concurrent: int) -> Server:
    """A server with `threads` workers that refuses calls beyond `max_concurrent` at once, bound to `address`.

    Raises `Unavailable` where the address cannot be bound.
    """
    # Health and reflection must be answered while every worker is busy, hence the two more.
    server = grpc.server(
        ThreadPoolExecutor(threads + 2, thread_name_prefix="rpc"),
        interceptors=[ErrorInterceptor()],
        options=OPTIONS,
        maximum_concurrent_rpcs=max_concurrent,
    )
    arrivals = Arrivals()
    health_servicer = health.HealthServicer()
    names = _add_all(server, servicers, health_servicer)
    built = Server(server, health_servicer, names, _bind(server, address), arrivals)
    health_servicer.set(LIVENESS, _SERVING)
    built.set_ready(False)
    return built


def build_health_server(address: str | None) -> Server | None:
    """A server that answers health checks and nothing else, started; None where there is no address.

    Raises `Unavailable` where the address cannot be bound.
    """
    if address is None:
        return None
    server = build_server([], address=address, threads=_HEALTH_CALLS, max_concurrent=_HEALTH_CALLS)
    server.start()
    return server


async def build_aio_server(
    servicers: Sequence[Servicer], *, address: str, health_address: str | None = None, max_concurrent: int = MAX_CONCURRENT
) -> AioServer:
    """A server on the running loop that refuses calls beyond `max_concurrent` at once, bound to `address`; health checks are
    answered at `health_address` too, whatever it refuses.

    Raises `Unavailable` where an address cannot be bound.
    """
    server = grpc.aio.server(interceptors=[AioErrorInterceptor()], options=OPTIONS, maximum_concurrent_rpcs=max_concurrent)
    health_servicer = health.aio.HealthServicer()
    names = _add_all(server, servicers, health_servicer)
    for_health = None
    if health_address is not None:
        for_health = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=_HEALTH_CALLS)
        _add_all(for_health, [], health_servicer)
        _bind(for_health, health_address)
    built = AioServer(server, health_servicer, names, _bind(server, address), for_health)
    await health_servicer.set(LIVENESS, _SERVING)
    await built.set_ready(False)
    return built


def _add_all(server: Any, servicers: Sequence[Servicer], health_servicer: Any) -> list[str]:
    for servicer in servicers:
        servicer.add(servicer.implementation, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = [servicer.name for servicer in servicers]
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return ["", *names]


def _bind(server: grpc.Server | grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Unavailable("address", f"cannot listen on {address}: is something else using it?") from error
    if port == 0:
        raise Unavailable("address", f"cannot listen on {address}: is something else using it?")
    return port
