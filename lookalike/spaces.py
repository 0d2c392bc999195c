"""What a space is, and the arithmetic of distance and similarity. NumPy only; every service means the same by these."""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.names import check_name

HISTOGRAM = "histogram"
SIAMESE = "siamese"
"""Names of the spaces of a collection whose creator asks for none."""

Vector = npt.NDArray[np.float32]
"""float32 `[dimension]`, or `[n, dimension]` for several."""

_BINS = (8, 16, 32, 64, 128, 256)
_MAX_GRID = 8
MAX_SPACES = 8
"""Bounds the spaces of a collection."""
MAX_DIMENSION = 32_768
"""Milvus stores no longer vector (its documentation, "Limits")."""
MIN_DIRECTION, MAX_DIRECTION = 1e-12, 1e12
"""Length of a vector that is compared by its direction: Milvus squares and adds in float32, which ends at 1e-38 and 3e38."""
MAX_LENGTH = 1000.0
"""The length of a vector that is compared by Euclidean distance. Histograms sum to 1; far beyond, two vectors look the same in
float32."""
_HISTOGRAM_MATHS = "histogram-3"
"""Raise it when the code between encoded bytes and counts changes what comes out."""


class Metric(enum.Enum):
    """How two vectors of a space are compared; the value is Milvus' own word."""

    L2 = "L2"
    COSINE = "COSINE"

    def distance(self, a: Vector, b: Vector) -> Vector:
        """Distance along the last axis, with broadcasting: Euclidean, or 1 - cos."""
        if self is Metric.L2:
            return np.asarray(np.linalg.norm(a - b, axis=-1), np.float32)
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        return np.asarray(1.0 - np.sum(a * b, axis=-1) / np.maximum(lengths, 1e-12), np.float32)

    def similarity(self, distance: float) -> float:
        """Distance -> [0, 1], higher is nearer: (1 + cos) / 2, or 1 - d / sqrt(2) for histograms that sum to 1."""
        value = 1.0 - (distance / math.sqrt(2.0) if self is Metric.L2 else distance / 2.0)
        return min(1.0, max(0.0, value))


@dataclass(frozen=True, slots=True)
class HistogramSettings:
    """How the histogram space counts: `bins` per channel and cell, `grid` x `grid` cells, grey or (`color`) R, G and B apart.

    Raises `InvalidArgument` for values out of range.
    """

    bins: int = 256
    grid: int = 1
    color: bool = False

    def __post_init__(self) -> None:
        if type(self.bins) is not int or self.bins not in _BINS:
            raise InvalidArgument("histogram.bins", f"{self.bins!r} is not one of {', '.join(map(str, _BINS))}")
        if type(self.grid) is not int:
            raise InvalidArgument("histogram.grid", f"{self.grid!r} is not a whole number; 1 to {_MAX_GRID} are allowed")
        if not 1 <= self.grid <= _MAX_GRID:
            raise InvalidArgument("histogram.grid", f"{self.grid} is out of range; 1 to {_MAX_GRID} are allowed")
        if not isinstance(self.color, bool):
            raise InvalidArgument("histogram.color", f"{self.color!r} is neither True nor False")
        if self.dimension > MAX_DIMENSION:
            raise InvalidArgument("histogram", f"{self.dimension} counts are too many; at most {MAX_DIMENSION} can be stored")

    @property
    def channels(self) -> int:
        return 3 if self.color else 1

    @property
    def dimension(self) -> int:
        """Counts in a vector, ordered by cell (row by row), then channel (R, G, B), then bin."""
        return self.grid * self.grid * self.channels * self.bins

    @property
    def metric(self) -> Metric:
        return Metric.L2

    def space(self, name: str = HISTOGRAM) -> Space:
        """The space called `name` that these settings give."""
        recipe = f"{_HISTOGRAM_MATHS} bins={self.bins} grid={self.grid} color={self.color}"
        fingerprint = hashlib.sha256(recipe.encode()).hexdigest()[:16]
        return Space(name, self.dimension, self.metric, fingerprint, self)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The model that fills a space, by its name. "" means the embedder's default model; no space of a collection has it.

    Raises `InvalidArgument` for a name that no model can have.
    """

    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InvalidArgument("model.name", f"{self.name!r} is not text")
        if self.name:
            check_name("model.name", self.name)

    @property
    def metric(self) -> Metric:
        return Metric.COSINE


SpaceKind: TypeAlias = HistogramSettings | ModelSettings
"""What makes the vectors of a space."""


@dataclass(frozen=True, slots=True)
class UnknownKind:
    """What a newer server has for the kind of a space, in a client that does not know it."""


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """A space to make: its name and its kind. Raises `InvalidArgument` for what no space can have."""

    name: str
    kind: SpaceKind

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InvalidArgument("name", f"{self.name!r} is not text")
        check_name("name", self.name)
        if not isinstance(self.kind, SpaceKind):
            raise InvalidArgument("kind", f"{type(self.kind).__name__} is neither HistogramSettings nor ModelSettings")


DEFAULT_SPACES = (SpaceSpec(HISTOGRAM, HistogramSettings()), SpaceSpec(SIAMESE, ModelSettings()))
"""The spaces of a collection whose creator asks for none."""


@dataclass(frozen=True, slots=True)
class Space:
    """A way of looking at an image: a name, the length of its vectors, how they are compared, a fingerprint, and its kind."""

    name: str
    dimension: int
    metric: Metric
    fingerprint: str
    kind: SpaceKind | UnknownKind

    @property
    def model(self) -> str:
        """Name of the model that fills it; "" for a histogram."""
        return self.kind.name if isinstance(self.kind, ModelSettings) else ""

    @property
    def known(self) -> bool:
        """Whether this version knows its metric and its kind: what a newer server says of it may hold neither."""
        return self.metric in tuple(Metric) and not isinstance(self.kind, UnknownKind)

    @property
    def spec(self) -> SpaceSpec:
        """Raises `FailedPrecondition` for a kind that this version does not know."""
        if isinstance(self.kind, UnknownKind):
            raise FailedPrecondition(f"space {self.name!r} is of a kind that this version of lookalike does not know")
        return SpaceSpec(self.name, self.kind)


def check_distinct(field: str, names: Iterable[str]) -> None:
    """Raise `InvalidArgument` for the first of the `names` of spaces that came before; `field` has `{}` for its place."""
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name in seen:
            raise InvalidArgument(field.format(place), f"{name!r} comes twice; each space has a name of its own")
        seen.add(name)


def vectors_problem(vectors: Vector, metric: Metric) -> str:
    """What keeps `vectors`, `[n, dimension]`, from being compared in float32; "" where nothing does."""
    if not np.isfinite(vectors).all():
        return "holds a value that is not a finite number"
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if metric is Metric.L2:
        if lengths.size and lengths.max() > MAX_LENGTH:
            return f"has a length of {lengths.max():.3g}; at most {MAX_LENGTH:,.0f} is allowed, as a histogram sums to 1"
    elif not lengths.all():
        return "is all zeros, which has no direction to compare"
    elif lengths.size and (lengths.min() < MIN_DIRECTION or lengths.max() > MAX_DIRECTION):
        length = lengths.max() if lengths.max() > MAX_DIRECTION else lengths.min()
        return f"has a length of {length:.3g}; {MIN_DIRECTION:g} to {MAX_DIRECTION:g} are allowed, scale it"
    return ""


def check_vectors(name: str, vectors: Vector, space: Space) -> None:
    """Raise `InvalidArgument` for field `name` unless `vectors` is `[n, dimension]` and can be compared: finite, and
    of a length that float32 can compute with."""
    if vectors.ndim != 2 or vectors.shape[1] != space.dimension:
        raise InvalidArgument(
            name, f"has {vectors.shape[-1] if vectors.ndim else 0} values; space {space.name!r} needs {space.dimension}"
        )
    if problem := vectors_problem(vectors, space.metric):
        raise InvalidArgument(name, problem)
