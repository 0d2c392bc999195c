"""Channels to other services, and how much time a call has left."""

from __future__ import annotations

import json
from typing import Protocol

import grpc
import grpc.aio

from lookalike.names import MAX_MESSAGE_BYTES

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
"""Spread calls over every address a name resolves to: a headless Kubernetes service gives one a pod."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A dead peer is noticed within 40 s even where no reset arrives; servers allow pings this often (see `server.OPTIONS`).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A peer that restarts is found again within a second or so; the default grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", _SERVICE_CONFIG),
    # Services call each other inside one network; a proxy of the environment is for what lies outside it.
    ("grpc.enable_http_proxy", 0),
)


class Timed(Protocol):
    """What tells how long a caller will wait: a gRPC server context, sync or asyncio."""

    def time_remaining(self) -> float | None:
        """Seconds left, or None where the caller set no deadline."""


def open_channel(target: str) -> grpc.Channel:
    """A channel for threads. Open it after any fork; close it when done."""
    return grpc.insecure_channel(target, options=OPTIONS)


def open_aio_channel(target: str) -> grpc.aio.Channel:
    """A channel for asyncio. Open it inside the loop that uses it."""
    return grpc.aio.insecure_channel(target, options=OPTIONS)


def remaining_s(context: Timed, *, default_s: float, cap_s: float) -> float:
    """Seconds that the work for this call may still take: the caller's, or `default_s`; never more than `cap_s`.

    gRPC reports a deadline that was not set as a very large number, which the cap takes care of.
    """
    left_s = context.time_remaining()
    if left_s is None or left_s > 365 * 86_400:
        return min(default_s, cap_s)
    return max(0.0, min(left_s, cap_s))
