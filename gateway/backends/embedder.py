"""The embedder, as the gateway calls it: for the pictures of queries. Checks the fingerprints of every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.backends.careful import Careful
from lookalike.errors import BadImage, LookalikeError, Overloaded, Unavailable
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.records.model import Embedding
from lookalike.runtime import tracing
from lookalike.runtime.call import Deadline, outgoing
from lookalike.spaces import Space, SpaceSpec
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.v1.embedder_service_pb2_grpc import EmbedderServiceStub
from lookalike.wire.embedder import describe_request, described_from, embed_request, embeddings_from
from lookalike.wire.status import from_rpc_error

_SERVICE = pb.DESCRIPTOR.services_by_name["EmbedderService"].full_name

_IMAGE = "query.image"

Q = TypeVar("Q")
R = TypeVar("R")


class Embedder:
    """Calls on one channel, which the caller opens and closes, each sent once. Raises what the embedder raised, or
    `Unavailable`.

    `searches` and `thumbnails` know the pictures that the embedder may have died of.
    """

    def __init__(
        self, channel: grpc.aio.Channel, *, searches: Careful | None = None, thumbnails: Careful | None = None
    ) -> None:
        self._searches, self._thumbnails = searches or Careful(), thumbnails or Careful()
        self._stub = EmbedderServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    async def embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        """What becomes of each of up to 32 encoded pictures (16 MiB; one alone may be 20 MB) in `spaces`.

        The request names the fingerprint of each space. A picture that cannot be used is a `BadImage` (field `query.image`)
        among the outcomes; one of an impossible size is not even sent. Raises `FingerprintMismatch` where the embedder does not
        serve such a version, or makes other vectors.
        """
        problems = [image_problem(image) for image in images]
        good = [image for image, problem in zip(images, problems, strict=True) if problem is None]

        async def embed(images: Sequence[bytes]) -> list[Embedding]:
            return await self._embed(images, spaces, deadline)

        made = iter(await self._searches.made(good, embed) if good else ())
        return [next(made) if problem is None else problem for problem in problems]

    async def _embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        request = embed_request(spaces, images, pb.LANE_INTERACTIVE)
        with tracing.span("embedder Embed", "client", attributes={"lookalike.images": len(images)}):
            response: pb.EmbedResponse = await _call(self._stub.Embed, request, deadline)
        return [_as_query_error(made) for made in embeddings_from(response, spaces, len(images))]

    async def describe(self, specs: Sequence[SpaceSpec], deadline: Deadline) -> tuple[Space, ...]:
        """The spaces of `specs` as the embedder makes them now; none stand for the default ones. Raises `NotFound` for a model
        (field `spaces[0].model.name`)."""
        request = describe_request(specs)
        response: pb.DescribeSpacesResponse = await _call(self._stub.DescribeSpaces, request, deadline)
        return described_from(response)

    async def thumbnail(self, image: bytes, deadline: Deadline) -> bytes:
        """A JPEG with a longest side of 160 pixels. Raises `BadImage`."""
        (made,) = await self._thumbnails.made([image], lambda images: self._made_thumbnails(images, deadline))
        if isinstance(made, LookalikeError):
            raise made
        return made

    async def _made_thumbnails(self, images: Sequence[bytes], deadline: Deadline) -> list[bytes]:
        requests = [pb.MakeThumbnailRequest(image=image) for image in images]
        answers: list[pb.MakeThumbnailResponse] = [
            await _call(self._stub.MakeThumbnail, request, deadline) for request in requests
        ]
        return [answer.jpeg for answer in answers]

    async def check(self, deadline: Deadline) -> None:
        """Raises `Unavailable` where the embedder does not answer, or its health service says that it is not warm. An embedder
        whose load makes it refuse the question does its part."""
        request = health_pb2.HealthCheckRequest(service=_SERVICE)
        try:
            response: health_pb2.HealthCheckResponse = await _call(self._health.Check, request, deadline)
        except Overloaded:
            return
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("embedder", "it is warming up or shutting down")


def image_problem(image: bytes) -> BadImage | None:
    """What is wrong with the size of a picture: no bytes, or more than 20 MB. Checked before the picture is sent anywhere."""
    if not image:
        return BadImage("is empty", reason="IMAGE_EMPTY", field=_IMAGE)
    if len(image) > MAX_IMAGE_BYTES:
        problem = f"is {len(image)} bytes; at most {MAX_IMAGE_BYTES} are allowed"
        return BadImage(problem, reason="IMAGE_TOO_LARGE", field=_IMAGE)
    return None


async def _call(method: Callable[..., Awaitable[R]], request: Q, deadline: Deadline) -> R:
    try:
        return await method(request, timeout=deadline.remaining_s(), metadata=outgoing())
    except grpc.RpcError as error:
        raise from_rpc_error(error, "embedder") from error


def _as_query_error(made: Embedding) -> Embedding:
    """The embedder names its own field (`images[0]`); the caller of the gateway sent `query.image`."""
    if isinstance(made, BadImage):
        return BadImage(made.problem.removeprefix(f"{made.field}: "), reason=made.reason, field=_IMAGE)
    return made
