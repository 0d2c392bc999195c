"""Uploads that break off leave nothing; watches end with their job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from gateway.backends.threads import Threads
from gateway.grpc.servicers import IngestServicer
from gateway.jobs.ingest import Ingest
from lookalike.errors import DeadlineExceeded, InvalidArgument, LookalikeError, NotFound, Overloaded, Unavailable
from lookalike.jobs.uploads import Uploads
from lookalike.records.job_state import JobState
from lookalike.records.source import UploadItem
from lookalike.runtime.call import Deadline
from lookalike.runtime.channels import open_aio_channel
from lookalike.runtime.server import Servicer, build_aio_server
from lookalike.sources import Artifacts
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.v1.ingest_service_pb2_grpc import IngestServiceStub, add_IngestServiceServicer_to_server
from lookalike.wire.status import from_rpc_error
from tests.unit.gateway.fakes import NOTHING, FakeLedger, MemoryBackends, a_call, few_threads, job, soon

T = TypeVar("T")


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


def core(artifacts: Artifacts | None = None, ledger: FakeLedger | None = None, **fields: Any) -> Ingest:
    uploads = Uploads(artifacts) if artifacts else NOTHING
    return Ingest(MemoryBackends(), ledger or FakeLedger(), NOTHING, uploads, NOTHING, NOTHING, few_threads(), **fields)


async def items(*given: UploadItem, then: BaseException | None = None) -> AsyncIterator[UploadItem]:
    for item in given:
        yield item
    if then is not None:
        raise then


def test_a_complete_upload_can_be_named_and_is_counted(artifacts: Artifacts) -> None:
    given = [
        UploadItem("a", "a.png", b"picture", {"label": "Coat"}),
        UploadItem(uri="b.png", problem="permission denied"),
    ]
    uploaded = asyncio.run(core(artifacts).upload("things", items(*given)))
    assert (uploaded.items, uploaded.size_bytes) == (2, 7)
    kept = list(Uploads(artifacts).items(uploaded.id))
    assert [(item.id, item.metadata, item.problem) for item in kept] == [
        ("a", {"label": "Coat"}, ""),
        ("", {}, "permission denied"),
    ]
    assert artifacts.read(kept[0].uri.removeprefix("artifact://")) == b"picture"


@pytest.mark.parametrize("then", [ConnectionError("gone"), asyncio.CancelledError()])
def test_a_stream_that_breaks_off_leaves_no_upload(artifacts: Artifacts, tmp_path: Path, then: BaseException) -> None:
    with pytest.raises(type(then)):
        asyncio.run(core(artifacts).upload("things", items(UploadItem("a", content=b"picture"), then=then)))
    assert [path for path in (tmp_path / "artifacts" / "uploads").rglob("*") if path.is_file()] == []


def test_an_item_of_nothing_is_refused(artifacts: Artifacts) -> None:
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(core(artifacts).upload("things", items(UploadItem("a"))))
    assert raised.value.field == "item"


@pytest.mark.parametrize(("collection", "error"), [("others", NotFound), ("", InvalidArgument)])
def test_an_upload_needs_a_collection_that_exists(artifacts: Artifacts, collection: str, error: type[LookalikeError]) -> None:
    with pytest.raises(error):
        asyncio.run(core(artifacts).upload(collection, items()))


def test_an_upload_waits_for_a_busy_gateway_and_goes_on(artifacts: Artifacts) -> None:
    async def upload() -> int:
        threads = Threads(workers=1, max_waiting=0)
        ingest = Ingest(MemoryBackends(), FakeLedger(), NOTHING, Uploads(artifacts), NOTHING, NOTHING, threads)
        refused = asyncio.Event()

        async def one_by_one() -> AsyncIterator[UploadItem]:
            yield UploadItem("a", content=b"picture")
            let_go = threading.Event()
            occupied = asyncio.ensure_future(threads.run(lambda: let_go.wait(10.0), soon()))
            await asyncio.sleep(0)  # until the call has its thread
            asyncio.get_running_loop().call_later(0.02, let_go.set)
            with pytest.raises(Overloaded):
                await threads.run(lambda: None, soon())
            refused.set()
            yield UploadItem("b", content=b"another")
            assert occupied.done(), "the item was taken when the thread was free again"

        uploaded = await ingest.upload("things", one_by_one())
        assert refused.is_set()
        return uploaded.items

    assert asyncio.run(upload()) == 2


def test_an_upload_does_not_wait_for_a_busy_gateway_beyond_its_item_s_time(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Threads):
        begun = 0

        async def run(self, call: Callable[[], T], deadline: Deadline) -> T:
            self.begun += 1
            if self.begun > 2:  # the collection was found and the upload begun
                raise Overloaded("busy")
            return await super().run(call, deadline)

    monkeypatch.setattr("gateway.jobs.ingest._ITEM_S", 0.12)
    threads = Full(1, 0)
    ingest = Ingest(MemoryBackends(), FakeLedger(), NOTHING, Uploads(artifacts), NOTHING, NOTHING, threads)
    with pytest.raises(Overloaded):
        asyncio.run(ingest.upload("things", items(UploadItem("a", content=b"picture"))))
    assert threads.begun > 3


def test_an_upload_on_which_nothing_comes_is_given_up_and_leaves_nothing(artifacts: Artifacts, tmp_path: Path) -> None:
    async def run() -> LookalikeError:
        servicer = IngestServicer(core(artifacts), idle_s=0.2)
        added = Servicer(add_IngestServiceServicer_to_server, servicer, "lookalike.v1.IngestService")
        server = await build_aio_server([added], address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            call = IngestServiceStub(channel).UploadItems(timeout=10.0)
            await call.write(pb.UploadItemsRequest(header=pb.UploadHeader(collection="things")))
            await call.write(pb.UploadItemsRequest(item=pb.UploadItem(id="a", content=b"picture")))
            with pytest.raises(grpc.RpcError) as raised:
                await call
            await server.stop(0)
            return from_rpc_error(raised.value, "gateway")

    error = asyncio.run(run())
    assert isinstance(error, DeadlineExceeded)
    assert "nothing came for 0.2 s" in error.message
    assert [path for path in (tmp_path / "artifacts" / "uploads").rglob("*") if path.is_file()] == []


def watched(ledger: FakeLedger, **fields: Any) -> list[tuple[JobState, int]]:
    async def watch() -> list[tuple[JobState, int]]:
        moments = core(ledger=ledger, watch_interval_s=0.001, **fields).watch("0123456789abcdef")
        return [(moment.state, moment.counts.indexed) async for moment in moments]

    return asyncio.run(watch())


def test_a_watch_shows_every_change_once_and_ends_with_the_job() -> None:
    moments = [
        job(JobState.PENDING),
        job(JobState.PENDING),
        job(JobState.RUNNING),
        job(JobState.RUNNING, 4),
        job(JobState.RUNNING, 4),
        job(JobState.SUCCEEDED, 10),
    ]
    assert watched(FakeLedger(*moments)) == [
        (JobState.PENDING, 0),
        (JobState.RUNNING, 0),
        (JobState.RUNNING, 4),
        (JobState.SUCCEEDED, 10),
    ]


def test_a_watch_of_an_ended_job_shows_it_once() -> None:
    assert watched(FakeLedger(job(JobState.FAILED))) == [(JobState.FAILED, 0)]


def test_a_watch_repeats_itself_while_nothing_changes() -> None:
    moments = [*[job(JobState.RUNNING, 4)] * 3, job(JobState.SUCCEEDED, 10)]
    assert watched(FakeLedger(*moments), repeat_s=0.0) == [*[(JobState.RUNNING, 4)] * 3, (JobState.SUCCEEDED, 10)]


def test_a_watch_ends_when_the_gateway_drains() -> None:
    async def watch() -> list[JobState]:
        ingest = core(ledger=FakeLedger(job(JobState.RUNNING)), watch_interval_s=60.0)
        seen = []
        async for moment in ingest.watch("0123456789abcdef"):
            seen.append(moment.state)
            ingest.drain()
        return seen

    with pytest.raises(Unavailable, match="shutting down"):
        asyncio.run(watch())


def test_a_watch_of_no_job_is_not_found() -> None:
    with pytest.raises(NotFound):
        watched(FakeLedger())


def test_a_list_of_what_can_be_no_collection_is_refused() -> None:
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(core().page("No", 50, "", a_call()))
    assert raised.value.field == "collection"
