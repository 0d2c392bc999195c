"""Probes of gRPC health services: services probe their dependencies, and a container's health check probes its process.

    python -m lookalike.runtime.probe HOST:PORT [SERVICE]

ends with 0 for SERVING, else with 1 and a line with the answer. SERVICE is "" (ready) or `liveness`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike.errors import Unavailable, one_line
from lookalike.wire.status import from_rpc_error

_TIMEOUT_S = 3.0
_SAID = 300
"""Bounds the characters of gRPC's text."""


def problem(target: str, service: str = "") -> str:
    """The reason why the server at `target` is not serving; "" where it is."""
    # No proxy, whatever the environment says: the process is on this machine.
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=_TIMEOUT_S
            )
        except grpc.RpcError as error:
            details = one_line(error.details() or "", _SAID)
            return f"{target} does not answer: {error.code().name}: {details}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{target} says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def check_serving(channel: grpc.Channel, dependency: str, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Raise `Unavailable` (or the error of the call) unless the health service at the other end says SERVING. Blocks.

    A service that refuses the probe because of its load counts as serving.
    """
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return
        raise from_rpc_error(error, dependency) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable(dependency, "it is warming up or shutting down")


def main(arguments: Sequence[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: python -m lookalike.runtime.probe HOST:PORT [SERVICE]\n")
        return 2
    found = problem(*arguments)
    if found:
        sys.stderr.write(f"{found}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
