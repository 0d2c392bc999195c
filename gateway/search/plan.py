"""Checks a query before anything is called, and makes its `Plan`. Called by `search` and `grouping`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.names import MAX_EF, MAX_MESSAGE_BYTES, MAX_TOP_K
from lookalike.records.collection import Collection
from lookalike.records.image import GivenVector, ImageView
from lookalike.records.search import ByVectors, Query
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import Space, Vector, vectors_problem

_VECTORS = "query.vectors.spaces"
_MIN_EF = 64
MAX_VECTOR_BYTES = MAX_MESSAGE_BYTES * 3 // 4
"""The bytes of vectors in a message; the rest is for ids, URIs and metadata."""
_MIN_CANDIDATES = 50
_MAX_CANDIDATES = MAX_TOP_K
"""The candidates of a space at most: as many as the store gives in one search."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A query whose every value is known and allowed: what `search` carries out."""

    spaces: tuple[Space, ...]
    top_k: int
    candidates: int
    """How many are asked of each space: more than `top_k` where two are fused, as the best of both may be the best of
    neither."""
    ef: int
    weights: tuple[float, ...]
    """One per space, adding up to 1."""
    options: SearchOptions
    """The options that it was made of, for what is as the caller wrote it."""


def plan(query: Query, options: SearchOptions, collection: Collection) -> Plan:
    """Check the search against `collection`, and fill in what it leaves open: by the collection's defaults where it has any.
    Raises `InvalidArgument` naming the field, or `NotFound`."""
    top_k = options.top_k
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgument("options.top_k", f"{top_k} is out of range; 1 to {MAX_TOP_K} are allowed")
    spaces = tuple(collection.space(name, field) for name, field in _space_names(query, options, collection))
    weights = _weights(options.weights, spaces, collection.defaults.weights)
    candidates = top_k if len(spaces) == 1 else min(max(4 * top_k, _MIN_CANDIDATES), _MAX_CANDIDATES)
    if options.ef and not top_k <= options.ef <= MAX_EF:
        problem = f"{options.ef} is out of range; top_k ({top_k}) to {MAX_EF} are allowed, 0 chooses"
        raise InvalidArgument("options.ef", problem)
    # HNSW cannot give more neighbours than it looked at, hence never less than the candidates.
    ef = max(options.ef or collection.defaults.ef or max(_MIN_EF, 2 * top_k), candidates)
    if options.view is ImageView.FULL:
        _check_answer_size(spaces, top_k)
    return Plan(spaces, top_k, candidates, ef, weights, options)


def check_vectors(given: tuple[GivenVector, ...], spaces: tuple[Space, ...]) -> dict[str, Vector]:
    """The query's vectors by space. Raises `InvalidArgument`, or `FailedPrecondition` where a fingerprint differs."""
    wanted = {space.name: space for space in spaces}
    vectors: dict[str, Vector] = {}
    for index, vector in enumerate(given):
        where = f"{_VECTORS}[{index}]"
        if vector.space in vectors:
            raise InvalidArgument(f"{where}.space", f"{vector.space!r} has a vector already; one per space is allowed")
        if vector.space not in wanted:
            names = ", ".join(wanted)
            raise InvalidArgument(f"{where}.space", f"{vector.space!r} is not among the spaces searched ({names})")
        _check_vector(where, vector, wanted[vector.space])
        vectors[vector.space] = vector.values
    if missing := [name for name in wanted if name not in vectors]:
        raise InvalidArgument(_VECTORS, f"no vector for space {missing[0]!r}, which is to be searched")
    return vectors


def _check_answer_size(spaces: tuple[Space, ...], top_k: int) -> None:
    """Raise `InvalidArgument` for more than fits: gRPC itself would refuse the message without a word about why."""
    size_bytes = top_k * 4 * sum(space.dimension for space in spaces)
    if size_bytes > MAX_VECTOR_BYTES:
        problem = f"the vectors of {top_k} neighbours take {size_bytes} bytes; at most {MAX_VECTOR_BYTES} fit into an answer"
        raise InvalidArgument("options.view", problem)


def _check_vector(where: str, vector: GivenVector, space: Space) -> None:
    if vector.fingerprint and vector.fingerprint != space.fingerprint:
        raise FailedPrecondition(
            f"{where}.fingerprint: the vector was made with fingerprint {vector.fingerprint}, "
            f"space {space.name!r} holds vectors of {space.fingerprint}",
            reason="FINGERPRINT_MISMATCH",
            field=f"{where}.fingerprint",
            metadata={"space": space.name, "expected": space.fingerprint, "actual": vector.fingerprint},
        )
    if vector.values.size != space.dimension:
        problem = f"has {vector.values.size} values; space {space.name!r} has dimension {space.dimension}"
        raise InvalidArgument(f"{where}.values", problem, reason="DIMENSION_MISMATCH")
    if problem := vectors_problem(vector.values[None], space.metric):
        raise InvalidArgument(f"{where}.values", problem)


def _space_names(query: Query, options: SearchOptions, collection: Collection) -> Iterable[tuple[str, str]]:
    """The name of each space to search, and the field that names it."""
    named: dict[str, str] = {}
    for index, name in enumerate(options.spaces):
        field = f"options.spaces[{index}]"
        if name in named:
            raise InvalidArgument(field, f"{name!r} is named more than once")
        named[name] = field
    if named:
        return named.items()
    if isinstance(query, ByVectors):
        if not query.vectors:
            raise InvalidArgument(_VECTORS, "is empty; give one vector per space to search")
        # A space with two vectors is refused by `check_vectors`.
        return {vector.space: f"{_VECTORS}[{index}].space" for index, vector in enumerate(query.vectors)}.items()
    names = collection.defaults.spaces or (collection.default_space.name,)
    return ((name, "options.spaces") for name in names)


def _weights(weights: Mapping[str, float], spaces: tuple[Space, ...], defaults: Mapping[str, float]) -> tuple[float, ...]:
    names = [space.name for space in spaces]
    for name, weight in weights.items():
        if name not in names:
            raise InvalidArgument(f"options.weights.{name}", f"{name!r} is not among the spaces searched ({', '.join(names)})")
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidArgument(f"options.weights.{name}", f"{weight:g} is not allowed; weights are above 0")
    given = [float((weights or defaults).get(name, 1.0)) for name in names]
    return tuple(weight / sum(given) for weight in given)
