"""Pixels of a batch in, vectors of every space out: histograms and a model's vectors in one graph. The batcher's function.

Owns the histogram's maths and the traced TensorFlow functions. `embedder.__main__` hands `Spaces.compute` to the batcher, and
`embedder.serving.versions` makes a `TracedModel` of every version that is served.

Counting every setting with one trace: the pixels of all canvases are laid end to end, and beside each stands the number of its
*owner*, one per image, cell and channel. A count's place is then `owner * bins + pixel * bins / 256`, so that bins, cells,
channels and sizes are data to the graph and never change its shape.

A tower is traced once, for any number of pictures: a trace for each size took five times as long to make and kept more memory.
Batches still come in few sizes, filled up to the next one, because what is below the graph (oneDNN, XLA, another engine)
prepares itself for each shape that it meets.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from embedder.models.model import ON_CPU, Execution, Model
from embedder.pictures.decode import Pixels
from lookalike.errors import FailedPrecondition
from lookalike.spaces import HistogramSettings, Vector

CompileTower: TypeAlias = Callable[[Model, int], Callable[[Pixels], Vector]]
"""How another engine makes the tower of a model for one batch size, as `openvino_engine.OpenVino.compile_tower` does."""
_Tensors: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""What is counted, as the graphs take it: pixels, owners, totals, bins (see `_Layout`)."""
_Embed: TypeAlias = Callable[[_Tensors, Pixels], tuple[tf.Tensor, Vector]]
"""What is counted and uint8 `[n, side, side, channels]`, `n` a batch size -> counts, float32 `[n, dim]`."""


@dataclass(frozen=True, slots=True)
class ToCount:
    """A histogram to make of `canvas`, uint8 `[h, w, settings.channels]`."""

    settings: HistogramSettings
    canvas: Pixels

    @property
    def size_bytes(self) -> int:
        """What it takes in a batch: an int32 owner comes beside each value."""
        return 5 * self.canvas.nbytes


@dataclass(frozen=True, slots=True)
class ToShow:
    """A vector to make of `pixels`, uint8 `[side, side, channels]` as `model` sees a picture.

    It holds the model itself and not its name: what a picture waits for cannot be taken away or swapped under it.
    """

    model: TracedModel
    pixels: Pixels

    @property
    def size_bytes(self) -> int:
        return self.pixels.nbytes


@dataclass(frozen=True, slots=True)
class Work:
    """A picture to embed, in one way or in several that differ."""

    parts: tuple[ToCount | ToShow, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes in a batch."""
        return sum(part.size_bytes for part in self.parts)


Embedded: TypeAlias = tuple[Vector, ...]
"""float32 `[dimension]` for each part of a work: a histogram sums to 1, a model's vector has length 1."""
_Place: TypeAlias = tuple[int, int]
"""The number of a work in its batch, and that of a part in its work."""


def batch_sizes(largest: int) -> tuple[int, ...]:
    """The sizes that a tower is run with: powers of two up to `largest`, and `largest` itself."""
    powers = [1 << power for power in range(largest.bit_length()) if 1 << power < largest]
    return (*powers, largest)


@functools.lru_cache(maxsize=32)  # at most 25 MB; pictures of one source come in few sizes
def owners(height: int, width: int, settings: HistogramSettings) -> npt.NDArray[np.int32]:
    """For each value of a canvas its (cell, channel), flat in the order of the pixels: int32 `[height * width * channels]`,
    read-only.

    Row `r` lies in cell `r * grid // height`, columns likewise; cells count row by row, each with its channels in order.
    """
    rows = np.arange(height, dtype=np.int32) * settings.grid // height * (settings.grid * settings.channels)
    columns = np.arange(width, dtype=np.int32) * settings.grid // width * settings.channels
    channels = np.arange(settings.channels, dtype=np.int32)
    numbers = (rows[:, None, None] + columns[None, :, None] + channels).ravel()
    numbers.flags.writeable = False
    return numbers


class TracedModel:
    """A model traced, with what is counted beside it in one call. Made in whatever thread; then used from one, while others may
    be made.

    `largest_batch` pictures may be given at once; `execution` says how many of them go through the tower together.
    `compile_tower`: the engine that computes the vectors, where it is not TensorFlow; it is given whole batches. Raises what
    that does.
    """

    def __init__(
        self, model: Model, largest_batch: int, compile_tower: CompileTower | None = None, execution: Execution = ON_CPU
    ) -> None:
        tower = model.bundle.tower
        self.bundle = model.bundle
        self._shape = (tower.input_size, tower.input_size, tower.channels)
        self._nothing = _NO_CANVAS.tensors(1)
        if compile_tower is None:
            self._sizes = batch_sizes(execution.pictures_at_once(tower.input_size, largest_batch))
            # The others in between cost milliseconds when they come first, not a trace or a compilation.
            self._warmed = self._sizes if execution.compiled else tuple(dict.fromkeys((1, self._sizes[-1])))
            self._embed = _embedding_function(model, execution)
        else:
            self._sizes = self._warmed = batch_sizes(largest_batch)
            self._embed = _counting_beside({size: compile_tower(model, size) for size in self._sizes})

    def warm_up(self, report: Callable[[int, float], None]) -> None:
        """Run what takes long when it comes first, with and without a histogram; `report` hears the batch size and seconds.

        On a busy machine this takes seconds, in the caller's thread. Raises `FailedPrecondition` (`MODEL_NOT_FINITE`) where the
        vectors are no numbers.
        """
        settings, canvas = HistogramSettings(), np.zeros((8, 8, 1), np.uint8)
        for size in self._warmed:
            started_s = time.perf_counter()
            for shown in (canvas, None):
                counted = [] if shown is None else [ToCount(settings, shown)] * size
                _, vectors = self.embed(_laid_out(counted).tensors(settings.bins), [np.zeros(self._shape, np.uint8)] * size)
                if not np.isfinite(vectors).all():
                    problem = f"model {self.bundle.name!r} gives vectors that are no numbers: its weights are damaged"
                    raise FailedPrecondition(problem, reason="MODEL_NOT_FINITE")
            report(size, time.perf_counter() - started_s)

    def embed(self, laid: _Tensors, pictures: Sequence[Pixels]) -> tuple[tf.Tensor, Vector]:
        """The counts of what is laid out, and float32 `[len(pictures), dim]` of `pictures`, at least one."""
        at_once = self._sizes[-1]
        counts, vectors = self._some(laid, pictures[:at_once])
        starts = range(at_once, len(pictures), at_once)
        rest = [self._some(self._nothing, pictures[start : start + at_once])[1] for start in starts]
        return counts, np.concatenate([vectors, *rest]) if rest else vectors

    def _some(self, laid: _Tensors, pictures: Sequence[Pixels]) -> tuple[tf.Tensor, Vector]:
        """As `embed`, of no more than go through the tower together."""
        size = next(size for size in self._sizes if size >= len(pictures))
        batch = np.zeros((size, *self._shape), np.uint8)
        for row, pixels in zip(batch, pictures, strict=False):
            row[...] = pixels
        counts, vectors = self._embed(laid, batch)
        return counts, vectors[: len(pictures)]  # the rest is filling


class Spaces:
    """What a batch is computed with. Call `compute` from one thread."""

    def __init__(self) -> None:
        self._count = _counting_function()

    def warm_up(self) -> None:
        """Run what counts histograms alone once."""
        self.compute([Work((ToCount(HistogramSettings(), np.zeros((8, 8, 1), np.uint8)),))])

    def compute(self, works: Sequence[Work]) -> list[Embedded]:
        """Embed a batch, in order: of any mixture of settings and models, at most as many pictures as the models were made
        for."""
        counted: dict[int, list[tuple[_Place, ToCount]]] = {}
        shown: dict[TracedModel, list[tuple[_Place, ToShow]]] = {}
        for number, work in enumerate(works):
            for index, part in enumerate(work.parts):
                if isinstance(part, ToCount):
                    counted.setdefault(part.settings.bins, []).append(((number, index), part))
                else:
                    shown.setdefault(part.model, []).append(((number, index), part))
        made: dict[_Place, Vector] = {}
        # The usual batch is one group of each: then both are one call of one graph.
        while counted or shown:
            bins, to_count = counted.popitem() if counted else (1, [])
            laid = _laid_out([part for _, part in to_count]).tensors(bins)
            if shown:
                model, to_show = shown.popitem()
                counts, vectors = model.embed(laid, [part.pixels for _, part in to_show])
                made.update(zip((place for place, _ in to_show), vectors, strict=True))
            else:
                counts = self._count(*laid)
            if to_count:
                ends = np.cumsum([part.settings.dimension for _, part in to_count])[:-1]
                made.update(zip((place for place, _ in to_count), np.split(counts.numpy(), ends), strict=True))
        return [tuple(made[number, index] for index in range(len(work.parts))) for number, work in enumerate(works)]


@dataclass(frozen=True, slots=True)
class _Layout:
    """`pixels` uint8 `[p]`, `owner` int32 `[p]`, `totals` float32 `[owners]`: how many values the owner's image has."""

    pixels: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.int32]
    totals: npt.NDArray[np.float32]

    def tensors(self, bins: int) -> _Tensors:
        return tf.constant(self.pixels), tf.constant(self.owner), tf.constant(self.totals), tf.constant(bins, tf.int32)


_NO_CANVAS = _Layout(np.empty(0, np.uint8), np.empty(0, np.int32), np.ones(1, np.float32))
"""One owner of nothing: a graph has no use for no places at all."""


def _laid_out(parts: Sequence[ToCount]) -> _Layout:
    """The canvases of one number of bins, end to end."""
    if not parts:
        return _NO_CANVAS
    pixels: list[npt.NDArray[np.uint8]] = []
    owner: list[npt.NDArray[np.int32]] = []
    totals: list[npt.NDArray[np.float32]] = []
    first = 0
    for part in parts:
        height, width, _ = part.canvas.shape
        owned = part.settings.dimension // part.settings.bins
        pixels.append(part.canvas.ravel())
        owner.append(owners(height, width, part.settings) + np.int32(first))
        totals.append(np.full(owned, part.canvas.size, np.float32))
        first += owned
    return _Layout(np.concatenate(pixels), np.concatenate(owner), np.concatenate(totals))


_LAYOUT_SPEC = (
    tf.TensorSpec((None,), tf.uint8), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32),
    tf.TensorSpec((), tf.int32),
)  # fmt: skip


def _histograms(pixels: tf.Tensor, owner: tf.Tensor, totals: tf.Tensor, bins: tf.Tensor) -> tf.Tensor:
    """Counts over their image's total: float32 `[owners * bins]`. Whole numbers are exact in float32 up to 2^24."""
    # A shift by 8 divides by 256, several times as fast as TensorFlow's division of whole numbers.
    places = owner * bins + tf.bitwise.right_shift(tf.cast(pixels, tf.int32) * bins, 8)
    counts = tf.raw_ops.DenseBincount(input=places, size=tf.size(totals) * bins, weights=tf.constant([], tf.int32))
    return tf.reshape(tf.cast(tf.reshape(counts, (-1, bins)), tf.float32) / totals[:, None], (-1,))


def _counting_function() -> Callable[..., tf.Tensor]:
    function: Callable[..., tf.Tensor] = tf.function(_histograms, input_signature=_LAYOUT_SPEC).get_concrete_function()
    return function


def _counting_beside(towers: Mapping[int, Callable[[Pixels], Vector]]) -> _Embed:
    """Counts, with the vectors from another engine, which has a tower for each batch size."""
    count = _counting_function()
    return lambda laid, batch: (count(*laid), towers[len(batch)](batch))


def _embedding_function(model: Model, execution: Execution) -> _Embed:
    """Counts and vectors in one TensorFlow graph, for any batch size."""
    tower = model.bundle.tower
    shown = tf.TensorSpec((None, tower.input_size, tower.input_size, tower.channels), tf.uint8)
    # The tower alone: to XLA every number of counted pixels would be a graph of its own.
    vectors_of = tf.function(model.frozen(), jit_compile=True) if execution.compiled else model.frozen()

    def both(
        pixels: tf.Tensor, owner: tf.Tensor, totals: tf.Tensor, bins: tf.Tensor, shown: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return _histograms(pixels, owner, totals, bins), vectors_of(shown)

    traced = tf.function(both, input_signature=(*_LAYOUT_SPEC, shown)).get_concrete_function()

    def embed(laid: _Tensors, batch: Pixels) -> tuple[tf.Tensor, Vector]:
        counts, vectors = traced(*laid, tf.constant(batch))
        return counts, vectors.numpy()

    return embed
