"""The calls of the embedder <-> protobuf: requests, and the checks of answers.

The embedder's two clients call it: the gateway's, on an event loop, and the indexer's, in threads and with many tries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from lookalike.errors import FingerprintMismatch, Internal
from lookalike.records.collection import Collection
from lookalike.records.model import Description, Embedding
from lookalike.spaces import SIAMESE, HistogramSettings, Space, Vector
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.wire.spaces import histogram_from, histogram_message, space_from
from lookalike.wire.status import from_status
from lookalike.wire.values import span_message


def embed_request(
    collection: Collection, spaces: Sequence[Space], images: Sequence[bytes], lane: pb.Lane.ValueType
) -> pb.EmbedRequest:
    """A request to embed `images` (encoded pictures) in `spaces` of `collection`, by the collection's version of the model."""
    return pb.EmbedRequest(
        model=collection.model,
        fingerprint=collection.space(SIAMESE).fingerprint,
        spaces=[space.name for space in spaces],
        histogram=histogram_message(collection.histogram),
        images=images,
        lane=lane,
    )


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


def describe_request(model: str, histogram: HistogramSettings) -> pb.DescribeSpacesRequest:
    """A request for the spaces of `model` ("" for the default model) and `histogram`."""
    return pb.DescribeSpacesRequest(model=model, histogram=histogram_message(histogram))


def description_from(response: pb.DescribeSpacesResponse) -> Description:
    """Raises `Internal` for a metric that this version does not know."""
    spaces = tuple(space_from(space) for space in response.spaces)
    return Description(response.model, histogram_from(response.histogram), spaces)
