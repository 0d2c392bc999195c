"""Pictures of queries are embedded once: shared while under way, kept for a while, and never across fingerprints.

Against a real gRPC server whose answers a test holds back, so that cancelling and deadlines are gRPC's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from gateway.backends.embedder import Embedder
from gateway.search.query_cache import QueryCache
from gateway.search.query_embeddings import QueryEmbeddings
from lookalike.errors import BadImage, DeadlineExceeded, LookalikeError, Overloaded, Unavailable
from lookalike.records.collection import Collection
from lookalike.runtime.call import Deadline
from lookalike.runtime.channels import open_aio_channel
from lookalike.runtime.server import Servicer, build_aio_server
from lookalike.spaces import HISTOGRAM, SIAMESE
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.v1.embedder_service_pb2_grpc import EmbedderServiceServicer, add_EmbedderServiceServicer_to_server
from lookalike.wire.spaces import space_message
from lookalike.wire.status import to_status
from tests.unit.gateway.fakes import COLLECTION, SPACES, a_call, few_threads

SPACE = SPACES[1]
NO_CACHE = (0, 0)


class HeldBack(EmbedderServiceServicer):
    """Answers once `open` is set: each picture's vector holds its length. `calls` has the pictures of each call, `cancelled`
    counts those whose caller went."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.requests: list[pb.EmbedRequest] = []
        self.cancelled = 0
        self.fail: LookalikeError | None = None
        self.open = asyncio.Event()
        self.changed = asyncio.Condition()

    async def Embed(self, request: pb.EmbedRequest, context: object) -> pb.EmbedResponse:
        self.requests.append(request)
        self.calls.append(list(request.images))
        await self._notify()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await self._notify()
            raise
        if self.fail:
            raise self.fail
        named = {space.name: space for space in SPACES}
        names = [asked.spec.name for asked in request.spaces]
        spaces = [space_message(replace(named[one.spec.name], fingerprint=one.fingerprint)) for one in request.spaces]
        return pb.EmbedResponse(spaces=spaces, results=[self._result(image, names) for image in request.images])

    def _result(self, image: bytes, names: Iterable[str]) -> pb.EmbedResult:
        if image.startswith(b"bad"):
            return pb.EmbedResult(error=to_status(BadImage("ends too early", field="images[0]")))
        dimensions = {HISTOGRAM: 8, SIAMESE: 4}
        return pb.EmbedResult(vectors=[np.full(dimensions[name], len(image), "<f4").tobytes() for name in names])

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(condition)


def scenario(act: Callable[[QueryEmbeddings, HeldBack], Awaitable[None]], cache: tuple[int, int] = (100, 10**6)) -> None:
    async def run() -> None:
        held = HeldBack()
        servicer = Servicer(add_EmbedderServiceServicer_to_server, held, "lookalike.v1.EmbedderService")
        server = await build_aio_server([servicer], address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            try:
                await act(QueryEmbeddings(Embedder(channel), QueryCache(*cache), few_threads()), held)
            finally:
                held.open.set()
                await server.stop(0)

    asyncio.run(run())


def begin(
    embeddings: QueryEmbeddings, *images: bytes, collection: Collection = COLLECTION, deadline: Deadline | None = None
) -> asyncio.Task[list[Any]]:
    return asyncio.create_task(embeddings.embed(images, [collection.space(SIAMESE)], a_call(deadline)))


async def joined(*tasks: asyncio.Task[list[Any]]) -> None:
    """Until every task waits for the embedder: each has run as far as it can without an answer."""
    for _ in range(3 * len(tasks)):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


def counted() -> dict[str, float]:
    name = "lookalike_gateway_query_embeddings_total"
    return {source: REGISTRY.get_sample_value(name, {"source": source}) or 0 for source in ("computed", "shared", "cached")}


def test_the_same_picture_asked_for_at_once_is_embedded_once() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        before = counted()
        tasks = [begin(embeddings, b"picture") for _ in range(20)]
        await held.until(lambda: bool(held.calls))
        await joined(*tasks)
        held.open.set()
        answers = await asyncio.gather(*tasks)
        assert held.calls == [[b"picture"]]
        assert all(answer[0][SIAMESE].tolist() == [7.0] * 4 for answer in answers)
        assert {source: count - before[source] for source, count in counted().items()} == {
            "computed": 1, "shared": 19, "cached": 0,
        }  # fmt: skip

    scenario(act, NO_CACHE)


def test_other_pictures_are_embedded_for_themselves() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.open.set()
        first, second = await asyncio.gather(begin(embeddings, b"picture"), begin(embeddings, b"another"[:5]))
        assert [answer[0][SIAMESE][0] for answer in (first, second)] == [7.0, 5.0]
        assert len(held.calls) == 2

    scenario(act)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["who began it", "who joined"])
def test_a_caller_that_gives_up_leaves_the_work_to_the_others(order: tuple[int, int]) -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        tasks = [begin(embeddings, b"picture"), begin(embeddings, b"picture")]
        await held.until(lambda: bool(held.calls))
        await joined(*tasks)
        goes, stays = (tasks[place] for place in order)
        goes.cancel()
        await asyncio.wait([goes])
        held.open.set()
        assert (await stays)[0][SIAMESE].tolist() == [7.0] * 4
        assert (len(held.calls), held.cancelled) == (1, 0)

    scenario(act, NO_CACHE)


def test_each_who_waits_keeps_its_own_deadline() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        hasty = begin(embeddings, b"picture", deadline=Deadline.after(0.2))
        patient = begin(embeddings, b"picture")
        (outcome,) = await hasty
        assert isinstance(outcome, DeadlineExceeded)
        await joined(patient)
        held.open.set()
        assert (await patient)[0][SIAMESE].tolist() == [7.0] * 4
        assert (len(held.calls), held.cancelled) == (1, 0)

    scenario(act, NO_CACHE)


def test_when_the_last_has_given_up_the_call_ends_and_the_next_begins_another() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        first, second = begin(embeddings, b"picture"), begin(embeddings, b"picture")
        await held.until(lambda: bool(held.calls))
        await joined(first, second)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        third = begin(embeddings, b"picture")
        await held.until(lambda: held.cancelled == 1 and len(held.calls) == 2)
        held.open.set()
        assert (await third)[0][SIAMESE].tolist() == [7.0] * 4

    scenario(act)


def test_a_caller_without_time_left_begins_nothing() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        with pytest.raises(DeadlineExceeded):
            await begin(embeddings, b"picture", deadline=Deadline.after(-1))
        assert held.calls == []

    scenario(act)


@pytest.mark.parametrize("error", [Overloaded("the queue is full", retry_after_s=2.0), Unavailable("embedder", "away")])
def test_what_a_call_ends_in_reaches_all_who_wait_and_is_not_kept(error: LookalikeError) -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.fail = error
        tasks = [begin(embeddings, b"picture") for _ in range(3)]
        await held.until(lambda: bool(held.calls))
        await joined(*tasks)
        held.open.set()
        for (outcome,) in await asyncio.gather(*tasks):
            assert (type(outcome), outcome.retry_after_s) == (type(error), error.retry_after_s)
        held.fail = None
        assert (await begin(embeddings, b"picture"))[0][SIAMESE].tolist() == [7.0] * 4
        assert len(held.calls) == 2

    scenario(act)


def test_a_picture_that_cannot_be_used_is_not_kept_either() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.open.set()
        for _ in range(2):
            (outcome,) = await begin(embeddings, b"bad picture")
            assert isinstance(outcome, BadImage)
        assert len(held.calls) == 2

    scenario(act)


def test_a_picture_asked_for_again_is_not_embedded_again() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.open.set()
        first, again = await begin(embeddings, b"picture"), await begin(embeddings, b"picture")
        np.testing.assert_array_equal(first[0][SIAMESE], again[0][SIAMESE])
        assert len(held.calls) == 1

    scenario(act)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "under way"])
def test_another_fingerprint_or_space_never_gets_what_was_made_for_the_first(kept: bool) -> None:
    newer = replace(SPACE, fingerprint="c" * 16)
    coarser = replace(SPACES[0], fingerprint="d" * 16)
    cases = [(SPACE,), (newer,), (SPACES[0], SPACE), (coarser, SPACE), (SPACE, SPACES[0])]

    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        if kept:
            held.open.set()
        tasks = []
        for spaces in cases:
            tasks.append(asyncio.create_task(embeddings.embed([b"picture"], spaces, a_call())))
            if kept:
                await asyncio.wait(tasks)
        await held.until(lambda: len(held.calls) == len(cases))
        held.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        asked = [[(one.spec.name, one.fingerprint) for one in request.spaces] for request in held.requests]
        assert sorted(asked) == sorted([(space.name, space.fingerprint) for space in spaces] for spaces in cases)

    scenario(act, (100, 10**6) if kept else NO_CACHE)


def test_pictures_of_one_request_go_in_one_call_but_for_those_that_are_known() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.open.set()
        await begin(embeddings, b"kept")
        held.open.clear()
        lone = begin(embeddings, b"lonely")
        await held.until(lambda: len(held.calls) == 2)
        many = begin(embeddings, b"a", b"kept", b"lonely", b"bad", b"a", b"")
        await held.until(lambda: len(held.calls) == 3)
        held.open.set()
        a, kept, lonely, bad, same, empty = await many
        assert held.calls[2] == [b"a", b"bad"]
        assert [vectors[SIAMESE][0] for vectors in (a, kept, lonely, same)] == [1, 4, 6, 1]
        assert (bad.reason, empty.reason) == ("IMAGE_UNREADABLE", "IMAGE_EMPTY")
        await lone

    scenario(act)


def test_a_large_picture_is_known_again_too() -> None:
    async def act(embeddings: QueryEmbeddings, held: HeldBack) -> None:
        held.open.set()
        large = bytes(3_000_000)
        await asyncio.gather(begin(embeddings, large), begin(embeddings, large))
        await begin(embeddings, large)
        assert len(held.calls) == 1

    scenario(act)
