"""The calls of the embedder <-> protobuf: requests, and the checks of answers.

The embedder's two clients call it: the gateway's, on an event loop, and the indexer's, in threads and with many tries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from lookalike.errors import FingerprintMismatch, Internal
from lookalike.records.model import Embedding
from lookalike.spaces import DEFAULT_SPACES, Space, SpaceSpec, Vector
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.wire.spaces import space_from, spec_message, specs_from
from lookalike.wire.status import from_status
from lookalike.wire.values import span_message


def embed_request(spaces: Sequence[Space], images: Sequence[bytes], lane: pb.Lane.ValueType) -> pb.EmbedRequest:
    """A request to embed `images` (encoded pictures) in `spaces`, with the versions that their fingerprints name."""
    asked = [pb.EmbedSpace(spec=spec_message(space.spec), fingerprint=space.fingerprint) for space in spaces]
    return pb.EmbedRequest(spaces=asked, images=images, lane=lane)


def embed_spaces_from(request: pb.EmbedRequest) -> list[tuple[SpaceSpec, str]]:
    """The spaces that a request asks for, each with its fingerprint ("" for that of now); the default ones where it has none.

    Raises `InvalidArgument` as `specs_from`.
    """
    specs = specs_from((asked.spec for asked in request.spaces), "spaces[{}].spec")
    return list(zip(specs, [asked.fingerprint for asked in request.spaces], strict=True)) or [
        (spec, "") for spec in DEFAULT_SPACES
    ]


def embeddings_from(response: pb.EmbedResponse, spaces: Sequence[Space], pictures: int) -> list[Embedding]:
    """The outcome of each of `pictures` pictures in `spaces`, in order.

    Raises `FingerprintMismatch` where the vectors have other fingerprints than `spaces`, and `Internal` for an answer that
    breaks the contract.
    """
    if len(response.results) != pictures:
        raise Internal(f"the embedder gave {len(response.results)} results for {pictures} pictures")
    places = {space.name: place for place, space in enumerate(response.spaces)}
    for space in spaces:
        if space.name not in places:
            raise Internal(f"the embedder gave no vector in space {space.name!r}")
        made = response.spaces[places[space.name]].fingerprint
        if made != space.fingerprint:
            raise FingerprintMismatch(space.name, space.fingerprint, made)
    return [_embedding_from(result, [(space, places[space.name]) for space in spaces]) for result in response.results]


def _embedding_from(result: pb.EmbedResult, wanted: Sequence[tuple[Space, int]]) -> Embedding:
    if result.HasField("error"):
        return from_status(result.error)
    vectors: dict[str, Vector] = {}
    for space, place in wanted:
        packed = result.vectors[place] if place < len(result.vectors) else b""
        if len(packed) != 4 * space.dimension:
            problem = f"{len(packed) / 4:g} values in space {space.name!r} of dimension {space.dimension}"
            raise Internal(f"the embedder gave {problem}")
        vectors[space.name] = np.frombuffer(packed, "<f4").astype(np.float32, copy=False)
    return vectors


def embed_timing(decode_s: float, compute_s: float) -> pb.EmbedTiming:
    """Where the time of a call went, in seconds."""
    decode, compute = (span_message(timedelta(seconds=seconds)) for seconds in (decode_s, compute_s))
    return pb.EmbedTiming(decode=decode, compute=compute)


def embed_timing_from(message: pb.EmbedTiming) -> tuple[float, float]:
    """Seconds of decoding and of computing."""
    return message.decode.ToNanoseconds() / 1e9, message.compute.ToNanoseconds() / 1e9


def describe_request(specs: Sequence[SpaceSpec]) -> pb.DescribeSpacesRequest:
    """A request for the spaces that `specs` give now; none stand for the default ones."""
    return pb.DescribeSpacesRequest(spaces=map(spec_message, specs))


def described_from(response: pb.DescribeSpacesResponse) -> tuple[Space, ...]:
    """Raises `Internal` for a metric or a kind that this version does not know."""
    spaces = tuple(space_from(space) for space in response.spaces)
    for space in spaces:
        if not space.known:
            raise Internal(
                f"the embedder's space {space.name!r} has a metric or kind that this version of lookalike does not know"
            )
    return spaces
