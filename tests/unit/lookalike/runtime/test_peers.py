"""What slow and silent peers of gRPC servers may cost, tried by one that speaks raw HTTP/2."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from lookalike.errors import Overloaded
from lookalike.runtime.channels import open_aio_channel
from lookalike.runtime.peers import PeerBounds
from lookalike.runtime.probe import problem
from lookalike.runtime.server import Servicer, build_aio_server, build_server
from lookalike.v1 import embedder_service_pb2 as embedder_pb
from lookalike.v1 import embedder_service_pb2_grpc as embedder_rpc
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.v1 import ingest_service_pb2_grpc as rpc
from lookalike.wire.status import from_rpc_error
from tests.servers.raw_http2 import RawHttp2

NAME = pb.DESCRIPTOR.services_by_name["IngestService"].full_name
GET, UPLOAD, WATCH = (f"/{NAME}/{method}" for method in ("GetIngestJob", "UploadItems", "WatchIngestJob"))
HEADER = pb.UploadItemsRequest(header=pb.UploadHeader(collection="things")).SerializeToString()
ASK = pb.GetIngestJobRequest(id="x")
SMALL = PeerBounds(arriving=8, calls=4, streams=2, uploads=3, silence_s=0.4)
"""Bounds under which a silent peer has .1 s."""
LARGE = 4_000_000
# A call that our side has ended is closed at once, but for one of each method, or two: grpc.aio holds them until others come.


class Jobs(rpc.IngestServiceServicer):
    """Answers at once, with `LARGE` bytes for the job `large`; a watch is answered once, then waits."""

    async def GetIngestJob(self, request: Any, context: Any) -> pb.GetIngestJobResponse:
        error = "x" * LARGE if request.id == "large" else ""
        return pb.GetIngestJobResponse(job=pb.IngestJob(id=request.id, request_id=error))

    async def UploadItems(self, requests: AsyncIterator[Any], context: Any) -> pb.UploadItemsResponse:
        return pb.UploadItemsResponse(items=len([request async for request in requests]))

    async def WatchIngestJob(self, request: Any, context: Any) -> AsyncIterator[pb.WatchIngestJobResponse]:
        yield pb.WatchIngestJobResponse()
        await asyncio.Event().wait()


Talk = Callable[[Any, Callable[..., Awaitable[RawHttp2]]], Awaitable[None]]


def against(talk: Talk, bounds: PeerBounds = SMALL) -> None:
    """Run `talk(stub, raw)` with a well-behaved client and a way to open raw connections."""

    async def run() -> None:
        servicer = Servicer(rpc.add_IngestServiceServicer_to_server, Jobs(), NAME)
        server = await build_aio_server([servicer], address="127.0.0.1:0", bounds=bounds)
        await server.start()
        peers = []

        async def raw(**options: int) -> RawHttp2:
            peers.append(await RawHttp2.open(server.port, **options))
            return peers[-1]

        try:
            async with open_aio_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(20):
                await talk(rpc.IngestServiceStub(channel), raw)
        finally:
            for peer in peers:
                peer.close()
            await server.stop(0)

    asyncio.run(run())


async def served(stub: Any) -> None:
    """Each kind of call is answered, after a moment at the most."""
    for ask in (lambda: stub.GetIngestJob(ASK, timeout=5), lambda: stub.UploadItems(iter([HEADER_MESSAGE]), timeout=5)):
        while True:
            try:
                await ask()  # type: ignore[no-untyped-call]
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0.02)  # patience with the silent ones is not over


HEADER_MESSAGE = pb.UploadItemsRequest.FromString(HEADER)


@pytest.mark.parametrize("method", [GET, UPLOAD, WATCH])
def test_calls_that_say_nothing_take_no_places_and_end_in_time(method: str) -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw()
        silent = [peer.call(method) for _ in range(SMALL.arriving)]
        await asyncio.wait_for(served(stub), SMALL.silence_s)
        await peer.until_closed(*silent)

    against(talk)


def test_the_longest_silent_of_requests_on_their_way_makes_room() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw()
        silent = [peer.call(GET) for _ in range(SMALL.arriving + 3)]
        await peer.until_closed(*silent[:3])
        assert silent[-1] not in peer.closed
        await stub.GetIngestJob(ASK, timeout=5)

    against(talk, PeerBounds(arriving=8, silence_s=30.0))


def test_half_a_message_is_none() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw()
        streams = [peer.call(GET) for _ in range(4)]
        for stream in streams:
            peer.send_raw(stream, b"\x00\x00\x00\x10\x00half")
        await served(stub)
        await peer.until_closed(*streams)

    against(talk)


def test_uploads_that_fall_silent_make_room_for_others() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw()
        silent = [peer.call(UPLOAD, HEADER, end=False) for _ in range(SMALL.uploads)]
        await served(stub)
        await peer.until_closed(*silent[:1])

    against(talk, PeerBounds(uploads=SMALL.uploads, silence_s=SMALL.silence_s))


def test_answers_that_nobody_reads_give_up_their_places_and_their_memory() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw(window_bytes=0)
        large = pb.GetIngestJobRequest(id="large").SerializeToString()
        before, stuck = 0, []
        for turn in range(8):
            before = _resident_bytes() if turn == 2 else before  # malloc has taken what it keeps
            stuck += [peer.call(GET, large) for _ in range(SMALL.calls)]
            await served(stub)
            await peer.until_closed(*stuck[: -SMALL.calls])
        await peer.until_closed(*stuck, but=1)
        gc.collect()
        assert _resident_bytes() - before < 4 * SMALL.calls * LARGE  # kept, they would take twelve times as much

    against(talk, PeerBounds(calls=SMALL.calls, silence_s=SMALL.silence_s))


def test_streams_that_nobody_reads_make_room_and_streams_at_work_do_not() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        deaf = await raw(window_bytes=0)
        silent = [deaf.call(WATCH, ASK.SerializeToString()) for _ in range(2)]
        watches: list[Any] = []
        while len(watches) < 2:
            watch = stub.WatchIngestJob(pb.WatchIngestJobRequest(id="x"), timeout=20)
            try:
                await watch.read()
                watches.append(watch)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)
        await deaf.until_closed(*silent, but=1)
        await asyncio.sleep(2 * SMALL.silence_s)  # at work: neither patience nor silence ends them
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WatchIngestJob(pb.WatchIngestJobRequest(id="x"), timeout=5).read()
        error = from_rpc_error(refused.value, "gateway")
        assert isinstance(error, Overloaded)
        assert error.retry_after_s
        assert not any(watch.done() for watch in watches)
        await served(stub)

    against(talk)


def test_talks_about_reflection_and_health_take_nobody_s_place() -> None:
    async def talk(stub: Any, raw: Any) -> None:
        peer = await raw()
        for method in ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/grpc.health.v1.Health/Check"):
            silent = [peer.call(method) for _ in range(SMALL.arriving)]
            await served(stub)
            await peer.until_closed(*silent, but=2)

    against(talk)


class Models(embedder_rpc.EmbedderServiceServicer):
    def ListModels(self, request: Any, context: Any) -> embedder_pb.ListModelsResponse:
        return embedder_pb.ListModelsResponse(device="x" * LARGE if context.time_remaining() > 1e6 else "")


@pytest.mark.parametrize("kind", ["silent", "deaf"])
def test_a_server_with_threads_keeps_none_for_peers_that_keep_it_waiting(kind: str) -> None:
    name = embedder_pb.DESCRIPTOR.services_by_name["EmbedderService"].full_name
    servicer = Servicer(embedder_rpc.add_EmbedderServiceServicer_to_server, Models(), name)
    server = build_server([servicer], address="127.0.0.1:0", threads=4, max_concurrent=4, silence_s=0.4)
    server.start()
    server.set_ready(True)

    async def talk() -> None:
        peer = await RawHttp2.open(server.port, window_bytes=0)
        method = f"/{name}/ListModels"
        kept = [peer.call(method, b"" if kind == "deaf" else None) for _ in range(4)]
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(20):
            stub: Any = embedder_rpc.EmbedderServiceStub(channel)
            while True:
                try:
                    await stub.ListModels(embedder_pb.ListModelsRequest(), timeout=5)
                    break
                except grpc.aio.AioRpcError as error:
                    # Cancelled where newer calls came before its own request: there are places for four only.
                    if error.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED):
                        raise
                    await asyncio.sleep(0.02)
            assert await asyncio.to_thread(problem, f"127.0.0.1:{server.port}") == ""
            await peer.until_closed(*kept)
        peer.close()

    asyncio.run(talk())
    server.stop(0)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
