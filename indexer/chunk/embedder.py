"""Calls to the embedder: many pictures each, retried where that helps, and never trusted without their fingerprints."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import grpc

from indexer.chunk.stages import Stages
from indexer.interruption import TRANSIENT, Interruption
from lookalike.errors import (
    CallLost,
    DeadlineExceeded,
    FailedPrecondition,
    FingerprintMismatch,
    LookalikeError,
    NotFound,
    Unavailable,
)
from lookalike.records.collection import Collection
from lookalike.records.model import Embedding
from lookalike.runtime import tracing
from lookalike.runtime.call import outgoing
from lookalike.spaces import Space, SpaceSpec
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.v1 import embedder_service_pb2_grpc as embedder_grpc
from lookalike.wire.embedder import describe_request, described_from, embed_request, embed_timing_from, embeddings_from
from lookalike.wire.status import from_rpc_error

_TRIES = 5
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 2.0
"""Bounds of the wait where the embedder does not say when to come back."""
_LONGEST_TURN_S = 10.0
"""Bounds the wait that the embedder advises; it advises no more."""
_LATER = 0.25
"""Bounds the random part of an advised wait, as a share of it: callers come one after the other, and none before its turn."""
_LOOK_UP_S = 0.2
"""The time between two looks of a waiting call whether it should be given up."""


class Embedder:
    """The bulk side of the embedder. Thread-safe."""

    def __init__(self, channel: grpc.Channel, *, timeout_s: float) -> None:
        self._stub = embedder_grpc.EmbedderServiceStub(channel)
        self._timeout_s = timeout_s

    def embed(
        self,
        spaces: Sequence[Space],
        images: Sequence[bytes],
        interruption: Interruption,
        *,
        stages: Stages | None = None,
    ) -> list[Embedding]:
        """Vectors of up to 32 encoded pictures (16 MiB, or one picture), in order, in `spaces`. `stages` gets the time that the
        embedder spent.

        The request names the fingerprint of each space. Raises `FingerprintMismatch` where the embedder does not serve such a
        version, or makes other vectors, `NotFound` for a model,
        `Unavailable` or `Overloaded` where a few tries did not help, `Draining`, `LeaseLost`. Raises at once `CallLost` where
        the embedder went while it had these pictures, and `DeadlineExceeded` where it kept them for the whole time.
        """
        request = embed_request(spaces, images, embedder_pb2.LANE_BULK)
        response = self._call_patiently(request, interruption)
        if stages is not None:
            stages.embedder_took(*embed_timing_from(response.timing))
        return embeddings_from(response, spaces, len(images))

    def describe(self, specs: Sequence[SpaceSpec]) -> tuple[Space, ...]:
        """The spaces of `specs` as the embedder makes them now. Raises `NotFound` ("model"), `Unavailable`,
        `DeadlineExceeded`."""
        try:
            response = self._stub.DescribeSpaces(describe_request(specs), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error, "embedder") from error
        return described_from(response)

    def _call_patiently(self, request: embedder_pb2.EmbedRequest, interruption: Interruption) -> embedder_pb2.EmbedResponse:
        for tried in range(1, _TRIES + 1):
            began_s = time.monotonic()
            try:
                with tracing.span("embedder Embed", "client", attributes={"lookalike.images": len(request.images)}):
                    return self._call(request, interruption)
            except TRANSIENT as error:
                # These very pictures may be the cause. `embed_batches` decides what happens to them.
                kept = isinstance(error, DeadlineExceeded) and time.monotonic() - began_s > self._timeout_s / 2
                if tried == _TRIES or kept or isinstance(error, CallLost):
                    raise
                interruption.wait(_wait_s(error, tried))
        raise Unavailable("embedder", "it was not called")  # pragma: no cover - the loop returns or raises

    def _call(self, request: embedder_pb2.EmbedRequest, interruption: Interruption) -> embedder_pb2.EmbedResponse:
        interruption.check()
        call = self._stub.Embed.future(request, timeout=self._timeout_s, metadata=outgoing())
        try:
            while True:
                try:
                    return call.result(timeout=_LOOK_UP_S)
                except grpc.FutureTimeoutError:
                    interruption.check()
        except grpc.RpcError as error:
            raise from_rpc_error(error, "embedder") from error
        finally:
            call.cancel()


def embed_everywhere(
    embedder: Embedder, collection: Collection, images: Sequence[bytes], interruption: Interruption, stages: Stages
) -> list[tuple[Embedding, Embedding]]:
    """What became of each picture in the current generation of `collection`, and in the spaces that only its other one has.

    Raises as `Embedder.embed`, and `FailedPrecondition` OTHER_GENERATION_NOT_SERVED.
    """
    current = embedder.embed(collection.spaces, images, interruption, stages=stages)
    if collection.other is None or not collection.other_spaces:
        return [(made, {}) for made in current]
    try:
        others = embedder.embed(collection.other_spaces, images, interruption, stages=stages)
        return list(zip(current, others, strict=True))
    except (FingerprintMismatch, NotFound) as error:
        raise FailedPrecondition(
            f"collection {collection.name!r} is written in generation {collection.other.generation} too, which cannot be "
            f"embedded ({error.message}); serve its models, or drop it: cancel its job, or `collections drop-previous`",
            reason="OTHER_GENERATION_NOT_SERVED",
        ) from error


def _wait_s(error: LookalikeError, tried: int) -> float:
    """Seconds until the next try, after `tried` tries that ended in `error`."""
    if error.retry_after_s:
        return min(error.retry_after_s, _LONGEST_TURN_S) * random.uniform(1.0, 1.0 + _LATER)  # noqa: S311 - not for secrecy
    return min(_FIRST_WAIT_S * 2.0**tried * random.uniform(0.5, 1.0), _LONGEST_WAIT_S)  # noqa: S311 - not for secrecy
