"""Calls to an embedder over real gRPC: what is trusted, what is retried, what is given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from indexer.chunk.embedder import Embedder
from indexer.chunk.stages import Stages
from indexer.interruption import Draining, Interruption
from lookalike.errors import (
    BadImage,
    DeadlineExceeded,
    FingerprintMismatch,
    LeaseLost,
    LookalikeError,
    NotFound,
    Overloaded,
    Unavailable,
)
from lookalike.jobs.leases import Lease
from lookalike.runtime.channels import open_channel
from lookalike.runtime.server import Servicer, build_server
from lookalike.v1 import embedder_service_pb2 as pb2
from lookalike.v1 import embedder_service_pb2_grpc as pb2_grpc
from lookalike.v1 import image_pb2
from lookalike.wire.embedder import embed_timing
from lookalike.wire.status import to_status
from tests.unit.indexer.fakes import SPACES


@dataclass
class Service(pb2_grpc.EmbedderServiceServicer):
    """Answers what the test sets. Spaces come in the other order than the collection has them, to show that names count."""

    errors: list[LookalikeError] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=lambda: {space.name: space.fingerprint for space in SPACES})
    requests: list[pb2.EmbedRequest] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    def Embed(self, request: pb2.EmbedRequest, context: grpc.ServicerContext) -> pb2.EmbedResponse:
        self.requests.append(request)
        self.hold.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        spaces = [image_pb2.Space(name=s.name, fingerprint=self.fingerprints[s.name]) for s in reversed(SPACES)]
        results = []
        for image in request.images:
            if image == b"bad":
                error = to_status(BadImage("is not a picture", reason="IMAGE_FORMAT_UNKNOWN"))
                results.append(pb2.EmbedResult(error=error))
            else:
                vectors = [np.full(s.dimension, len(image), "<f4").tobytes() for s in reversed(SPACES)]
                results.append(pb2.EmbedResult(vectors=vectors))
        return pb2.EmbedResponse(spaces=spaces, results=results, timing=embed_timing(1.0, 3.0))


@pytest.fixture
def service() -> Service:
    service = Service()
    service.hold.set()
    return service


@pytest.fixture
def embedder(service: Service) -> Iterator[Embedder]:
    name = "lookalike.v1.EmbedderService"
    servicer = Servicer(pb2_grpc.add_EmbedderServiceServicer_to_server, service, name)
    server = build_server([servicer], address="127.0.0.1:0", threads=4, max_concurrent=4)
    server.start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    yield Embedder(channel, timeout_s=2.0)
    channel.close()
    service.hold.set()
    server.stop(1.0)


def interruption() -> Interruption:
    return Interruption(threading.Event(), Lease("job", "0", "me", 1))


def test_vectors_come_by_space_and_bad_pictures_fail_alone(embedder: Embedder, service: Service) -> None:
    first, bad, last = embedder.embed(SPACES, [b"a", b"bad", b"ccc"], interruption())
    assert isinstance(bad, BadImage)
    assert bad.reason == "IMAGE_FORMAT_UNKNOWN"
    for result, value in ((first, 1.0), (last, 3.0)):
        assert not isinstance(result, LookalikeError)
        assert {name: (vector.shape, vector.dtype.name) for name, vector in result.items()} == {
            "histogram": ((8,), "float32"),
            "siamese": ((4,), "float32"),
        }
        assert (result["siamese"] == value).all()
    (request,) = service.requests
    counts, features = request.spaces
    assert (counts.spec.name, counts.spec.histogram.bins, counts.fingerprint) == ("histogram", 8, SPACES[0].fingerprint)
    assert (features.spec.name, features.spec.model.name, features.fingerprint) == ("siamese", "small", "f" * 16)
    assert request.lane == pb2.LANE_BULK


def test_another_fingerprint_is_never_taken(embedder: Embedder, service: Service) -> None:
    service.fingerprints["siamese"] = "e" * 16
    with pytest.raises(FingerprintMismatch) as mismatch:
        embedder.embed(SPACES, [b"a"], interruption())
    assert mismatch.value.metadata == {"space": "siamese", "expected": "f" * 16, "actual": "e" * 16}


def test_what_passes_is_tried_again_and_what_does_not_is_raised(embedder: Embedder, service: Service) -> None:
    service.errors = [Overloaded("full", retry_after_s=0.01), Unavailable("gpu", "warming up", retry_after_s=0.01)]
    assert len(embedder.embed(SPACES, [b"a"], interruption())) == 1
    assert len(service.requests) == 3
    service.errors = [NotFound("model", "small")]
    with pytest.raises(NotFound):
        embedder.embed(SPACES, [b"a"], interruption())
    assert len(service.requests) == 4


class NotedWaits(threading.Event):
    """Is never set; says at once that the time is over."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


@pytest.mark.parametrize(("advised_s", "least_s", "most_s"), [(0.5, 0.5, 0.625), (10.0, 10.0, 12.5), (3600.0, 10.0, 12.5)])
def test_a_refused_call_comes_back_in_its_turn_and_not_before(
    embedder: Embedder, service: Service, advised_s: float, least_s: float, most_s: float
) -> None:
    service.errors = [Overloaded("full", retry_after_s=advised_s)]
    draining = NotedWaits()
    embedder.embed(SPACES, [b"a"], Interruption(draining, Lease("job", "0", "me", 1)))
    (waited_s,) = draining.waits
    assert least_s <= waited_s <= most_s


def test_an_embedder_that_is_away_is_given_up_after_a_few_tries() -> None:
    with open_channel("127.0.0.1:1") as channel, pytest.raises(Unavailable, match="embedder"):
        Embedder(channel, timeout_s=2.0).embed(SPACES, [b"a"], interruption())


@pytest.mark.parametrize("why", ["draining", "lost"])
def test_a_call_under_way_is_given_up_when_asked(embedder: Embedder, service: Service, why: str) -> None:
    service.hold.clear()
    asked = interruption()
    threading.Timer(0.1, asked.draining.set if why == "draining" else asked.lease.lost.set).start()
    with pytest.raises(Draining if why == "draining" else LeaseLost):
        embedder.embed(SPACES, [b"a"], asked)


def test_a_call_past_its_deadline_is_tried_again(embedder: Embedder, service: Service) -> None:
    service.errors = [DeadlineExceeded("late")]
    assert len(embedder.embed(SPACES, [b"a"], interruption())) == 1


def test_where_the_embedder_spent_its_time_is_noted(embedder: Embedder) -> None:
    stages = Stages()
    with stages.of("embed"):
        embedder.embed(SPACES, [b"a"], interruption(), stages=stages)
    assert stages.seconds["embed"] == pytest.approx(3 * stages.seconds["decode"])
    assert stages.seconds["decode"] > 0
