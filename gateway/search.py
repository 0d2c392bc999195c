"""The way of a query: catalogue -> query vectors -> nearest in each space -> one list. Entered by gRPC and HTTP alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from prometheus_client import Histogram

from gateway import fusion
from gateway.backends import Backends, on_collection
from gateway.deadlines import Deadline
from gateway.embedding import Embedder
from gateway.queries import Answer, ByImage, ByStoredImage, ByVectors, Neighbour, Plan, Query, check_vectors, plan
from gateway.threads import Threads
from lookalike.errors import NotFound
from lookalike.names import check_id, check_name
from lookalike.spaces import Space, Vector
from lookalike.store.catalogue import Collection
from lookalike.store.filters import compile_filter
from lookalike.store.vectors import Hit, StoredImage

T = TypeVar("T")

STAGE_SECONDS = Histogram(
    "lookalike_gateway_search_stage_seconds",
    "Time of each stage of a search: query (vectors of the query), nearest (Milvus), fuse (missing vectors and ranking).",
    ("stage",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Search:
    """Answers queries. One per process, used from one event loop."""

    def __init__(self, backends: Backends, embedder: Embedder, threads: Threads) -> None:
        self._backends, self._embedder, self._threads = backends, embedder, threads

    async def answer(self, query: Query, deadline: Deadline) -> Answer:
        """The images most like the query. Errors: see `SearchService.Search` in the contract."""
        check_name("collection", query.collection)

        async def answer(collection: Collection) -> Answer:
            return await self._answer_in(collection, query, deadline)

        return await on_collection(self._backends, self._threads, query.collection, answer, deadline)

    async def _answer_in(self, collection: Collection, query: Query, deadline: Deadline) -> Answer:
        planned = plan(query, collection)
        compile_filter(query.filter)  # A filter that does not parse must not cost an embedding first.
        with _timed("query"):
            vectors = await self._query_vectors(query, planned, collection, deadline)
        with _timed("nearest"):
            found = await self._nearest(query, planned, collection, vectors, deadline)
        if len(planned.spaces) == 1:
            space = planned.spaces[0]
            neighbours = fusion.single(found[space.name], space)
        else:
            with _timed("fuse"):
                neighbours = await self._fused(query, planned, collection, vectors, found, deadline)
        shown = vectors if query.include_query_vectors else {}
        return Answer(neighbours, planned.spaces, shown, planned.ef)

    async def _query_vectors(
        self, query: Query, planned: Plan, collection: Collection, deadline: Deadline
    ) -> Mapping[str, Vector]:
        match query.target:
            case ByImage(content):
                return await self._embedder.embed(content, collection, planned.spaces, deadline)
            case ByVectors(given):
                return check_vectors(given, planned.spaces)
            case ByStoredImage(image_id):
                return await self._stored_vectors(image_id, query, planned, collection, deadline)

    async def _stored_vectors(
        self, image_id: str, query: Query, planned: Plan, collection: Collection, deadline: Deadline
    ) -> Mapping[str, Vector]:
        check_id("image_id", image_id)
        names = [space.name for space in planned.spaces]
        get = partial(
            self._backends.vectors.get,
            collection,
            [image_id],
            spaces=names,
            consistency=query.consistency,
            timeout_s=deadline.remaining_s(),
        )
        image = (await self._run(get, deadline)).get(image_id)
        if image is None or any(name not in image.vectors for name in names):
            raise NotFound("image", image_id, hint=f"collection {collection.name!r} does not hold it", field="image_id")
        return {name: image.vectors[name] for name in names}

    async def _nearest(
        self, query: Query, planned: Plan, collection: Collection, vectors: Mapping[str, Vector], deadline: Deadline
    ) -> dict[str, list[Hit]]:
        """The candidates of every space, searched side by side."""
        exclude = [query.target.image_id] if isinstance(query.target, ByStoredImage) else []

        async def nearest(space: Space) -> list[Hit]:
            search = partial(
                self._backends.vectors.search,
                collection,
                space.name,
                vectors[space.name].reshape(1, -1),
                planned.candidates,
                filter=query.filter,
                ef=planned.ef,
                consistency=query.consistency,
                include_vectors=query.include_vectors,
                exclude_ids=exclude,
                timeout_s=deadline.remaining_s(),
            )
            return (await self._run(search, deadline))[0]

        found = await asyncio.gather(*(nearest(space) for space in planned.spaces))
        return {space.name: hits for space, hits in zip(planned.spaces, found, strict=True)}

    async def _fused(
        self,
        query: Query,
        planned: Plan,
        collection: Collection,
        vectors: Mapping[str, Vector],
        found: Mapping[str, list[Hit]],
        deadline: Deadline,
    ) -> tuple[Neighbour, ...]:
        """Rank the union of the candidates by similarities that are exact in every space, fetching vectors where missing."""
        candidates = fusion.union(found)

        async def missing(space: Space) -> dict[str, StoredImage]:
            ids = [image_id for image_id, known in candidates.items() if space.name not in known.distances]
            if not ids:
                return {}
            get = partial(
                self._backends.vectors.get,
                collection,
                ids,
                spaces=[space.name],
                consistency=query.consistency,
                timeout_s=deadline.remaining_s(),
            )
            return await self._run(get, deadline)

        fetched = await asyncio.gather(*(missing(space) for space in planned.spaces))
        for space, images in zip(planned.spaces, fetched, strict=True):
            candidates = fusion.complete(candidates, space, vectors[space.name], images, keep_vectors=query.include_vectors)
        return fusion.fuse(candidates, planned)

    async def _run(self, call: Callable[[], T], deadline: Deadline) -> T:
        return await self._threads.run(call, deadline)


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    with STAGE_SECONDS.labels(stage).time():
        yield
