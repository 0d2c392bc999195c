"""Both spaces in one graph: pixels of a batch in, histograms and siamese vectors out. The compute function of the batcher.

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from embedder.models.model import ON_CPU, Execution, Model
from embedder.pictures.decode import Pixels
from lookalike.errors import FailedPrecondition
from lookalike.spaces import HistogramSettings, Vector

K = TypeVar("K")

CompileTower: TypeAlias = Callable[[Model, int], Callable[[Pixels], Vector]]
"""How another engine makes the tower of a model for one batch size, as `openvino_engine.OpenVino.compile_tower` does."""
_Tensors: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""What is counted, as the graphs take it: pixels, owners, totals, bins (see `_Layout`)."""
_Embed: TypeAlias = Callable[[_Tensors, Pixels], tuple[tf.Tensor, Vector]]
"""Both spaces: what is counted and uint8 `[n, side, side, channels]`, `n` a batch size -> counts, float32 `[n, dim]`."""


@dataclass(frozen=True, slots=True)
class Work:
    """A picture to embed. `canvas` uint8 `[h, w, histogram.channels]`, or None: no histogram wanted. `tower` uint8
    `[side, side, channels]` as `model` sees it, or None for both: no siamese vector wanted.

    It holds the model itself and not its name: what a picture waits for cannot be taken away or swapped under it.
    """

    histogram: HistogramSettings
    canvas: Pixels | None
    model: TracedModel | None
    tower: Pixels | None

    @property
    def size_bytes(self) -> int:
        """What it takes in a batch: a canvas brings an int32 owner for each value."""
        canvas = 0 if self.canvas is None else 5 * self.canvas.nbytes
        return canvas + (0 if self.tower is None else self.tower.nbytes)


@dataclass(frozen=True, slots=True)
class Embedded:
    """float32 `[dimension]` per space asked for: `histogram` sums to 1, `siamese` has length 1."""

    histogram: Vector | None
    siamese: Vector | None


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
    """A model traced: both spaces in one call. Made in whatever thread; then used from one, while others may be made.

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
                works = [Work(settings, shown, self, np.zeros(self._shape, np.uint8))] * size
                _, vectors = self.embed(_laid_out(works).tensors(settings.bins), works)
                if not np.isfinite(vectors).all():
                    problem = f"model {self.bundle.name!r} gives vectors that are no numbers: its weights are damaged"
                    raise FailedPrecondition(problem, reason="MODEL_NOT_FINITE")
            report(size, time.perf_counter() - started_s)

    def embed(self, laid: _Tensors, works: Sequence[Work]) -> tuple[tf.Tensor, Vector]:
        """The counts of what is laid out, and float32 `[len(works), dim]` of their towers' pixels."""
        at_once = self._sizes[-1]
        counts, vectors = self._some(laid, works[:at_once])
        rest = [self._some(self._nothing, works[start : start + at_once])[1] for start in range(at_once, len(works), at_once)]
        return counts, np.concatenate([vectors, *rest]) if rest else vectors

    def _some(self, laid: _Tensors, works: Sequence[Work]) -> tuple[tf.Tensor, Vector]:
        """As `embed`, of no more than go through the tower together."""
        size = next(size for size in self._sizes if size >= len(works))
        batch = np.zeros((size, *self._shape), np.uint8)
        for row, work in zip(batch, works, strict=False):
            if work.tower is not None:
                row[...] = work.tower
        counts, vectors = self._embed(laid, batch)
        return counts, vectors[: len(works)]  # the rest is filling


class Spaces:
    """What a batch is computed with. Call `compute` from one thread."""

    def __init__(self) -> None:
        self._count = _counting_function()

    def warm_up(self) -> None:
        """Run what counts histograms alone once."""
        self.compute([Work(HistogramSettings(), np.zeros((8, 8, 1), np.uint8), None, None)])

    def compute(self, works: Sequence[Work]) -> list[Embedded]:
        """Embed a batch, in order: of any mixture of settings, models and spaces, at most as many pictures as the models were
        made for."""
        histograms: dict[int, Vector] = {}
        siamese: dict[int, Vector] = {}
        by_bins = _grouped(works, lambda work: work.histogram.bins if work.canvas is not None else None)
        by_model = _grouped(works, lambda work: work.model if work.tower is not None else None)
        # The usual batch is one group of each: then both spaces are one call of one graph.
        while by_bins or by_model:
            bins, counted = by_bins.pop() if by_bins else (1, [])
            model, shown = by_model.pop() if by_model else (None, [])
            laid = _laid_out([works[index] for index in counted]).tensors(bins)
            if model is not None:
                counts, vectors = model.embed(laid, [works[index] for index in shown])
                siamese.update(zip(shown, vectors, strict=True))
            else:
                counts = self._count(*laid)
            if counted:
                ends = np.cumsum([works[index].histogram.dimension for index in counted])[:-1]
                histograms.update(zip(counted, np.split(counts.numpy(), ends), strict=True))
        return [Embedded(histograms.get(index), siamese.get(index)) for index in range(len(works))]


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


def _laid_out(works: Sequence[Work]) -> _Layout:
    """The canvases of one number of bins, end to end."""
    pixels: list[npt.NDArray[np.uint8]] = []
    owner: list[npt.NDArray[np.int32]] = []
    totals: list[npt.NDArray[np.float32]] = []
    first = 0
    for work in works:
        if work.canvas is not None:
            height, width, _ = work.canvas.shape
            owned = work.histogram.dimension // work.histogram.bins
            pixels.append(work.canvas.ravel())
            owner.append(owners(height, width, work.histogram) + np.int32(first))
            totals.append(np.full(owned, work.canvas.size, np.float32))
            first += owned
    return _Layout(np.concatenate(pixels), np.concatenate(owner), np.concatenate(totals)) if pixels else _NO_CANVAS


def _grouped(works: Iterable[Work], key: Callable[[Work], K | None]) -> list[tuple[K, list[int]]]:
    """Indices of `works` by `key`; those whose key is None are left out."""
    groups: defaultdict[K, list[int]] = defaultdict(list)
    for index, work in enumerate(works):
        value = key(work)
        if value is not None:
            groups[value].append(index)
    return list(groups.items())


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
    """Both spaces, with the vectors from another engine, which has a tower for each batch size."""
    count = _counting_function()
    return lambda laid, batch: (count(*laid), towers[len(batch)](batch))


def _embedding_function(model: Model, execution: Execution) -> _Embed:
    """Both spaces in one TensorFlow graph, for any batch size."""
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
