"""The embedder's parts in this process, without gRPC: what its rows are compared with.

Owns the only use that the bench makes of the embedder's inner parts, put together as `embedder.__main__` does. TensorFlow is
imported when the first part is asked for; it then stays in this process, idle while others are measured.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embedder.models.bundle import SHIPPED, load
from embedder.pictures.decode import Decoded, Decoder, TowerInput, Wanted
from embedder.pictures.waiting import Lane, Waiting
from embedder.serving.admission import Limits
from embedder.serving.batcher import Batcher
from embedder.serving.decode_pool import DecodePool
from embedder.settings import EmbedderSettings
from lookalike.runtime.environment import load_settings
from lookalike.spaces import HistogramSettings, Vector

Pixels = npt.NDArray[np.uint8]

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Tower:
    """One shipped model. `served` is what the embedder would hold; `bare` gives the tower alone, traced for one batch size and
    nothing else: pixels of exactly that many pictures in, vectors out."""

    served: object
    bare: Callable[[int], Callable[[Pixels], Vector]]
    wanted: Wanted

    def pixels(self, count: int) -> Pixels:
        """Noise in the shape of a batch: uint8 `[count, side, side, channels]`."""
        (seen,) = self.wanted.towers
        shape = (count, seen.side, seen.side, seen.channels)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@dataclass(frozen=True)
class Pipeline:
    """Decoder, batcher and the compute function, with the embedder's own settings. Thread-safe."""

    batcher: Batcher  # type: ignore[type-arg]
    pool: DecodePool
    decoder: Decoder = field(default_factory=Decoder)

    def embed(self, tower: Tower, images: Sequence[bytes], *, lane: Lane = Lane.INTERACTIVE, histogram: bool = False) -> int:
        """Decode `images` and embed them, in the space `siamese`, or in both; how many were. As `EmbedderService.Embed`."""
        waiting = Waiting(time.monotonic() + _PATIENCE_S, lambda: False)
        settings = HistogramSettings()
        wanted = with_canvas(tower.wanted, settings.channels) if histogram else tower.wanted
        with self.batcher.place(lane, items=len(images), size_bytes=sum(map(len, images))) as place:
            decoded = self.pool.map(lambda image: self.decoder.decode(image, wanted), images, lane, waiting)
            works = [_work(tower, picture, settings) for picture in decoded if isinstance(picture, Decoded)]
            return len(place.run(works, deadline_s=waiting.deadline_s))

    def compute(self, tower: Tower, pixels: Pixels) -> int:
        """One picture that is decoded already, uint8 `[side, side, channels]`, through the batcher."""
        work = _work(tower, Decoded((), (pixels,)), HistogramSettings())
        with self.batcher.place(Lane.INTERACTIVE, items=1, size_bytes=pixels.nbytes) as place:
            return len(place.run([work], deadline_s=time.monotonic() + _PATIENCE_S))


@functools.cache
def pipeline() -> Pipeline:
    """The one of this process."""
    settings = _set_up()
    from embedder.serving.spaces import Spaces

    spaces = Spaces()
    spaces.warm_up()
    limits = Limits(
        batch_items=settings.embedder_batch_images,
        batch_bytes=settings.embedder_batch_bytes,
        queue_items=settings.embedder_queue_images,
        queue_bytes=settings.embedder_queue_bytes,
        queue_calls=settings.embedder_queue_calls,
    )
    return Pipeline(Batcher(spaces.compute, lambda work: work.size_bytes, limits), DecodePool(settings.cores))


@functools.cache
def tower(name: str) -> Tower:
    """The shipped model called `name`, traced and warm, as the embedder serves it."""
    settings = _set_up()
    from embedder.models.model import Model
    from embedder.serving.versions import build_served

    bundle = load(SHIPPED / name)
    served = build_served(bundle, settings.embedder_batch_images)
    served.traced.warm_up(lambda *_: None)
    model = Model(bundle)
    seen = TowerInput(bundle.tower.input_size, bundle.tower.channels, bundle.input.fit)
    return Tower(served, functools.cache(lambda size: _bare(model, seen, size)), Wanted(towers=(seen,)))


@functools.cache
def _set_up() -> EmbedderSettings:
    settings = load_settings(EmbedderSettings)
    from embedder.models.model import set_up_tensorflow

    set_up_tensorflow(settings.embedder_device, settings.cores)
    return settings


def _bare(model, seen: TowerInput, size: int) -> Callable[[Pixels], Vector]:  # type: ignore[no-untyped-def]
    """Weights are frozen here as they are in the embedder: the limit is to have all that TensorFlow gives."""
    import tensorflow as tf

    traced = model.traced(size)

    def run(pixels: Pixels) -> Vector:
        vectors: Vector = traced(tf.constant(pixels)).numpy()
        return vectors

    run(np.zeros((size, seen.side, seen.side, seen.channels), np.uint8))
    return run


def with_canvas(wanted: Wanted, channels: int) -> Wanted:
    """`wanted` with a histogram's canvas."""
    return Wanted((channels,), wanted.towers)


def _work(tower: Tower, decoded: Decoded, settings: HistogramSettings):  # type: ignore[no-untyped-def]
    from embedder.serving.spaces import ToCount, ToShow, Work

    counted = (ToCount(settings, canvas) for canvas in decoded.canvases)
    return Work((*counted, ToShow(tower.served.traced, decoded.tower)))  # type: ignore[attr-defined]
