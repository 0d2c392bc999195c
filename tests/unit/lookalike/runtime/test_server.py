"""Both kinds of server answer health checks and turn exceptions into statuses with details."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike.errors import InvalidArgument, LookalikeError, Overloaded, Unavailable
from lookalike.names import MAX_MESSAGE_BYTES
from lookalike.runtime.channels import open_aio_channel, open_channel
from lookalike.runtime.server import Servicer, build_aio_server, build_server
from lookalike.runtime.telemetry import serve_metrics
from lookalike.v1 import collection_service_pb2 as messages
from lookalike.v1 import collection_service_pb2_grpc as rpc
from lookalike.v1 import ingest_service_pb2 as ingest_messages
from lookalike.v1 import ingest_service_pb2_grpc as ingest_rpc
from lookalike.wire.status import from_rpc_error

NAME = messages.DESCRIPTOR.services_by_name["CollectionService"].full_name
SECRET = "the database password"
GET = f"/{NAME}/GetCollection"
UPLOAD = "/lookalike.v1.IngestService/UploadItems"
NOT_UTF8 = b"\x0a\x02\xff\xfe"
"""A first field that is a string and not UTF-8, or a message and none."""


class Failing(rpc.CollectionServiceServicer):
    def GetCollection(self, request: messages.GetCollectionRequest, context: Any) -> NoReturn:
        raise InvalidArgument("name", "is missing")

    def DeleteCollection(self, request: messages.DeleteCollectionRequest, context: Any) -> NoReturn:
        raise ValueError(SECRET)


class FailingAio(rpc.CollectionServiceServicer):
    async def GetCollection(self, request: messages.GetCollectionRequest, context: Any) -> NoReturn:
        raise InvalidArgument("name", "is missing")

    async def DeleteCollection(self, request: messages.DeleteCollectionRequest, context: Any) -> NoReturn:
        raise ValueError(SECRET)


def check(calls: list[LookalikeError]) -> None:
    invalid, defect = calls
    assert isinstance(invalid, InvalidArgument)
    assert invalid.field == "name"
    assert defect.reason == "INTERNAL"
    assert defect.metadata["incident"] in defect.message
    assert SECRET not in defect.message


def test_a_threaded_server_translates_errors_and_hides_defects() -> None:
    servicer = Servicer(rpc.add_CollectionServiceServicer_to_server, Failing(), NAME)
    server = build_server([servicer], address="127.0.0.1:0", threads=2, max_concurrent=8)
    server.start()
    with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = rpc.CollectionServiceStub(channel)
        caught = []
        calls: tuple[tuple[Callable[..., object], Message], ...] = (
            (stub.GetCollection, messages.GetCollectionRequest()),
            (stub.DeleteCollection, messages.DeleteCollectionRequest()),
        )
        for call, request in calls:
            with pytest.raises(grpc.RpcError) as error:
                call(request, timeout=10)
            caught.append(from_rpc_error(error.value, "gateway"))
        check(caught)
        health = health_pb2_grpc.HealthStub(channel)
        for ready, expected in ((False, 2), (True, 1)):
            server.set_ready(ready)
            for name in ("", NAME):
                assert health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status == expected
    server.stop(0)


def test_an_asyncio_server_translates_errors_and_hides_defects() -> None:
    async def scenario() -> None:
        servicer = Servicer(rpc.add_CollectionServiceServicer_to_server, FailingAio(), NAME)
        server = await build_aio_server([servicer], address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = rpc.CollectionServiceStub(channel)
            caught = []
            for call, request in (
                (stub.GetCollection, messages.GetCollectionRequest()),
                (stub.DeleteCollection, messages.DeleteCollectionRequest()),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call(request, timeout=10)
                caught.append(from_rpc_error(error.value, "gateway"))
            check(caught)
        await server.stop(0)

    asyncio.run(scenario())


class Taking(ingest_rpc.IngestServiceServicer):
    def UploadItems(self, requests: Iterator[Any], context: Any) -> ingest_messages.UploadItemsResponse:
        return ingest_messages.UploadItemsResponse(items=sum(1 for _ in requests))


class TakingAio(ingest_rpc.IngestServiceServicer):
    async def UploadItems(self, requests: AsyncIterator[Any], context: Any) -> ingest_messages.UploadItemsResponse:
        return ingest_messages.UploadItemsResponse(items=len([request async for request in requests]))


UNKNOWN = b"\x7a\x01x"
"""A field that no request has."""


def check_unknown(error: LookalikeError) -> None:
    assert (type(error), error.field, error.reason) == (InvalidArgument, "request", "FIELD_UNKNOWN")


def check_unreadable(error: LookalikeError, name: str) -> None:
    assert isinstance(error, InvalidArgument)
    assert (error.field, error.reason) == ("request", "REQUEST_UNREADABLE")
    assert name in error.message
    assert "<class" not in error.message


def test_a_threaded_server_refuses_bytes_that_are_no_message() -> None:
    servicers = [
        Servicer(rpc.add_CollectionServiceServicer_to_server, Failing(), NAME),
        Servicer(ingest_rpc.add_IngestServiceServicer_to_server, Taking(), "lookalike.v1.IngestService"),
    ]
    server = build_server(servicers, address="127.0.0.1:0", threads=2, max_concurrent=8)
    server.start()
    with open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(GET)(NOT_UTF8, timeout=10)  # type: ignore[arg-type]
        check_unreadable(from_rpc_error(error.value, "gateway"), "GetCollectionRequest")
        with pytest.raises(grpc.RpcError) as error:
            channel.stream_unary(UPLOAD)(iter([b"", NOT_UTF8]), timeout=10)  # type: ignore[arg-type]
        check_unreadable(from_rpc_error(error.value, "gateway"), "UploadItemsRequest")
        with pytest.raises(grpc.RpcError) as error:
            channel.stream_unary(UPLOAD)(iter([b"", UNKNOWN]), timeout=10)  # type: ignore[arg-type]
        check_unknown(from_rpc_error(error.value, "gateway"))
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(GET)(UNKNOWN, timeout=10)  # type: ignore[arg-type]
        assert from_rpc_error(error.value, "gateway").field == "name"  # It changes nothing: the servicer is asked.
        answer: bytes = channel.stream_unary(UPLOAD)(iter([b"", b""]), timeout=10)  # type: ignore[arg-type]
        assert ingest_messages.UploadItemsResponse.FromString(answer).items == 2
    server.stop(0)


def test_an_asyncio_server_refuses_bytes_that_are_no_message() -> None:
    async def scenario() -> None:
        servicers = [
            Servicer(rpc.add_CollectionServiceServicer_to_server, FailingAio(), NAME),
            Servicer(ingest_rpc.add_IngestServiceServicer_to_server, TakingAio(), "lookalike.v1.IngestService"),
        ]
        server = await build_aio_server(servicers, address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(GET)(NOT_UTF8, timeout=10)  # type: ignore[arg-type]
            check_unreadable(from_rpc_error(error.value, "gateway"), "GetCollectionRequest")
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.stream_unary(UPLOAD)(iter([b"", NOT_UTF8]), timeout=10)  # type: ignore[arg-type]
            check_unreadable(from_rpc_error(error.value, "gateway"), "UploadItemsRequest")
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.stream_unary(UPLOAD)(iter([b"", UNKNOWN]), timeout=10)  # type: ignore[arg-type]
            check_unknown(from_rpc_error(error.value, "gateway"))
            answer: bytes = await channel.stream_unary(UPLOAD)(iter([b"", b""]), timeout=10)  # type: ignore[arg-type]
            assert ingest_messages.UploadItemsResponse.FromString(answer).items == 2
        await server.stop(0)

    asyncio.run(scenario())


def test_a_port_in_use_is_said_in_one_line() -> None:
    first = build_server([], address="127.0.0.1:0", threads=1, max_concurrent=1)
    first.start()
    with pytest.raises(Unavailable, match="cannot listen"):
        build_server([], address=f"127.0.0.1:{first.port}", threads=1, max_concurrent=1)
    first.stop(0)


def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    with open_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as error:
        rpc.CollectionServiceStub(channel).GetCollection(messages.GetCollectionRequest(), timeout=10)
    back = from_rpc_error(error.value, "gateway")
    assert isinstance(back, Unavailable)
    assert back.metadata["dependency"] == "gateway"


def test_a_cancelled_call_without_details_reads_as_a_server_that_is_away() -> None:
    class Drained(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.CANCELLED

        def details(self) -> str:
            return "Server shutdown"

        def trailing_metadata(self) -> tuple[()]:
            return ()

    assert isinstance(from_rpc_error(Drained(), "embedder"), Unavailable)


@pytest.mark.parametrize("sender_limits", [True, False])
def test_a_message_over_the_limit_is_the_request_s_fault_whichever_side_refuses(sender_limits: bool) -> None:
    server = build_server(
        [Servicer(rpc.add_CollectionServiceServicer_to_server, Failing(), NAME)],
        address="127.0.0.1:0",
        threads=2,
        max_concurrent=8,
    )
    server.start()
    request = messages.GetCollectionRequest(name="x" * (MAX_MESSAGE_BYTES + 1))
    target = f"127.0.0.1:{server.port}"
    channel = open_channel(target) if sender_limits else grpc.insecure_channel(target)
    with channel, pytest.raises(grpc.RpcError) as error:
        rpc.CollectionServiceStub(channel).GetCollection(request, timeout=10)
    server.stop(0)
    back = from_rpc_error(error.value, "gateway")
    assert isinstance(back, InvalidArgument)
    assert (back.reason, back.retry_after_s) == ("MESSAGE_TOO_LARGE", None)


def test_a_call_beyond_the_limit_is_refused_at_once_and_may_be_tried_again() -> None:
    begun, let_go = threading.Event(), threading.Event()

    class Busy(rpc.CollectionServiceServicer):
        def GetCollection(self, request: messages.GetCollectionRequest, context: Any) -> messages.GetCollectionResponse:
            begun.set()
            let_go.wait(10)
            return messages.GetCollectionResponse()

    servicer = Servicer(rpc.add_CollectionServiceServicer_to_server, Busy(), NAME)
    server = build_server([servicer], address="127.0.0.1:0", threads=1, max_concurrent=1)
    server.start()
    with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = rpc.CollectionServiceStub(channel)
        first = stub.GetCollection.future(messages.GetCollectionRequest(), timeout=10)
        assert begun.wait(10)
        with pytest.raises(grpc.RpcError) as error:
            stub.GetCollection(messages.GetCollectionRequest(), timeout=10)
        let_go.set()
        first.result()
    server.stop(0)
    back = from_rpc_error(error.value, "gateway")
    assert isinstance(back, Overloaded)
    assert back.retry_after_s


def test_metrics_on_a_port_in_use_are_refused_in_one_line() -> None:
    first = build_server([], address="127.0.0.1:0", threads=1, max_concurrent=1)
    first.start()
    with pytest.raises(Unavailable, match="metrics"):
        serve_metrics(first.port)
    first.stop(0)
