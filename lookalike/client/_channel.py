"""The client's channel to the gateway with its retry policy, and the one place where the client translates RPC errors."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from lookalike.client import _arguments
from lookalike.errors import InvalidArgument, LookalikeError, Unavailable
from lookalike.runtime.channels import OPTIONS
from lookalike.v1 import (
    collection_service_pb2,
    collection_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from lookalike.wire.status import from_rpc_error

GATEWAY = "gateway"
_FILES = (search_service_pb2.DESCRIPTOR, collection_service_pb2.DESCRIPTOR, ingest_service_pb2.DESCRIPTOR)
_UNKNOWN = MethodOptions.IDEMPOTENCY_UNKNOWN


def _may_be_repeated(method: MethodDescriptor) -> bool:
    """By the contract's `idempotency_level`, or by the request id that the client sends wherever a field takes it."""
    return method.GetOptions().idempotency_level != _UNKNOWN or "request_id" in method.input_type.fields_by_name


SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": service.full_name, "method": method.name}
                    for file in _FILES
                    for service in file.services_by_name.values()
                    for method in service.methods
                    if _may_be_repeated(method)
                ],
                # Tries take about a second in all. That bridges a restart behind a load balancer, and a person at a terminal
                # without a running system still gets the error at once.
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # A stopping server answers calls that it has not begun with a bare CANCELLED.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
    }
)

Q = TypeVar("Q")
R = TypeVar("R")


class Calls:
    """A channel, its stubs and a default deadline. `target` is `HOST:PORT` or any gRPC name, `timeout_s` is above 0.

    Safe to share between threads. Base of the classes that make up `Client`.
    """

    def __init__(self, target: str, timeout_s: float) -> None:
        timeout_s = _arguments.timeout(timeout_s)
        if isinstance(target, str) and target.lower().startswith(("http://", "https://", "grpc://")):
            raise InvalidArgument(
                "address", f"{target!r} is a URL; give HOST:PORT of the gateway's gRPC, such as 127.0.0.1:50051"
            )
        host, _, port = _arguments.text("address", target).rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16):
            raise InvalidArgument("address", f"{target!r} is not HOST:PORT, such as 127.0.0.1:50051")
        self.target = target
        self._timeout_s = timeout_s
        options = dict(OPTIONS) | {"grpc.service_config": SERVICE_CONFIG}
        # A client may be behind a proxy, but no proxy reaches this machine's loopback.
        options["grpc.enable_http_proxy"] = 0 if _is_loopback(host) else 1
        self._channel = grpc.insecure_channel(target, options=tuple(options.items()))
        self._search = search_service_pb2_grpc.SearchServiceStub(self._channel)
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(self._channel)
        self._ingest = ingest_service_pb2_grpc.IngestServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls under way end with `Cancelled`."""
        self._channel.close()

    def _call(self, method: grpc.UnaryUnaryMultiCallable[Q, R], request: Q, timeout_s: float | None = None) -> R:
        with_deadline_s = self._deadline(timeout_s)
        return self._translated(lambda: method(request, timeout=with_deadline_s))

    def _pages(self, method: grpc.UnaryUnaryMultiCallable[Any, R], request: Any, timeout_s: float) -> Iterator[R]:
        """Every page of a list from `request` on, as it is needed. `timeout_s` is for each."""
        while True:
            page: Any = self._call(method, request, timeout_s)
            yield page
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def _deadline(self, timeout_s: float | None) -> float:
        """The deadline of a call in seconds; the client's own for None."""
        return self._timeout_s if timeout_s is None else _arguments.timeout(timeout_s)

    def _translated(self, call: Callable[[], R]) -> R:
        try:
            return call()
        except grpc.RpcError as error:
            raise self._error(error) from error
        except ValueError as error:
            # gRPC raises it for a call on a closed channel.
            raise Unavailable(GATEWAY, str(error)) from error

    def _stream(self, start: Callable[[], Iterator[R]]) -> Iterator[R]:
        try:
            yield from self._translated(start)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.RpcError) -> LookalikeError:
        translated = from_rpc_error(error, GATEWAY)
        if isinstance(translated, Unavailable) and translated.metadata.get("dependency") == GATEWAY:
            # gRPC reports a chain of causes; the last cause is the helpful part.
            return Unavailable(GATEWAY, f"nothing answers at {self.target} ({translated.message.rpartition(': ')[2]})")
        return translated


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
