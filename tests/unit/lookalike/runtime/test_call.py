"""A call's id: the caller's own where it is plain, in every line of the log, in every answer, and on to the next service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from lookalike.errors import InvalidArgument
from lookalike.runtime.call import REQUEST_ID_HEADER, current_request_id, named, outgoing, request_id_from
from lookalike.runtime.channels import open_aio_channel, open_channel
from lookalike.runtime.server import Servicer, build_aio_server, build_server
from lookalike.v1 import collection_service_pb2 as collections
from lookalike.v1 import collection_service_pb2_grpc as collections_rpc
from lookalike.v1 import ingest_service_pb2 as jobs
from lookalike.v1 import ingest_service_pb2_grpc as jobs_rpc

COLLECTIONS = collections.DESCRIPTOR.services_by_name["CollectionService"].full_name
JOBS = jobs.DESCRIPTOR.services_by_name["IngestService"].full_name
OWN = "7f3c:shop-41"
UNPLAIN = ("two words", "", "x" * 65, "line\nbreak", "naïve", None, b"bytes")


@pytest.mark.parametrize("given", UNPLAIN)
def test_an_id_that_is_no_plain_token_is_replaced(given: str) -> None:
    made = request_id_from(given)
    assert made != given
    assert request_id_from(made) == made


def test_two_calls_without_an_id_get_different_ones() -> None:
    assert request_id_from(None) != request_id_from(None)


def test_the_id_goes_on_to_the_service_that_is_called_and_ends_with_the_call() -> None:
    with named(OWN):
        assert (REQUEST_ID_HEADER, OWN) in outgoing()
    assert current_request_id() == ""
    assert outgoing() == ()


def test_a_stream_that_another_thread_ends_is_no_error() -> None:
    def stream() -> Generator[int]:
        with named(OWN):
            yield 1

    begun, caught = stream(), list[Exception]()
    next(begun)

    def end() -> None:
        try:
            begun.close()
        except Exception as error:  # noqa: BLE001 - the test's own look
            caught.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert caught == []


def get(request: collections.GetCollectionRequest) -> collections.GetCollectionResponse:
    structlog.get_logger().info("at work", name=request.name)
    if request.name == "bad":
        raise InvalidArgument("name", "is bad")
    return collections.GetCollectionResponse(collection=collections.Collection(description=current_request_id()))


class Threaded(collections_rpc.CollectionServiceServicer, jobs_rpc.IngestServiceServicer):
    def GetCollection(self, request: Any, context: Any) -> Any:
        return get(request)

    def WatchIngestJob(self, request: Any, context: Any) -> Iterator[Any]:
        for _ in range(2):
            yield jobs.WatchIngestJobResponse(job=jobs.IngestJob(id=current_request_id()))


class OnLoop(collections_rpc.CollectionServiceServicer, jobs_rpc.IngestServiceServicer):
    async def GetCollection(self, request: Any, context: Any) -> Any:
        return await asyncio.to_thread(get, request)

    async def WatchIngestJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield jobs.WatchIngestJobResponse(job=jobs.IngestJob(id=current_request_id()))


def servicers(both: Any) -> list[Servicer]:
    return [
        Servicer(collections_rpc.add_CollectionServiceServicer_to_server, both, COLLECTIONS),
        Servicer(jobs_rpc.add_IngestServiceServicer_to_server, both, JOBS),
    ]


def logged() -> Any:
    return capture_logs(processors=[structlog.contextvars.merge_contextvars])


def check(lines: list[Any], seen: list[str], answered: list[str]) -> None:
    """One call with an id of its own, one without, one that ends in an error, and a stream."""
    own, made, failed, *streamed = seen
    assert own == OWN
    assert made
    assert made != OWN
    assert failed == OWN
    assert streamed == [OWN, OWN]
    assert answered == [own, made, failed, OWN]
    assert [line["request_id"] for line in lines if line["event"] == "at work"] == [own, made, failed]


def id_of(trailer: Any) -> str:
    return str(next(value for name, value in trailer if name == REQUEST_ID_HEADER))


def test_a_threaded_server_names_each_call_in_its_log_and_its_answer() -> None:
    server = build_server(servicers(Threaded()), address="127.0.0.1:0", threads=2, max_concurrent=8)
    server.start()
    own, seen, answered = ((REQUEST_ID_HEADER, OWN),), list[str](), list[str]()
    with open_channel(f"127.0.0.1:{server.port}") as channel, logged() as lines:
        stub = collections_rpc.CollectionServiceStub(channel)
        for metadata in (own, ((REQUEST_ID_HEADER, "not plain"),)):
            answer, call = stub.GetCollection.with_call(collections.GetCollectionRequest(), timeout=10, metadata=metadata)
            seen.append(answer.collection.description)
            answered.append(id_of(call.trailing_metadata()))
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetCollection(collections.GetCollectionRequest(name="bad"), timeout=10, metadata=own)
        answered.append(id_of(refused.value.trailing_metadata()))
        seen.append(OWN)
        stream = jobs_rpc.IngestServiceStub(channel).WatchIngestJob(jobs.WatchIngestJobRequest(), timeout=10, metadata=own)
        seen += [one.job.id for one in stream]
        answered.append(id_of(stream.trailing_metadata()))
    server.stop(0)
    check(lines, seen, answered)


def test_an_asyncio_server_names_each_call_in_its_log_and_its_answer() -> None:
    seen, answered = list[str](), list[str]()

    async def scenario() -> Any:
        server = await build_aio_server(servicers(OnLoop()), address="127.0.0.1:0")
        await server.start()
        own = ((REQUEST_ID_HEADER, OWN),)
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = collections_rpc.CollectionServiceStub(channel)
            with logged() as lines:
                for metadata in (own, ((REQUEST_ID_HEADER, "not plain"),)):
                    call = stub.GetCollection(collections.GetCollectionRequest(), timeout=10, metadata=metadata)
                    seen.append((await call).collection.description)
                    answered.append(id_of(await call.trailing_metadata()))
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.GetCollection(collections.GetCollectionRequest(name="bad"), timeout=10, metadata=own)
                answered.append(id_of(refused.value.trailing_metadata()))
                seen.append(OWN)
                watch: Any = jobs_rpc.IngestServiceStub(channel)
                stream = watch.WatchIngestJob(jobs.WatchIngestJobRequest(), timeout=10, metadata=own)
                seen.extend([one.job.id async for one in stream])
                answered.append(id_of(await stream.trailing_metadata()))
        await server.stop(0)
        return lines

    check(asyncio.run(scenario()), seen, answered)
