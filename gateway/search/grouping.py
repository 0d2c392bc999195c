"""Which queries of a batch are answered together: in one call to the embedder, and in one to Milvus for each space.

Pure rules; `search` carries them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.search.plan import MAX_VECTOR_BYTES, Plan, plan
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL, MAX_QUERIES_PER_BATCH, MAX_TOP_K
from lookalike.records.collection import Collection
from lookalike.records.image import ImageView
from lookalike.records.search import ByImage, ByStoredImage, Query, SearchBatchRequest
from lookalike.records.search_options import SearchOptions

Placed: TypeAlias = tuple[int, Query]
"""A query and its place in the request."""
_MAX_HITS = MAX_IMAGES_PER_CALL * 100
"""The hits of one call to Milvus, over all its queries: as many as 32 queries for a hundred neighbours give, some MB. Each hit
may come with 18 KB of metadata and URI, and is held until the answers have been sent."""


@dataclass(frozen=True, slots=True)
class Groups:
    """How a batch is answered. `refused` are the queries that cannot be, by place."""

    groups: Sequence[Sequence[Placed]]
    refused: Sequence[tuple[int, LookalikeError]]


@dataclass(slots=True)
class _Open:
    """A group that still takes queries."""

    placed: list[Placed] = field(default_factory=list)
    size_bytes: int = 0


def check_batch(batch: SearchBatchRequest) -> None:
    """Raises `InvalidArgument` for a number of queries that is not allowed."""
    if not 1 <= len(batch.queries) <= MAX_QUERIES_PER_BATCH:
        raise InvalidArgument("queries", f"{len(batch.queries)} are given; 1 to {MAX_QUERIES_PER_BATCH} are allowed")


def groups_of(queries: Sequence[Query | LookalikeError], options: SearchOptions, collection: Collection) -> Groups:
    """Cut `queries` into groups of one kind and one plan, each small enough for one call; in order of their first query.

    Raises the error of the first query where every query has one.
    """
    refused: list[tuple[int, LookalikeError]] = []
    groups: list[_Open] = []
    latest: dict[tuple[object, ...], _Open] = {}
    for index, query in enumerate(queries):
        if isinstance(query, LookalikeError):
            refused.append((index, query))
            continue
        try:
            planned = plan(query, options, collection)
        except LookalikeError as error:
            refused.append((index, error))
            continue
        kind = (type(query), planned.spaces)
        size_bytes = len(query.content) if isinstance(query, ByImage) else 0
        group = latest.get(kind)
        if (
            group is None
            or len(group.placed) >= most_together(query, planned)
            or group.size_bytes + size_bytes > MAX_CALL_BYTES
        ):
            group = latest[kind] = _Open()
            groups.append(group)
        group.placed.append((index, query))
        group.size_bytes += size_bytes
    if not groups:
        raise refused[0][1]
    return Groups([group.placed for group in groups], refused)


def most_together(query: Query, planned: Plan) -> int:
    """How many queries like this one go into one call."""
    if isinstance(query, ByStoredImage) and planned.candidates >= MAX_TOP_K:
        return 1  # The store gives no more hits than this, and one of them may be the image itself.
    most = min(MAX_IMAGES_PER_CALL, _MAX_HITS // planned.candidates)
    if planned.options.view is ImageView.FULL or len(planned.spaces) > 1:
        hit_bytes = 4 * sum(space.dimension for space in planned.spaces)
        most = min(most, MAX_VECTOR_BYTES // (planned.candidates * hit_bytes))
    return max(1, most)
