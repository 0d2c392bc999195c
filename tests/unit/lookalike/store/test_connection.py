"""How a Milvus that refuses is reported: by a server that answers every call alike, and the real client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from lookalike.errors import BadFilter, Internal, InvalidArgument, LookalikeError, Unavailable
from lookalike.store.milvus.connection import MilvusAccessDenied, _translated, connect


@contextmanager
def milvus_that_answers(code: grpc.StatusCode) -> Iterator[str]:
    class Refusing(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
            def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
                context.abort(code, "no")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_a_refused_token_is_reported_at_once_and_is_worth_trying_again(code: grpc.StatusCode) -> None:
    with milvus_that_answers(code) as uri, pytest.raises(MilvusAccessDenied, match="LOOKALIKE_MILVUS_TOKEN_FILE") as refused:
        connect(uri, "user:secret", timeout_s=30)
    # What is `Unavailable` a job waits for; anything else would end it while somebody changes the password.
    assert isinstance(refused.value, Unavailable)
    assert refused.value.reason == "MILVUS_ACCESS_DENIED"
    assert "secret" not in refused.value.message


def test_a_server_that_is_no_milvus_is_no_outage() -> None:
    with milvus_that_answers(grpc.StatusCode.UNIMPLEMENTED) as uri, pytest.raises(Internal):
        connect(uri, timeout_s=30)


def _surrogate() -> UnicodeEncodeError:
    try:
        "\ud800".encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (_surrogate(), InvalidArgument),
        (ValueError("Cannot invoke RPC on closed channel!"), Unavailable),
        (ValueError("dimension must be above 0"), Internal),
        (MilvusException(1100, "failed to create query plan: cannot parse expression: metadata[x"), BadFilter),
        (MilvusException(65535, "cannot parse expression: a, error: line 1:3"), BadFilter),
        (MilvusException(1, "something else"), Internal),
    ],
)
def test_what_a_caller_wrote_is_no_outage_of_milvus(raised: Exception, expected: type[LookalikeError]) -> None:
    with pytest.raises(expected), _translated():
        raise raised


def test_a_read_whose_channel_moves_meanwhile_may_be_tried_again() -> None:
    said = "failed to query: channel not available[channel=by-dev-rootcoord-dml_3_47v0]: delegator closed during wait tsafe"
    with pytest.raises(Unavailable, match="recovering"), _translated():
        raise MilvusException(65535, said)
