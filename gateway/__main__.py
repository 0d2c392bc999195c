"""`python -m gateway`: reads settings, opens clients, starts gRPC and HTTP on one loop, drains on SIGTERM. Wiring only."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take seconds, and the kernel spares process 1 of a container every signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from gateway.assembly import Gateway, assemble
from gateway.http_server.connections import PeerLimits
from gateway.listeners import HttpServer, build_grpc
from gateway.memory import settle
from gateway.settings import GatewaySettings
from lookalike.errors import LookalikeError
from lookalike.runtime.channels import open_aio_channel
from lookalike.runtime.environment import load_settings, refuse_setting
from lookalike.runtime.peers import PeerBounds
from lookalike.runtime.telemetry import configure_logging
from lookalike.runtime.tracing import configure_tracing


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT, then let calls under way end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _assembled(settings) as gateway:
        grpc_server = await build_grpc(
            gateway.core, settings.gateway_grpc_address, settings.gateway_health_address, _peer_bounds(settings)
        )
        gateway.readiness.on_change = grpc_server.set_ready
        http_server = HttpServer(gateway.app, settings.gateway_http_address, _peer_limits(settings))
        await http_server.start()
        await grpc_server.start()
        settle()
        structlog.get_logger().info("listening", grpc_port=grpc_server.port, http_port=http_server.port)
        watch = asyncio.create_task(gateway.watch(settings.gateway_ready_interval_s))
        await stop.wait()
        structlog.get_logger().info("draining", at_most_s=settings.gateway_drain_s)
        watch.cancel()
        gateway.readiness.drain()
        gateway.core.ingest.drain()
        await asyncio.gather(grpc_server.stop(settings.gateway_drain_s), http_server.stop(settings.gateway_drain_s))


def _peer_limits(settings: GatewaySettings) -> PeerLimits:
    return PeerLimits(
        connections=settings.gateway_connections_max,
        header_s=settings.gateway_header_s,
        grace_s=settings.gateway_silence_s,
        least_bytes_per_s=settings.gateway_least_bytes_per_s,
    )


def _peer_bounds(settings: GatewaySettings) -> PeerBounds:
    return PeerBounds(
        calls=settings.gateway_calls_max,
        streams=settings.gateway_streams_max,
        uploads=settings.gateway_uploads_max,
        silence_s=settings.gateway_message_s,
    )


@asynccontextmanager
async def _assembled(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    channel = open_aio_channel(settings.embedder_target)
    gateway = assemble(settings, channel)
    try:
        yield gateway
    finally:
        gateway.close()
        await channel.close()


def main() -> None:
    settings = load_settings(GatewaySettings)
    configure_logging(settings, "gateway")
    send_last_spans = configure_tracing(settings, "gateway")
    try:
        asyncio.run(serve(settings))
    except LookalikeError as error:
        refuse_setting(settings, error)
        structlog.get_logger().error("cannot start", problem=error.message)
        raise SystemExit(1) from error
    finally:
        send_last_spans()


if __name__ == "__main__":
    main()
