"""The request and the result of a search. Its options are in `search_options`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from lookalike.errors import LookalikeError
from lookalike.records.image import GivenVector, Image
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import Space, Vector


@dataclass(frozen=True, slots=True)
class ByImage:
    """Look for this encoded picture."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ByVectors:
    """Look for these vectors, at most one per space."""

    vectors: tuple[GivenVector, ...]


@dataclass(frozen=True, slots=True)
class ByStoredImage:
    """Look for the image that the collection holds under this id."""

    image_id: str


Query: TypeAlias = ByImage | ByVectors | ByStoredImage
"""What to look for."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search. The gateway fills in the options that are left open."""

    collection: str
    query: Query
    options: SearchOptions = SearchOptions()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class SearchBatchRequest:
    """Searches of one collection with the same options. A query that could not be read is given as its error."""

    collection: str
    queries: Sequence[Query | LookalikeError]
    options: SearchOptions = SearchOptions()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class SpaceShare:
    """The part of one space in a hit. `distance` is in the space's metric, `similarity` in [0, 1]; the `share`s of a hit add up
    to its similarity."""

    space: str
    distance: float
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit. `rank` counts from 1; `similarity` is in [0, 1], higher is nearer; `distance` is None where spaces were fused;
    `shares` has one entry per space searched."""

    image: Image
    rank: int
    distance: float | None
    similarity: float
    shares: tuple[SpaceShare, ...]


@dataclass(frozen=True, slots=True)
class SearchTiming:
    """The time of a search in the gateway, and of its legs; searches that are answered together share them. `fuse` is None
    where one space was searched."""

    total: timedelta
    query_vectors: timedelta
    nearest: timedelta
    fuse: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, nearest first; the spaces that answered; the query's own vectors by space, where asked for; the `ef` used;
    the time it took."""

    neighbours: tuple[Neighbour, ...]
    spaces: tuple[Space, ...]
    query_vectors: Mapping[str, Vector]
    ef: int
    timing: SearchTiming


Outcome: TypeAlias = SearchResult | LookalikeError
"""The outcome of one query of a batch."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The answer to query `index` (from 0): its `result`, or the `error` that a search for it alone would have raised."""

    index: int
    result: SearchResult | None = None
    error: LookalikeError | None = None
