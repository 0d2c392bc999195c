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
from embedder.serving.spaces import Embedded, ToCount, ToShow, Work
from embedder.serving.versions import Served, Serving
from lookalike.errors import BadImage, FingerprintMismatch, InvalidArgument, LookalikeError, Unavailable
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL
from lookalike.runtime import tracing
from lookalike.runtime.channels import remaining_s
from lookalike.spaces import DEFAULT_SPACES, HistogramSettings, Space, SpaceSpec
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.wire.embedder import embed_spaces_from, embed_timing
from lookalike.wire.paging import page_size_of, place_of, token_after
from lookalike.wire.spaces import space_message, specs_from
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
    """A checked `EmbedRequest`. `makers` are what makes the vectors, each once however many of the `spaces` it fills; `places`
    has the maker of each space."""

    spaces: tuple[Space, ...]
    makers: tuple[HistogramSettings | Served, ...]
    places: tuple[int, ...]
    images: Sequence[bytes]
    lane: Lane

    @property
    def wanted(self) -> Wanted:
        canvases = (maker.channels for maker in self.makers if isinstance(maker, HistogramSettings))
        towers = (maker.tower_input for maker in self.makers if isinstance(maker, Served))
        return Wanted(tuple(dict.fromkeys(canvases)), tuple(dict.fromkeys(towers)))

    def work(self, decoded: Decoded, wanted: Wanted) -> Work:
        """What is to be computed of a picture that was decoded as `wanted`."""
        canvases = dict(zip(wanted.canvases, decoded.canvases, strict=True))
        towers = dict(zip(wanted.towers, decoded.towers, strict=True))
        return Work(
            tuple(
                ToCount(maker, canvases[maker.channels])
                if isinstance(maker, HistogramSettings)
                else ToShow(maker.traced, towers[maker.tower_input])
                for maker in self.makers
            )
        )


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
            works = [question.work(picture, wanted) for picture in decoded if isinstance(picture, Decoded)]
            with tracing.span("compute", attributes={"lookalike.lane": question.lane.value}):
                outcomes = iter(place.run(works, deadline_s=waiting.deadline_s, gone=waiting.gone))
        results = [
            _failed(picture) if isinstance(picture, LookalikeError) else _result(question, next(outcomes))
            for picture in decoded
        ]
        timing = embed_timing(decoded_s - begun_s, time.perf_counter() - decoded_s)
        return messages.EmbedResponse(spaces=map(space_message, question.spaces), results=results, timing=timing)

    def DescribeSpaces(  # noqa: N802
        self, request: messages.DescribeSpacesRequest, context: grpc.ServicerContext
    ) -> messages.DescribeSpacesResponse:
        specs = specs_from(request.spaces) or DEFAULT_SPACES
        spaces = [self._maker(spec, "", f"spaces[{place}]").space(spec.name) for place, spec in enumerate(specs)]
        return messages.DescribeSpacesResponse(spaces=map(space_message, spaces))

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
        if request.lane not in _LANES:
            raise InvalidArgument("lane", f"{request.lane} is not a lane")
        asked = embed_spaces_from(request)
        makers = [self._maker(spec, fingerprint, f"spaces[{place}].spec") for place, (spec, fingerprint) in enumerate(asked)]
        spaces = tuple(maker.space(spec.name) for (spec, _), maker in zip(asked, makers, strict=True))
        for space, (_, fingerprint) in zip(spaces, asked, strict=True):
            if fingerprint not in ("", space.fingerprint):
                raise FingerprintMismatch(space.name, fingerprint[:64], space.fingerprint)
        each = list(dict.fromkeys(makers))
        return _Question(
            spaces=spaces,
            makers=tuple(each),
            places=tuple(each.index(maker) for maker in makers),
            images=request.images,
            lane=_LANES[request.lane],
        )

    def _maker(self, spec: SpaceSpec, fingerprint: str, field: str) -> HistogramSettings | Served:
        """What makes the vectors of a space that stands at `field`. Raises as `Serving.find`."""
        if isinstance(spec.kind, HistogramSettings):
            return spec.kind
        name = spec.kind.name or self._serving.default
        return self._serving.find(name, fingerprint, space=spec.name, field=f"{field}.model.name")


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
        fingerprint=model.fingerprint,
        dimension=bundle.tower.embedding_dim,
        input_size=bundle.tower.input_size,
        channels=bundle.tower.channels,
        metrics=bundle.metrics,
        provenance=metadata_message(bundle.provenance),
        licence=bundle.licence,
        current=current,
    )


def _result(question: _Question, outcome: Embedded | LookalikeError) -> messages.EmbedResult:
    """Raises what the batch failed with: not the picture's fault, so the call fails and may be tried again."""
    if isinstance(outcome, LookalikeError):
        raise outcome
    for maker, vector in zip(question.makers, outcome, strict=True):
        if isinstance(maker, Served) and not vector.any():
            problem = f"the model {maker.bundle.name!r} finds nothing in it: its vector is all zeros, which has no direction"
            return _failed(BadImage(f"{problem} to compare", reason="IMAGE_WITHOUT_FEATURES"))
    packed = [vector.astype("<f4").tobytes() for vector in outcome]
    return messages.EmbedResult(vectors=[packed[place] for place in question.places])


def _failed(error: LookalikeError) -> messages.EmbedResult:
    return messages.EmbedResult(error=to_status(error))
