"""Pictures that ask for much, sent to the embedder beside good ones: each fails alone, and every good one is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.wire.status import from_status
from tests.pictures.hostile_pictures import KINDS
from tests.pictures.made_pictures import encoded, noise
from tests.servers.embedder import serving

TIMEOUT_S = 60.0
SLOW = {"JPEG scans", "BMP runs", "BMP jumps", "PNG", "PNG interlaced", "WebP", "TIFF deflate", "TIFF deflate of 32 bits"}
"""Half a second each and more: `make hostile` sends them."""


@pytest.fixture(scope="module")
def stub() -> Iterator[rpc.EmbedderServiceStub]:
    with serving() as target, open_channel(target) as channel:
        yield rpc.EmbedderServiceStub(channel)


def same(vectors: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """But for rounding, which depends on what else is in a batch."""
    return len(vectors) == len(expected) and all(
        np.allclose(np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4"), atol=1e-5)
        for one, other in zip(vectors, expected, strict=True)
    )


def test_hostile_pictures_fail_alone_and_good_ones_are_answered_meanwhile(stub: rpc.EmbedderServiceStub) -> None:
    good = encoded(noise(40, 40, 3))
    hostile = [make(1) for name, make in KINDS.items() if name not in SLOW]
    expected = stub.Embed(messages.EmbedRequest(images=[good]), timeout=TIMEOUT_S).results[0].vectors
    ended = threading.Event()
    results: list[messages.EmbedResult] = []

    def send() -> None:
        for start in range(0, len(hostile), 4):
            images = [hostile[start], good, *hostile[start + 1 : start + 4]]
            request = messages.EmbedRequest(images=images, lane=messages.LANE_BULK)
            results.extend(stub.Embed(request, timeout=TIMEOUT_S).results)
        ended.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    answered = 0
    while sender.is_alive() or not answered:
        sender.join(0.05)  # good pictures without a pause would take half of the processor
        response = stub.Embed(messages.EmbedRequest(images=[good]), timeout=TIMEOUT_S)
        assert same(response.results[0].vectors, expected)
        answered += 1
    assert ended.is_set(), "a call with hostile pictures failed as a whole"
    assert sum(same(one.vectors, expected) for one in results) >= len(hostile) // 4
    reasons = {from_status(one.error).reason for one in results if one.HasField("error")}
    assert {"IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_COSTLY", "IMAGE_UNREADABLE"} <= reasons
    assert reasons <= {"IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_COSTLY", "IMAGE_UNREADABLE", "IMAGE_FORMAT_UNKNOWN"}
