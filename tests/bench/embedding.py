"""Rows of the embedder over gRPC: the real process, beside its own pipeline (decode, batcher, compute) in this one.

Small pictures and the tiny tower, where gRPC weighs most: one picture a call as a search asks (features only, interactive
lane), and 32 a call as a job asks (both spaces, bulk lane). The callers run on the same cores as the server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embedder.models.bundle import SHIPPED
from embedder.pictures.waiting import Lane
from lookalike.names import MAX_IMAGES_PER_CALL
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from tests.bench import callers
from tests.bench.inputs import fashion_queries
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale
from tests.messages import asked_spaces
from tests.servers.worker import EmbedderProcess

SINGLE_CALLERS, FULL_CALLERS = 64, 4
"""Four callers of 32 keep a batch computed, one decoded and two on their way: as many as a worker with its default settings."""
_LANES = {Lane.INTERACTIVE: embedder_pb2.LANE_INTERACTIVE, Lane.BULK: embedder_pb2.LANE_BULK}


def measure(scale: Scale, findings: Findings) -> None:
    pictures = fashion_queries()
    images = [pictures.png(index) for index in range(len(pictures))]
    single, full = [[image] for image in images], calls_of(images, MAX_IMAGES_PER_CALL)
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as name:
        embedder = EmbedderProcess(Path(name), models=(SHIPPED / "fashion",))
        embedder.start()
        try:
            for row, load in (
                ("embedder_1_a_call", Load(single, SINGLE_CALLERS, Lane.INTERACTIVE, histogram=False)),
                ("embedder_32_a_call", Load(full, FULL_CALLERS, Lane.BULK, histogram=True)),
            ):
                over_grpc, in_process = partial(load.over_grpc, embedder.target, scale), partial(load.in_process, scale)
                findings.add(row, *interleaved(over_grpc, in_process, scale.rounds))
        finally:
            embedder.stop()


def calls_of(images: Sequence[bytes], size: int) -> list[list[bytes]]:
    """`images` in full calls; those that do not fill a call are left out."""
    return [list(images[at : at + size]) for at in range(0, len(images) - size + 1, size)]


@dataclass(frozen=True, slots=True)
class Load:
    """What `callers` ask for again and again, with the model `fashion`: each of `calls` is the pictures of one call."""

    calls: list[list[bytes]]
    callers: int
    lane: Lane
    histogram: bool

    def over_grpc(self, target: str, scale: Scale) -> float:
        """Images a second from the embedder at `target`."""
        spaces = asked_spaces(*(("histogram",) if self.histogram else ()), "siamese", model="fashion")
        requests = [
            embedder_pb2.EmbedRequest(spaces=spaces, images=images, lane=_LANES[self.lane]).SerializeToString()
            for images in self.calls
        ]
        with callers.raw(target, callers.EMBED) as embed:
            _check(embed(requests[0]), len(self.calls[0]))
            return self._rate(lambda number: embed(requests[number % len(requests)]), scale)

    def in_process(self, scale: Scale) -> float:
        """Images a second from the same parts in this process."""
        from tests.bench.pipeline import pipeline, tower

        parts, model = pipeline(), tower("fashion")

        def call(number: int) -> None:
            parts.embed(model, self.calls[number % len(self.calls)], lane=self.lane, histogram=self.histogram)

        return self._rate(call, scale)

    def _rate(self, call: Callable[[int], object], scale: Scale) -> float:
        return callers.rate(call, callers=self.callers, window_s=scale.window_s, items=len(self.calls[0]))


def _check(answer: bytes, images: int) -> None:
    """The answers are counted unread; this one is read."""
    results = embedder_pb2.EmbedResponse.FromString(answer).results
    assert len(results) == images, results
    assert all(result.vectors and not result.HasField("error") for result in results), results
