"""`EmbedderService` as the protos say it: checks requests, and joins decoder, batcher and models. Wired by `embedder.__main__`.

Protobuf stays in here: requests become our dataclasses first thing, answers are built last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import grpc

from embedder.pictures.cage import Cage
from embedder.pictures.decode import MAX_SIDE, Decoded, Decoder, Wanted
from embedder.pictures.formats import is_quick
from embedder.pictures.tasks import DecodeTask, Result, Task, ThumbnailTask
from embedder.pictures.waiting import Lane, Waiting
from embedder.serving.batcher import Batcher
from embedder.serving.decode_pool import DecodePool
from embedder.serving.spaces import Embedded, Work
from embedder.serving.versions import Served, Serving
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, Unavailable
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL
from lookalike.runtime import tracing
from lookalike.runtime.channels import remaining_s
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Space
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.wire.embedder import embed_timing
from lookalike.wire.paging import page_size_of, place_of, token_after
from lookalike.wire.spaces import histogram_from, histogram_message, space_message
from lookalike.wire.status import to_status
from lookalike.wire.values import metadata_message

FULL_NAME = messages.DESCRIPTOR.services_by_name["EmbedderService"].full_name
THUMBNAIL_SIDE = 160
MIN_THUMBNAIL_SIDE = 16

_LANES = {
    messages.LANE_UNSPECIFIED: Lane.INTERACTIVE,
    messages.LANE_INTERACTIVE: Lane.INTERACTIVE,
    messages.LANE_BULK: Lane.BULK,
}


@dataclass(frozen=True, slots=True)
class _Question:
    """A checked `EmbedRequest`. `model` is None where no siamese vectors are wanted."""

    names: tuple[str, ...]
    histogram: HistogramSettings
    model: Served | None
    images: Sequence[bytes]
    lane: Lane

    @property
    def spaces(self) -> list[Space]:
        return [self.model.space if self.model and name == SIAMESE else self.histogram.space for name in self.names]

    @property
    def wanted(self) -> Wanted:
        canvas_channels = self.histogram.channels if HISTOGRAM in self.names else 0
        if self.model is None:
            return Wanted(canvas_channels)
        bundle = self.model.bundle
        return Wanted(canvas_channels, bundle.tower.input_size, bundle.tower.channels, bundle.input.fit)


class EmbedderService(rpc.EmbedderServiceServicer):
    """`device` and `engine`: as `ListModels` shows them. Refuses to embed until `set_warm`."""

    def __init__(
        self,
        serving: Serving,
        device: str,
        engine: str,
        *,
        decoder: Decoder,
        pool: DecodePool,
        cage: Cage,
        batcher: Batcher[Work, Embedded],
        call_timeout_s: float,
    ) -> None:
        self._serving, self._device, self._engine = serving, device, engine
        self._decoder, self._pool, self._cage, self._batcher = decoder, pool, cage, batcher
        self._call_timeout_s = call_timeout_s
        self._warm = threading.Event()

    def set_warm(self) -> None:
        """From here on pictures are embedded."""
        self._warm.set()

    def Embed(self, request: messages.EmbedRequest, context: grpc.ServicerContext) -> messages.EmbedResponse:  # noqa: N802
        begun_s = time.perf_counter()
        question = self._question(request)
        if not self._warm.is_set():
            raise Unavailable("embedder", "it is still warming up")
        waiting = self._waiting(context)
        size_bytes = sum(map(len, question.images))
        wanted = question.wanted
        with self._batcher.place(question.lane, items=len(question.images), size_bytes=size_bytes) as place:
            with tracing.span("decode", attributes={"lookalike.images": len(question.images)}):
                decoded = self._made(DecodeTask(wanted), question.images, question.lane, waiting)
            decoded_s = time.perf_counter()
            works = [_work(question, picture) for picture in decoded if isinstance(picture, Decoded)]
            with tracing.span("compute", attributes={"lookalike.lane": question.lane.value}):
                outcomes = iter(place.run(works, deadline_s=waiting.deadline_s, gone=waiting.gone))
        results = [
            _failed(picture) if isinstance(picture, LookalikeError) else _result(question.names, next(outcomes))
            for picture in decoded
        ]
        timing = embed_timing(decoded_s - begun_s, time.perf_counter() - decoded_s)
        return messages.EmbedResponse(spaces=map(space_message, question.spaces), results=results, timing=timing)

    def DescribeSpaces(  # noqa: N802
        self, request: messages.DescribeSpacesRequest, context: grpc.ServicerContext
    ) -> messages.DescribeSpacesResponse:
        model = self._serving.find(request.model or self._serving.default)
        histogram = histogram_from(request.histogram)
        return messages.DescribeSpacesResponse(
            model=model.bundle.name,
            histogram=histogram_message(histogram),
            spaces=[space_message(histogram.space), space_message(model.space)],
        )

    def ListModels(  # noqa: N802
        self, request: messages.ListModelsRequest, context: grpc.ServicerContext
    ) -> messages.ListModelsResponse:
        limit, after = page_size_of(request), place_of(request)
        models = [_model_message(*one) for one in self._serving]
        places = [f"{model.name}@{model.fingerprint}" for model in models]
        if after and after not in places:
            raise InvalidArgument("page_token", "names a version that is no longer served; begin the list anew")
        begin = places.index(after) + 1 if after else 0
        end = begin + limit
        page, token = models[begin:end], token_after(places[end - 1], request) if end < len(models) else ""
        return messages.ListModelsResponse(models=page, next_page_token=token, device=self._device, engine=self._engine)

    def MakeThumbnail(  # noqa: N802
        self, request: messages.MakeThumbnailRequest, context: grpc.ServicerContext
    ) -> messages.MakeThumbnailResponse:
        side = request.max_side or THUMBNAIL_SIDE
        if not MIN_THUMBNAIL_SIDE <= side <= MAX_SIDE:
            raise InvalidArgument("max_side", f"{side} is out of range; {MIN_THUMBNAIL_SIDE} to {MAX_SIDE} pixels are allowed")
        # The place bounds how many pictures are being decoded; nothing is computed in it.
        with self._batcher.place(Lane.INTERACTIVE, items=1, size_bytes=len(request.image)):
            (made,) = self._made(ThumbnailTask(side), [request.image], Lane.INTERACTIVE, self._waiting(context))
        if isinstance(made, LookalikeError):
            raise made
        return messages.MakeThumbnailResponse(jpeg=made)

    def _made(self, task: Task[Result], images: Sequence[bytes], lane: Lane, waiting: Waiting) -> list[Result | LookalikeError]:
        """What `task` makes of each of `images`: of the quick and safe ones here, of the others in the cage."""

        def caged(image: bytes) -> Future[Result] | None:
            header = self._decoder.header(image)
            if is_quick(header, task.least):
                return None
            return self._cage.submit(task, image, header, lane, waiting)

        return self._pool.map(lambda image: task.run(self._decoder, image), images, lane, waiting, elsewhere=caged)

    def _waiting(self, context: grpc.ServicerContext) -> Waiting:
        left_s = remaining_s(context, default_s=self._call_timeout_s, cap_s=self._call_timeout_s)
        return Waiting(time.monotonic() + left_s, lambda: not context.is_active())

    def _question(self, request: messages.EmbedRequest) -> _Question:
        _check_images(request.images)
        names = tuple(request.spaces) or (HISTOGRAM, SIAMESE)
        for name in names:
            if name not in (HISTOGRAM, SIAMESE):
                raise InvalidArgument("spaces", f"{name[:40]!r} is not a space; there are {HISTOGRAM!r} and {SIAMESE!r}")
        if len(set(names)) < len(names):
            raise InvalidArgument("spaces", "names a space twice")
        if request.lane not in _LANES:
            raise InvalidArgument("lane", f"{request.lane} is not a lane")
        return _Question(
            names=names,
            histogram=histogram_from(request.histogram),
            model=self._model(request.model, request.fingerprint) if SIAMESE in names else None,
            images=request.images,
            lane=_LANES[request.lane],
        )

    def _model(self, name: str, fingerprint: str) -> Served:
        if not name:
            known = ", ".join(one.bundle.name for one, current in self._serving if current)
            raise InvalidArgument("model", f"is missing; the space {SIAMESE!r} needs one (served: {known})")
        return self._serving.find(name, fingerprint)


def _check_images(images: Sequence[bytes]) -> None:
    if not 1 <= len(images) <= MAX_IMAGES_PER_CALL:
        raise InvalidArgument("images", f"holds {len(images)} pictures; 1 to {MAX_IMAGES_PER_CALL} are allowed")
    # One picture alone may be larger than a call of several: its own limit is per picture, and fails it alone.
    size_bytes = sum(map(len, images))
    if len(images) > 1 and size_bytes > MAX_CALL_BYTES:
        raise InvalidArgument(
            "images", f"holds {size_bytes} bytes; at most {MAX_CALL_BYTES} are allowed for several pictures, send fewer at once"
        )


def _model_message(model: Served, current: bool) -> messages.Model:
    bundle = model.bundle
    return messages.Model(
        name=bundle.name,
        fingerprint=model.space.fingerprint,
        dimension=bundle.tower.embedding_dim,
        input_size=bundle.tower.input_size,
        channels=bundle.tower.channels,
        metrics=bundle.metrics,
        provenance=metadata_message(bundle.provenance),
        licence=bundle.licence,
        current=current,
    )


def _work(question: _Question, decoded: Decoded) -> Work:
    traced = question.model.traced if question.model else None
    return Work(question.histogram, decoded.canvas, traced, decoded.tower)


def _result(names: Sequence[str], outcome: Embedded | LookalikeError) -> messages.EmbedResult:
    """Raises what the batch failed with: not the picture's fault, so the call fails and may be tried again."""
    if isinstance(outcome, LookalikeError):
        raise outcome
    if outcome.siamese is not None and not outcome.siamese.any():
        problem = "the model finds nothing in it: its vector is all zeros, which has no direction to compare"
        return _failed(BadImage(problem, reason="IMAGE_WITHOUT_FEATURES"))
    vectors = {HISTOGRAM: outcome.histogram, SIAMESE: outcome.siamese}
    return messages.EmbedResult(
        vectors=[vector.astype("<f4").tobytes() for name in names if (vector := vectors[name]) is not None]
    )


def _failed(error: LookalikeError) -> messages.EmbedResult:
    return messages.EmbedResult(error=to_status(error))
