"""The embedder's answers, over a real gRPC server whose answers a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gateway.backends.embedder import Embedder
from lookalike.errors import BadImage, DeadlineExceeded, FingerprintMismatch, Internal, LookalikeError, Unavailable
from lookalike.records.model import Embedding
from lookalike.runtime.call import Deadline
from lookalike.runtime.channels import open_aio_channel
from lookalike.runtime.server import Servicer, build_aio_server
from lookalike.spaces import SIAMESE
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.v1.embedder_service_pb2_grpc import EmbedderServiceServicer, add_EmbedderServiceServicer_to_server
from lookalike.wire.spaces import space_message
from lookalike.wire.status import to_status
from tests.unit.gateway.fakes import SPACES, soon

VECTORS = [np.linspace(0, 1, 8, dtype="<f4"), np.ones(4, "<f4")]


def answer(**fields: Any) -> pb.EmbedResponse:
    whole: dict[str, Any] = {
        "spaces": [space_message(space) for space in SPACES],
        "results": [pb.EmbedResult(vectors=[vector.tobytes() for vector in VECTORS])],
    }
    return pb.EmbedResponse(**{**whole, **fields})


class Answering(EmbedderServiceServicer):
    """Answers what `answer` gives and notes what it was asked."""

    def __init__(self, answer: Callable[[], pb.EmbedResponse]) -> None:
        self.answer, self.asked = answer, list[pb.EmbedRequest]()

    async def Embed(self, request: pb.EmbedRequest, context: object) -> pb.EmbedResponse:
        self.asked.append(request)
        return self.answer()


def embed(answer: Callable[[], pb.EmbedResponse], *images: bytes) -> Any:
    """The outcomes, and what the embedder was asked."""

    async def run() -> tuple[list[Embedding], list[pb.EmbedRequest]]:
        asked = Answering(answer)
        servicer = Servicer(add_EmbedderServiceServicer_to_server, asked, "lookalike.v1.EmbedderService")
        server = await build_aio_server([servicer], address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            try:
                return await Embedder(channel).embed(images or [b"picture"], SPACES, soon()), asked.asked
            finally:
                await server.stop(0)

    return asyncio.run(run())


def failure(answer: Callable[[], pb.EmbedResponse]) -> LookalikeError:
    with pytest.raises(LookalikeError) as raised:
        embed(answer)
    return raised.value


def test_vectors_come_back_by_space_and_the_request_names_the_version_that_the_collection_was_made_with() -> None:
    (vectors,), asked = embed(answer)
    np.testing.assert_array_equal(vectors[SPACES[0].name], VECTORS[0])
    np.testing.assert_array_equal(vectors[SIAMESE], VECTORS[1])
    counts, features = asked[0].spaces
    assert (counts.spec.name, counts.spec.histogram.bins, counts.fingerprint) == ("histogram", 8, SPACES[0].fingerprint)
    assert (features.spec.name, features.spec.model.name, features.fingerprint) == (SIAMESE, "small", SPACES[1].fingerprint)
    assert asked[0].lane == pb.LANE_INTERACTIVE


def test_another_fingerprint_than_the_collection_s_is_refused_and_both_are_named() -> None:
    other = [space_message(SPACES[0]), space_message(SPACES[1])]
    other[1].fingerprint = "0" * 16
    error = failure(lambda: answer(spaces=other))
    assert isinstance(error, FingerprintMismatch)
    assert error.metadata == {"space": SIAMESE, "expected": SPACES[1].fingerprint, "actual": "0" * 16}


def test_a_picture_that_cannot_be_used_is_the_query_s_field_image() -> None:
    status = to_status(BadImage("ends too early", field="images[0]"))
    (error,), _ = embed(lambda: answer(results=[pb.EmbedResult(error=status)]))
    assert isinstance(error, BadImage)
    assert (error.field, error.reason, error.message) == ("query.image", "IMAGE_UNREADABLE", "query.image: ends too early")


@pytest.mark.parametrize(
    "wrong",
    [
        {"results": []},
        {"spaces": [space_message(SPACES[0])], "results": [pb.EmbedResult(vectors=[VECTORS[0].tobytes()])]},
        {"results": [pb.EmbedResult(vectors=[b"\0" * 32, b"\0" * 12])]},
    ],
)
def test_an_answer_that_breaks_the_contract_is_a_defect_not_a_result(wrong: dict[str, Any]) -> None:
    assert isinstance(failure(lambda: answer(**wrong)), Internal)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "IMAGE_EMPTY"), (bytes(20_000_001), "IMAGE_TOO_LARGE")], ids=["empty", "large"]
)
def test_a_picture_of_an_impossible_size_is_not_sent_and_fails_none_beside_it(content: bytes, reason: str) -> None:
    (error,), asked = embed(answer, content)
    assert (error.reason, error.field) == (reason, "query.image")
    assert asked == []
    whole = answer()
    two = answer(results=[whole.results[0], pb.EmbedResult(error=to_status(BadImage("ends too early")))])
    (first, second, third), (request,) = embed(lambda: two, b"one", content, b"bad")
    assert list(request.images) == [b"one", b"bad"]
    np.testing.assert_array_equal(first[SIAMESE], VECTORS[1])
    assert [second.reason, third.reason] == [reason, "IMAGE_UNREADABLE"]


def test_an_embedder_that_is_not_there_is_unavailable_by_name() -> None:
    async def run() -> None:
        async with open_aio_channel("127.0.0.1:1") as channel:
            await Embedder(channel).check(Deadline.after(5.0))

    with pytest.raises(Unavailable) as raised:
        asyncio.run(run())
    assert raised.value.metadata["dependency"] == "embedder"


def test_an_embedder_that_answers_but_is_not_warm_is_unavailable_until_it_is() -> None:
    async def run() -> None:
        servicer = Servicer(add_EmbedderServiceServicer_to_server, Answering(answer), "lookalike.v1.EmbedderService")
        server = await build_aio_server([servicer], address="127.0.0.1:0")
        await server.start()
        async with open_aio_channel(f"127.0.0.1:{server.port}") as channel:
            try:
                with pytest.raises(Unavailable, match="warming up") as raised:
                    await Embedder(channel).check(soon())
                assert raised.value.metadata["dependency"] == "embedder"
                await server.set_ready(True)
                await Embedder(channel).check(soon())
            finally:
                await server.stop(0)

    asyncio.run(run())


def test_no_time_left_means_no_call() -> None:
    async def run() -> None:
        async with open_aio_channel("127.0.0.1:1") as channel:
            await Embedder(channel).check(Deadline.after(-1))

    with pytest.raises(DeadlineExceeded):
        asyncio.run(run())
