"""The one builder of gRPC servers: health, reflection, the interceptor, and the same message limits for every service.

`build_server` is for servicers with threads (embedder; the indexer's health), `build_aio_server` for asyncio (gateway). Neither
is READY until its service says so. Both say SERVING for the service `liveness` from the start. Supervisors that restart hung
processes probe that, so that a service is not restarted while it waits for a dependency.

A server without free places also refuses health checks, and the prober would take it for dead. So probes have an address apart,
which takes health checks only: `build_health_server`, or `health_address` on asyncio, where an answer also shows that the event
loop runs.

Calls at work, streamed answers, uploads, and requests that have not come yet have places apart (`peers`), so that a silent peer
keeps no other peer out. Calls beyond these places are refused at once, with Lookalike's details.

Calls that gRPC itself refuses never reach the interceptor and have no details: RESOURCE_EXHAUSTED for a message over the limit
(also after decompression) or a call beyond all places together, UNIMPLEMENTED for an unknown method. `status.from_rpc_error`
distinguishes them for `lookalike.client`; other clients see the bare code.
"""

from __future__ import annotations

import asyncio
import resource
import threading
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
from lookalike.runtime.peers import PeerBounds, Peers, RpcTasks

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Two servers must not share a port by accident: the second start fails instead.
    ("grpc.so_reuseport", 0),
    # A client asks DNS again when a connection ends, and so finds new replicas. Calls and streams under way continue to their
    # end.
    ("grpc.max_connection_age_ms", 300_000),
    # Clients ping every 30 s (see `channels.OPTIONS`); the default would close their connection for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that has vanished, and the streams that it left, are noticed within a minute and a half.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A connection that sends no HTTP/2, or makes no call.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 120_000),
    ("grpc.max_allowed_incoming_connections", 1_000),
    # More than all places together, so that the places refuse a call, with their details.
    ("grpc.max_concurrent_streams", 2_000),
)

SILENCE_S = 60.0
"""Bounds the time for a whole message to come and for an answer to be read: the largest, of 32 MiB, at 4.5 Mbit/s."""
_SILENT_S = 1.0
_OPEN_FILES = 65_536
_HEALTH_CALLS = 16
"""Bounds the health checks at once; each takes microseconds, or is a watch."""
_HEALTH_BOUNDS = PeerBounds(arriving=64, calls=_HEALTH_CALLS, streams=1, uploads=1, watches=_HEALTH_CALLS, silence_s=10.0)
LIVENESS = "liveness"
"""A name that only the health service knows: the process answers, whether its dependencies do or not."""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Servicer:
    """A service to add: gRPC's `add_..._to_server`, the implementation, and the service's full name."""

    add: Callable[[Any, Any], None]
    implementation: object
    name: str


class Server:
    """A gRPC server with threads. `port` is the port it listens on."""

    def __init__(
        self,
        server: grpc.Server,
        health_servicer: health.HealthServicer,
        names: Sequence[str],
        port: int,
        arrivals: Arrivals,
        peers: Peers,
    ) -> None:
        self._server, self._health, self._names, self.port, self._arrivals = server, health_servicer, names, port, arrivals
        self._peers, self._stopped = peers, threading.Event()

    def start(self) -> None:
        self._peers.watch_in_thread(self._stopped)
        self._server.start()

    def set_ready(self, ready: bool) -> None:
        """Answer health checks (of the server and of each service) with SERVING or NOT_SERVING."""
        for name in self._names:
            self._health.set(name, _SERVING if ready else _NOT_SERVING)

    def at_the_door(self) -> int:
        """The number of calls that have arrived and that no handler has taken in yet, without those whose request has not
        come."""
        return max(0, self._arrivals.unanswered() - self._peers.at_work - self._peers.silent(_SILENT_S))

    def wait(self) -> None:
        self._server.wait_for_termination()

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, give those under way `grace_s` seconds, then end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._stopped.set()


class AioServer:
    """A gRPC server on asyncio. `port` is the port it listens on."""

    def __init__(
        self,
        server: grpc.aio.Server,
        health_servicer: health.aio.HealthServicer,
        names: Sequence[str],
        port: int,
        for_health: grpc.aio.Server | None,
        peers: Sequence[Peers],
    ) -> None:
        self._server, self._health, self._names, self.port = server, health_servicer, names, port
        self._for_health, self._peers = for_health, peers
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._watches = [asyncio.create_task(peers.watch()) for peers in self._peers]
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
        for watch in self._watches:
            watch.cancel()


def build_server(
    servicers: Sequence[Servicer], *, address: str, threads: int, max_concurrent: int, silence_s: float = SILENCE_S
) -> Server:
    """A server with `threads` workers that refuses calls beyond `max_concurrent` at once, bound to `address`. A peer may take
    `silence_s` seconds to send a request, and to read an answer.

    Raises `Unavailable` where the address cannot be bound.
    """
    raise_open_files()
    bounds = PeerBounds(
        max_concurrent, max_concurrent, max_concurrent, max_concurrent, watches=_HEALTH_CALLS, silence_s=silence_s
    )
    peers = Peers(bounds)
    # A thread waits for each request on its way; threads are made when first needed. The two more answer health checks and
    # reflection while every worker is busy.
    server = grpc.server(
        ThreadPoolExecutor(threads + bounds.arriving + bounds.watches + 2, thread_name_prefix="rpc"),
        interceptors=[ErrorInterceptor(peers)],
        options=OPTIONS,
        maximum_concurrent_rpcs=max_concurrent + bounds.arriving + bounds.watches,
    )
    arrivals = Arrivals()
    health_servicer = health.HealthServicer()
    names = _add_all(server, servicers, health_servicer)
    built = Server(server, health_servicer, names, _bind(server, address), arrivals, peers)
    health_servicer.set(LIVENESS, _SERVING)
    built.set_ready(False)
    return built


def build_health_server(address: str | None) -> Server | None:
    """A started server that answers health checks only; None without an address.

    Raises `Unavailable` where the address cannot be bound.
    """
    if address is None:
        return None
    server = build_server([], address=address, threads=_HEALTH_CALLS, max_concurrent=_HEALTH_CALLS)
    server.start()
    return server


async def build_aio_server(
    servicers: Sequence[Servicer],
    *,
    address: str,
    health_address: str | None = None,
    bounds: PeerBounds = PeerBounds(),  # noqa: B008 - frozen
) -> AioServer:
    """A server on the running event loop, bound to `address`, that refuses calls beyond `bounds` at once. It also answers
    health checks at `health_address`, where it refuses none.

    Raises `Unavailable` where an address cannot be bound.
    """
    raise_open_files()
    peers, peers_of_health, tasks = Peers(bounds), Peers(_HEALTH_BOUNDS), RpcTasks()
    tasks.install(asyncio.get_running_loop())
    interceptor = AioErrorInterceptor(peers, tasks)
    server = grpc.aio.server(interceptors=[interceptor], options=OPTIONS, maximum_concurrent_rpcs=bounds.together)
    health_servicer = health.aio.HealthServicer()
    names = _add_all(server, servicers, health_servicer)
    for_health = None
    if health_address is not None:
        of_health = AioErrorInterceptor(peers_of_health, tasks)
        for_health = grpc.aio.server(interceptors=[of_health], options=OPTIONS, maximum_concurrent_rpcs=_HEALTH_BOUNDS.together)
        _add_all(for_health, [], health_servicer)
        _bind(for_health, health_address)
    built = AioServer(server, health_servicer, names, _bind(server, address), for_health, (peers, peers_of_health))
    await health_servicer.set(LIVENESS, _SERVING)
    await built.set_ready(False)
    return built


def raise_open_files() -> None:
    """Raise the limit of open files to the allowed maximum: connections are files, and the common limit of 1,024 is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
