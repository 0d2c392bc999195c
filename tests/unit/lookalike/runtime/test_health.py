"""Probes get their answer whatever the load, and callers who leave count as no error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from lookalike.errors import Overloaded
from lookalike.runtime.channels import open_aio_channel, open_channel
from lookalike.runtime.peers import PeerBounds
from lookalike.runtime.probe import check_serving, problem
from lookalike.runtime.server import LIVENESS, AioServer, Servicer, build_aio_server, build_health_server
from lookalike.v1 import ingest_service_pb2 as messages
from lookalike.v1 import ingest_service_pb2_grpc as rpc
from lookalike.wire.status import from_rpc_error
from tests.servers.processes import free_port

NAME = messages.DESCRIPTOR.services_by_name["IngestService"].full_name
WATCH = f"{NAME}/WatchIngestJob"
GET = f"{NAME}/GetIngestJob"


class Waiting(rpc.IngestServiceServicer):
    """Answers nothing; `begun` is set when a call has come."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def GetIngestJob(self, request: Any, context: Any) -> messages.GetIngestJobResponse:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def WatchIngestJob(self, request: Any, context: Any) -> AsyncIterator[messages.WatchIngestJobResponse]:
        while True:
            yield messages.WatchIngestJobResponse()
            await asyncio.sleep(0)


async def serving(waiting: Waiting, *, bounds: PeerBounds = PeerBounds(), health: str | None = None) -> AioServer:  # noqa: B008
    servicer = Servicer(rpc.add_IngestServiceServicer_to_server, waiting, NAME)
    server = await build_aio_server([servicer], address="127.0.0.1:0", health_address=health, bounds=bounds)
    await server.start()
    await server.set_ready(True)
    return server


def counted(method: str, code: str) -> float:
    return REGISTRY.get_sample_value("lookalike_rpc_seconds_count", {"method": method, "code": code}) or 0.0


def test_probes_are_answered_at_both_addresses_while_the_server_refuses_calls() -> None:
    async def scenario() -> None:
        waiting, health = Waiting(), f"127.0.0.1:{free_port()}"
        server = await serving(waiting, bounds=PeerBounds(calls=1), health=health)
        target = f"127.0.0.1:{server.port}"
        async with open_aio_channel(target) as channel:
            stub: Any = rpc.IngestServiceStub(channel)
            call = stub.GetIngestJob(messages.GetIngestJobRequest(), timeout=30)
            await asyncio.wait_for(waiting.begun.wait(), 10)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetIngestJob(messages.GetIngestJobRequest(), timeout=30)
            assert isinstance(from_rpc_error(refused.value, "gateway"), Overloaded)
            for address in (target, health):
                assert await asyncio.to_thread(problem, address) == ""
                assert await asyncio.to_thread(problem, address, LIVENESS) == ""
            call.cancel()
        await server.set_ready(False)
        assert await asyncio.to_thread(problem, health) == f"{health} says NOT_SERVING"
        await server.stop(0)

    asyncio.run(scenario())


def test_a_service_that_refuses_a_health_check_for_its_load_does_its_part() -> None:
    async def scenario() -> None:
        server = await serving(Waiting(), bounds=PeerBounds(arriving=0))
        target = f"127.0.0.1:{server.port}"
        assert "RESOURCE_EXHAUSTED" in await asyncio.to_thread(problem, target)
        with open_channel(target) as other:
            await asyncio.to_thread(check_serving, other, "embedder")
        await server.stop(0)

    asyncio.run(scenario())


def test_callers_who_leave_count_as_cancelled_and_as_no_error() -> None:
    async def scenario() -> None:
        waiting = Waiting()
        server = await serving(waiting)
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = rpc.IngestServiceStub(channel)
            call = stub.GetIngestJob(messages.GetIngestJobRequest(), timeout=30)
            await asyncio.wait_for(waiting.begun.wait(), 10)
            call.cancel()
            watch = stub.WatchIngestJob(messages.WatchIngestJobRequest(), timeout=30)
            await watch.read()
            watch.cancel()
            async with asyncio.timeout(10):
                while not (counted(GET, "CANCELLED") and counted(WATCH, "CANCELLED")):
                    await asyncio.sleep(0.01)
        await server.stop(0)

    asyncio.run(scenario())
    assert (counted(GET, "INTERNAL"), counted(WATCH, "INTERNAL")) == (0.0, 0.0)
    errors = {"method": WATCH, "reason": "INTERNAL"}
    assert REGISTRY.get_sample_value("lookalike_rpc_errors_total", errors) is None


def test_a_server_for_health_alone_is_there_where_it_has_an_address() -> None:
    assert build_health_server(None) is None
    server = build_health_server("127.0.0.1:0")
    assert server is not None
    target = f"127.0.0.1:{server.port}"
    assert (problem(target, LIVENESS), problem(target)) == ("", f"{target} says NOT_SERVING")
    server.stop(0)
