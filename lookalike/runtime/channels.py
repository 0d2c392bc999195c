"""Channels to other services, and the time that a call has left."""

from __future__ import annotations

import json
from typing import Protocol

import grpc
import grpc.aio

from lookalike.names import MAX_MESSAGE_BYTES

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
"""Spreads calls over every address of a name; a headless Kubernetes service has an address for each pod."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A dead peer is noticed within 40 s even where no reset arrives. Servers allow pings at this rate (see `server.OPTIONS`).
    # The first timeout is TCP's, for a host that is gone. Without the second, a frozen peer is noticed a minute later (measured
    # with gRPC 1.85).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A restarted peer is found again within a second or so; the default grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", _SERVICE_CONFIG),
    # Services call each other inside one network; the environment's proxy is for addresses outside it.
    ("grpc.enable_http_proxy", 0),
)
_KEPT_ALIVE: tuple[tuple[str, int | str], ...] = (
    # Pings are sent without a call under way too, without end. So a balancer or a NAT on the way does not forget a quiet
    # connection, and a dead one is found before the next query. Only channels between services do this: foreign proxies may
    # refuse such pings, and `lookalike.client` may reach the gateway through one.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class Timed(Protocol):
    """An object that knows how long a caller will wait: a gRPC server context, sync or asyncio."""

    def time_remaining(self) -> float | None:
        """Seconds left; None where the caller set no deadline."""


def open_channel(target: str) -> grpc.Channel:
    """A channel for threads, one for all calls to `target`. Open it after any fork, and close it at the end."""
    return grpc.insecure_channel(target, options=OPTIONS + _KEPT_ALIVE)


def open_aio_channel(target: str) -> grpc.aio.Channel:
    """A channel for asyncio, one for all calls to `target`. Open it inside the loop that uses it."""
    return grpc.aio.insecure_channel(target, options=OPTIONS + _KEPT_ALIVE)


def remaining_s(context: Timed, *, default_s: float, cap_s: float) -> float:
    """Seconds that the work for this call may still take: those of the caller, or `default_s`; at most `cap_s`.

    gRPC reports a missing deadline as a very large number, which `cap_s` bounds.
    """
    left_s = context.time_remaining()
    if left_s is None or left_s > 365 * 86_400:
        return min(default_s, cap_s)
    return max(0.0, min(left_s, cap_s))
