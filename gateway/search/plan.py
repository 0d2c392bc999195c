"""Checks a query before anything is called, and makes its `Plan`. Called by `search` and `grouping`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.names import MAX_EF, MAX_MESSAGE_BYTES, MAX_TOP_K
from lookalike.records.collection import Collection
from lookalike.records.image import GivenVector
from lookalike.records.search import ByVectors, Query
from lookalike.spaces import SIAMESE, Space, Vector, vectors_problem

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


def plan(query: Query, collection: Collection) -> Plan:
    """Fill in defaults and check `query` against `collection`. Raises `InvalidArgument` naming the field, or `NotFound`."""
    options, top_k = query.options, query.options.top_k
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgument("top_k", f"{top_k} is out of range; 1 to {MAX_TOP_K} are allowed")
    spaces = tuple(collection.space(name) for name in _space_names(query))
    weights = _weights(options.weights, spaces)
    candidates = top_k if len(spaces) == 1 else min(max(4 * top_k, _MIN_CANDIDATES), _MAX_CANDIDATES)
    if options.ef and not top_k <= options.ef <= MAX_EF:
        raise InvalidArgument("ef", f"{options.ef} is out of range; top_k ({top_k}) to {MAX_EF} are allowed, 0 chooses")
    # HNSW cannot give more neighbours than it looked at, hence never less than the candidates.
    ef = max(options.ef or max(_MIN_EF, 2 * top_k), candidates)
    if options.include_vectors:
        _check_answer_size(spaces, top_k)
    return Plan(spaces, top_k, candidates, ef, weights)


def check_vectors(given: tuple[GivenVector, ...], spaces: tuple[Space, ...]) -> dict[str, Vector]:
    """The query's vectors by space. Raises `InvalidArgument`, or `FailedPrecondition` where a fingerprint differs."""
    wanted = {space.name: space for space in spaces}
    vectors: dict[str, Vector] = {}
    for index, vector in enumerate(given):
        where = f"vectors[{index}]"
        if vector.space in vectors:
            raise InvalidArgument(f"{where}.space", f"{vector.space!r} has a vector already; one per space is allowed")
        if vector.space not in wanted:
            names = ", ".join(wanted)
            raise InvalidArgument(f"{where}.space", f"{vector.space!r} is not among the spaces searched ({names})")
        _check_vector(where, vector, wanted[vector.space])
        vectors[vector.space] = vector.values
    if missing := [name for name in wanted if name not in vectors]:
        raise InvalidArgument("vectors", f"no vector for space {missing[0]!r}, which is to be searched")
    return vectors


def _check_answer_size(spaces: tuple[Space, ...], top_k: int) -> None:
    """Raise `InvalidArgument` for more than fits: gRPC itself would refuse the message without a word about why."""
    size_bytes = top_k * 4 * sum(space.dimension for space in spaces)
    if size_bytes > MAX_VECTOR_BYTES:
        problem = f"the vectors of {top_k} neighbours take {size_bytes} bytes; at most {MAX_VECTOR_BYTES} fit into an answer"
        raise InvalidArgument("include_vectors", problem)


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


def _space_names(query: Query) -> tuple[str, ...]:
    target = query.target
    if query.options.spaces:
        seen: set[str] = set()
        for name in query.options.spaces:
            if name in seen:
                raise InvalidArgument("spaces", f"{name!r} is named more than once")
            seen.add(name)
        return query.options.spaces
    if isinstance(target, ByVectors):
        if not target.vectors:
            raise InvalidArgument("vectors", "is empty; give one vector per space to search")
        return tuple(dict.fromkeys(vector.space for vector in target.vectors))
    return (SIAMESE,)


def _weights(weights: Mapping[str, float], spaces: tuple[Space, ...]) -> tuple[float, ...]:
    names = [space.name for space in spaces]
    for name, weight in weights.items():
        if name not in names:
            raise InvalidArgument(f"weights.{name}", f"{name!r} is not among the spaces searched ({', '.join(names)})")
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidArgument(f"weights.{name}", f"{weight:g} is not allowed; weights are above 0")
    given = [float(weights.get(name, 1.0)) for name in names]
    return tuple(weight / sum(given) for weight in given)
