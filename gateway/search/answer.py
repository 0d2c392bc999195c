"""Answers queries that are alike together: their vectors -> nearest in each space -> one list each. Called by `search` only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from prometheus_client import Histogram

from gateway.backends.milvus import Backends
from gateway.backends.threads import Threads, off_loop
from gateway.search import fusion
from gateway.search.coalescing import Ask, MergedSearches
from gateway.search.grouping import most_together
from gateway.search.plan import Plan, check_vectors
from gateway.search.query_embeddings import QueryEmbeddings
from gateway.search.sampled_recall import SampledRecall
from gateway.search.timing import Stopwatch
from lookalike.errors import LookalikeError, NotFound
from lookalike.names import check_id
from lookalike.records.collection import Collection
from lookalike.records.image import Hit, ImageView, StoredImage
from lookalike.records.model import Embedding
from lookalike.records.search import ByImage, ByStoredImage, ByVectors, Neighbour, Outcome, Query, SearchResult
from lookalike.runtime.call import Call
from lookalike.spaces import Space, Vector

T = TypeVar("T")
Vectors: TypeAlias = Mapping[str, Vector]

HITS = Histogram(
    "lookalike_gateway_search_hits",
    "Neighbours in an answer; the bucket of 0 counts searches that found nothing.",
    buckets=(0, 1, 5, 10, 20, 50, 100, 200, 500, 1000),
)


_IMAGE_ID = "query.image_id"
_RANKED_AT_ONCE = 200
"""The hits that are fused on the loop: as many as a search for a few neighbours in two spaces finds; some 3 ms."""


class Answering:
    """One per process, used from one event loop."""

    def __init__(
        self,
        backends: Backends,
        embeddings: QueryEmbeddings,
        searches: MergedSearches,
        sampled_recall: SampledRecall,
        threads: Threads,
    ) -> None:
        self._backends, self._embeddings, self._searches, self._threads = backends, embeddings, searches, threads
        self._sampled_recall = sampled_recall

    async def answer(
        self, collection: Collection, queries: Sequence[Query], planned: Plan, call: Call, watch: Stopwatch
    ) -> list[Outcome]:
        """What becomes of each of `queries`, which are of one plan and one kind.

        An error of one query is its outcome; raises what ends them all.
        """
        with watch.leg("query_vectors"):
            outcomes: list[Embedding] = await self._query_vectors(collection, queries, planned, call)
        good = [
            (query, outcome)
            for query, outcome in zip(queries, outcomes, strict=True)
            if not isinstance(outcome, LookalikeError)
        ]
        answers = iter(await self._answers(collection, good, planned, call, watch) if good else ())
        return [outcome if isinstance(outcome, LookalikeError) else next(answers) for outcome in outcomes]

    async def _answers(
        self, collection: Collection, good: Sequence[tuple[Query, Vectors]], planned: Plan, call: Call, watch: Stopwatch
    ) -> list[SearchResult]:
        queries, vectors = [query for query, _ in good], [vectors for _, vectors in good]
        with watch.leg("nearest"):
            found = await self._nearest(collection, queries, planned, vectors, call)
        if len(planned.spaces) == 1:
            space = planned.spaces[0]
            neighbours = [fusion.single(hits[space.name], space) for hits in found]
        else:
            with watch.leg("fuse"):
                neighbours = await self._fused(collection, planned, vectors, found, call)
        for hits in neighbours:
            HITS.observe(len(hits))
        shown = vectors if planned.options.include_query_vectors else [{}] * len(good)
        timing = watch.read()
        return [
            SearchResult(hits, planned.spaces, own, planned.ef, timing) for hits, own in zip(neighbours, shown, strict=True)
        ]

    async def _query_vectors(
        self, collection: Collection, queries: Sequence[Query], planned: Plan, call: Call
    ) -> list[Embedding]:
        if images := [query.content for query in queries if isinstance(query, ByImage)]:
            return await self._embeddings.embed(images, planned.spaces, call)
        if ids := [query.image_id for query in queries if isinstance(query, ByStoredImage)]:
            return await self._stored_vectors(collection, ids, planned, call)
        return [_given_vectors(query, planned.spaces) for query in queries if isinstance(query, ByVectors)]

    async def _stored_vectors(self, collection: Collection, ids: Sequence[str], planned: Plan, call: Call) -> list[Embedding]:
        names = [space.name for space in planned.spaces]
        problems = {image_id: problem for image_id in ids if (problem := _id_problem(image_id))}
        good = [image_id for image_id in ids if image_id not in problems]
        there = await self._stored(collection, good, names, planned, call) if good else {}

        def outcome(image_id: str) -> Embedding:
            image = there.get(image_id)
            if image is None or any(name not in image.vectors for name in names):
                hint = f"collection {collection.name!r} does not hold it"
                return NotFound("image", image_id, hint=hint, field=_IMAGE_ID)
            return {name: image.vectors[name] for name in names}

        return [problems.get(image_id) or outcome(image_id) for image_id in ids]

    async def _nearest(
        self, collection: Collection, queries: Sequence[Query], planned: Plan, vectors: Sequence[Vectors], call: Call
    ) -> list[dict[str, list[Hit]]]:
        """The candidates of each query in every space; the spaces are searched side by side."""
        own = [query.image_id if isinstance(query, ByStoredImage) else "" for query in queries]
        # All queries of a call share one filter. Where several leave out their own image, each asks for one more hit instead.
        exclude = tuple(own) if own[0] and len(own) == 1 else ()
        limit = planned.candidates + (1 if own[0] and not exclude else 0)
        options = planned.options.of_space(limit, planned.ef)

        async def nearest(space: Space) -> list[list[Hit]]:
            ask = Ask(collection, space, options, exclude, most_together(queries[0], planned))
            looked_for = np.stack([by_space[space.name] for by_space in vectors])
            answers = await self._searches.nearest(ask, looked_for, call)
            self._sampled_recall.consider(ask, looked_for, answers)
            return [
                [hit for hit in hits if hit.image.id != left_out][: planned.candidates]
                for hits, left_out in zip(answers, own, strict=True)
            ]

        if len(planned.spaces) == 1:  # the usual query, which a task of its own would slow down
            found = [await nearest(planned.spaces[0])]
        else:
            found = await asyncio.gather(*(nearest(space) for space in planned.spaces))
        return [
            {space.name: hits for space, hits in zip(planned.spaces, by_space, strict=True)}
            for by_space in zip(*found, strict=True)
        ]

    async def _fused(
        self,
        collection: Collection,
        planned: Plan,
        vectors: Sequence[Vectors],
        found: Sequence[Mapping[str, list[Hit]]],
        call: Call,
    ) -> list[tuple[Neighbour, ...]]:
        """Rank the union of the candidates by similarities that are exact in every space, fetching vectors where missing."""
        large = sum(len(hits) for by_space in found for hits in by_space.values()) > _RANKED_AT_ONCE
        candidates = await off_loop(lambda: [fusion.union(hits) for hits in found], large)

        async def missing(space: Space) -> dict[str, StoredImage]:
            ids = [image_id for each in candidates for image_id, known in each.items() if space.name not in known.distances]
            if not ids:
                return {}
            return await self._stored(collection, list(dict.fromkeys(ids)), [space.name], planned, call)

        fetched = await asyncio.gather(*(missing(space) for space in planned.spaces))

        keep_vectors = planned.options.view is ImageView.FULL

        def ranked() -> list[tuple[Neighbour, ...]]:
            complete = candidates
            for space, images in zip(planned.spaces, fetched, strict=True):
                complete = [
                    fusion.complete(each, space, own[space.name], images, keep_vectors=keep_vectors)
                    for each, own in zip(complete, vectors, strict=True)
                ]
            return [fusion.fuse(each, planned) for each in complete]

        return await off_loop(ranked, large)

    async def _stored(
        self, collection: Collection, ids: Sequence[str], spaces: Sequence[str], planned: Plan, call: Call
    ) -> dict[str, StoredImage]:
        """The vectors of stored images, and nothing else of them."""
        consistency = planned.options.consistency

        def get() -> dict[str, StoredImage]:
            timeout_s = call.deadline.remaining_s()  # In the thread, since the wait for it has taken some of the time.
            return self._backends.vectors.get(
                collection, ids, spaces=spaces, facts=False, consistency=consistency, timeout_s=timeout_s
            )

        return await self._threads.run(get, call.deadline)


def _given_vectors(query: ByVectors, spaces: tuple[Space, ...]) -> Embedding:
    try:
        return check_vectors(query.vectors, spaces)
    except LookalikeError as error:
        return error


def _id_problem(image_id: str) -> LookalikeError | None:
    try:
        check_id(_IMAGE_ID, image_id)
    except LookalikeError as error:
        return error
    return None
