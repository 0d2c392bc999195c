"""Readiness probes, one per kind of part, each answered within a second or so. They use no store and no ledger, so that
`lookalike up` itself stays light."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike.local.ports import HOST

_PROBE_S = 1.0
_MILVUS_VERSION = "/milvus.proto.milvus.MilvusService/GetVersion"
# The environment's proxy cannot reach this machine's loopback.
_NO_PROXY: tuple[tuple[str, int], ...] = (("grpc.enable_http_proxy", 0),)


def redis_ready(port: int) -> bool:
    """Whether a Redis-compatible server answers PING with PONG (it says LOADING while it reads its file)."""
    try:
        with socket.create_connection((HOST, port), timeout=_PROBE_S) as connection:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def milvus_ready(port: int) -> bool:
    """Whether a Milvus server answers `GetVersion` (an empty request; any answer will do)."""
    with grpc.insecure_channel(f"{HOST}:{port}", options=_NO_PROXY) as channel:
        try:
            ask = channel.unary_unary(_MILVUS_VERSION, _as_is, _as_is)
            return bool(ask(b"", timeout=_PROBE_S))
        except grpc.RpcError:
            return False


def grpc_ready(port: int) -> bool:
    """Whether a gRPC server's health service says SERVING."""
    with grpc.insecure_channel(f"{HOST}:{port}", options=_NO_PROXY) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def http_ready(port: int, path: str) -> bool:
    """Whether `http://127.0.0.1:port/path` answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}{path}", timeout=_PROBE_S) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _as_is(message: bytes) -> bytes:
    return message
