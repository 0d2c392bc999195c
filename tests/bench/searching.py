"""Rows of searching through the gateway: lone queries beside their legs, and many callers beside pymilvus alone.

Every query is a picture that was not asked for before, so that nothing kept from earlier queries answers it. Its legs are
measured right after it, with the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lookalike.spaces import SIAMESE, Vector
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.v1 import image_pb2, search_service_pb2
from tests.bench import callers
from tests.bench.inputs import fashion_queries, photographs
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale
from tests.bench.system import FASHION, PHOTO, TOP_K, System
from tests.messages import asked_spaces, search_request

CALLERS = 32
_WARM_UP = 10
_PHOTOGRAPH = (640, 480)


def measure(system: System, scale: Scale, findings: Findings) -> None:
    lone_query(system, scale, findings)
    end_to_end(system, scale, findings)
    vector_search(system, scale, findings)


def lone_query(system: System, scale: Scale, findings: Findings) -> None:
    """A small picture and the tiny tower, where the gateway weighs most; over gRPC without any of the client's comfort."""
    pictures = fashion_queries()
    images = [pictures.png(index) for index in range(_WARM_UP + scale.lone_queries)]
    with (
        callers.raw(system.fleet.gateway.target, callers.SEARCH) as search,
        callers.raw(system.fleet.embedder.target, callers.EMBED) as embed,
    ):

        def ask(image: bytes) -> None:
            search(search_request(FASHION, image=image, top_k=TOP_K).SerializeToString())

        def legs(image: bytes) -> None:
            request = embedder_pb2.EmbedRequest(spaces=asked_spaces(SIAMESE, model=FASHION), images=[image])
            answer = embedder_pb2.EmbedResponse.FromString(embed(request.SerializeToString()))
            system.search_alone(FASHION, np.frombuffer(answer.results[0].vectors[0], "<f4"))

        findings.add("gateway_lone_query", *_in_turn(ask, legs, images))


def end_to_end(system: System, scale: Scale, findings: Findings) -> None:
    """A photograph through the Python client, beside decoding, one forward pass and the search, each without gRPC between."""
    from tests.bench.pipeline import pipeline, tower

    images = photographs(_WARM_UP + scale.lone_queries, *_PHOTOGRAPH)
    model, decoder = tower(PHOTO), pipeline().decoder
    forward = model.bare(1)

    def floor(image: bytes) -> None:
        pixels = decoder.decode(image, model.wanted).tower
        assert pixels is not None
        system.search_alone(PHOTO, forward(pixels[np.newaxis])[0])

    findings.add("end_to_end", *_in_turn(lambda image: system.client.search(PHOTO, image=image, top_k=TOP_K), floor, images))


def vector_search(system: System, scale: Scale, findings: Findings) -> None:
    """Vectors of the collection itself, moved a little."""
    stored = system.vectors[PHOTO]
    vectors = stored[:: max(1, len(stored) // 1000)] + np.float32(0.01)
    requests = [by_vector(vector) for vector in vectors]

    def timed(call: Callable[[int], object]) -> float:
        return callers.rate(call, callers=CALLERS, window_s=scale.window_s)

    with callers.raw(system.fleet.gateway.target, callers.SEARCH) as search:
        answer = search_service_pb2.SearchResponse.FromString(search(requests[0]))
        assert len(answer.neighbours) == len(system.search_alone(PHOTO, vectors[0])) == TOP_K
        ours, limit = interleaved(
            lambda: timed(lambda number: search(requests[number % len(requests)])),
            lambda: timed(lambda number: system.search_alone(PHOTO, vectors[number % len(vectors)])),
            scale.rounds,
        )
    findings.add("vector_search", ours, limit)


def _in_turn(
    ask: Callable[[bytes], object], legs: Callable[[bytes], object], images: list[bytes]
) -> tuple[list[float], list[float]]:
    """Milliseconds of a query and of its legs for each of `images`, without those that only warm up."""
    asked: Iterator[bytes] = iter(images)
    followed: Iterator[bytes] = iter(images)
    ours, limit = interleaved(
        lambda: callers.timed_ms(lambda: ask(next(asked))),
        lambda: callers.timed_ms(lambda: legs(next(followed))),
        len(images),
        warm_up=False,
    )
    return ours[_WARM_UP:], limit[_WARM_UP:]


def by_vector(vector: Vector, ef: int = 0) -> bytes:
    """A serialised search of the photographs; with `ef` 0 the gateway chooses it."""
    given = image_pb2.SpaceVector(space=SIAMESE, values=vector.tolist())
    vectors = search_service_pb2.QueryVectors(spaces=[given])
    return search_request(PHOTO, vectors=vectors, top_k=TOP_K, ef=ef).SerializeToString()
