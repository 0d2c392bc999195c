"""Queries put to a running gateway, several at once, each in every space. Called by `embedder.evaluation.collection`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from embedder.datasets.sources import Listing, Skipped, read, reason_of
from embedder.evaluation.labelled import spread
from embedder.evaluation.result import SHOWN
from embedder.evaluation.stored import Stored
from embedder.evaluation.vectors import Report
from lookalike.client import Client, Collection, SearchResult
from lookalike.demo.dataset import png
from lookalike.errors import BadImage, InvalidArgument, LookalikeError
from lookalike.names import MAX_TOP_K
from lookalike.spaces import Vector

QUERIES = 1000
"""Asked by default: each costs two searches in every space, a fifth of them three."""
WIDEST = 32_768
"""The broadest search that a server may be asked for (`ef`); what the index is judged by."""
JUDGED = 200
"""Queries on which the index is judged."""
_TIED = 1e-5
"""Distances that float32 cannot distinguish count as equal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`limit` queries (0: all), `depth` neighbours each for mAP (10 to 1,000; 0: no mAP), `threads` queries at once.

    Raises `InvalidArgument` for a depth out of range.
    """

    limit: int = QUERIES
    depth: int = MAX_TOP_K
    threads: int = 4

    def __post_init__(self) -> None:
        if self.depth and not SHOWN <= self.depth <= MAX_TOP_K:
            raise InvalidArgument("--depth", f"{self.depth} is neither 0 nor {SHOWN} to {MAX_TOP_K:,}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a query in a space, as gallery rows nearest first, without the query's own: up to ten `near` with their
    `distances`, and `deep`. Where the index was judged, `agreed` of the `truly` nearest ten were among `near`."""

    near: tuple[int, ...]
    distances: tuple[float, ...]
    deep: tuple[int, ...]
    vector: Vector = field(repr=False)
    agreed: int
    truly: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A query's `row`, the gallery's rows that are the same picture, and what each space answered."""

    row: int
    own: frozenset[int]
    answers: Mapping[str, Answer]


class Asking:
    """Asks one collection, as it was when it was listed."""

    def __init__(self, client: Client, collection: Collection, stored: Stored, plan: Plan) -> None:
        self._client, self._collection, self._stored, self._plan = client, collection.name, stored, plan
        self._spaces = [space.name for space in collection.spaces]

    def ask(self, queries: Listing, report: Report) -> tuple[list[Asked], list[Skipped]]:
        """In order. A picture that cannot be read, or that the gateway cannot decode, is skipped; any other error is raised."""
        judged = frozenset(spread(len(queries), JUDGED).tolist())
        asked: list[Asked] = []
        skipped: list[Skipped] = []
        pool = ThreadPoolExecutor(self._plan.threads, "query")
        try:
            for row, outcome in enumerate(pool.map(partial(self._one, queries, judged), range(len(queries)))):
                if isinstance(outcome, Skipped):
                    skipped.append(outcome)
                else:
                    asked.append(outcome)
                report("asking the gateway", row + 1, len(queries))
        finally:
            pool.shutdown(cancel_futures=True)
        return asked, skipped

    def _one(self, queries: Listing, judged: frozenset[int], row: int) -> Asked | Skipped:
        uri = queries.uris[row]
        try:
            content = _content(queries, row)
        except LookalikeError as error:
            return Skipped(uri, reason_of(error))
        own = self._stored.same_as(uri, hashlib.sha256(content).hexdigest())
        try:
            answers = {space: self._answer(content, space, own, judge=row in judged) for space in self._spaces}
        except BadImage as error:
            return Skipped(uri, error.problem)
        return Asked(row, own, answers)

    def _answer(self, content: bytes, space: str, own: frozenset[int], *, judge: bool) -> Answer:
        ordinary = self._search(content, space, SHOWN + len(own))
        near = self._hits(ordinary, own)[:SHOWN]
        deep: list[tuple[int, float]] = []
        if self._plan.depth:
            deep = self._hits(self._search(content, space, self._plan.depth + len(own)), own)
        wide: list[tuple[int, float]] = []
        if judge:
            wide = self._hits(self._search(content, space, SHOWN + len(own), ef=WIDEST), own)[:SHOWN]
        agreed = sum(distance <= wide[-1][1] + _TIED for _, distance in near) if wide else 0
        return Answer(
            near=tuple(row for row, _ in near),
            distances=tuple(distance for _, distance in near),
            deep=tuple(row for row, _ in deep),
            vector=np.asarray(ordinary.query_vectors[space], np.float32),
            agreed=min(agreed, len(wide)),
            truly=len(wide),
        )

    def _search(self, content: bytes, space: str, top_k: int, ef: int = 0) -> SearchResult:
        within = min(MAX_TOP_K, top_k)
        return self._client.search(
            self._collection, image=content, spaces=[space], top_k=within, ef=ef, include_query_vectors=True
        )

    def _hits(self, found: SearchResult, own: frozenset[int]) -> list[tuple[int, float]]:
        """(gallery row, distance), nearest first; what was stored after the collection was listed is left out."""
        rows = ((self._stored.rows.get(hit.image.id), hit.distance or 0.0) for hit in found.neighbours)
        return [(row, distance) for row, distance in rows if row is not None and row not in own]


def _content(queries: Listing, row: int) -> bytes:
    """The encoded picture; of a dataset's own pixels the PNG that the demo writes, so that what it has stored is recognised."""
    return png(queries.pixels[row]) if queries.pixels is not None else read(queries, row)
