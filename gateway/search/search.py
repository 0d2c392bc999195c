"""The way of a query: catalogue -> query vectors -> nearest in each space -> one list. Entered by gRPC and HTTP alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from gateway.search.answer import Answering
from gateway.search.collection_lookup import Lookups
from gateway.search.filtering import with_condition
from gateway.search.grouping import Groups, Placed, check_batch, groups_of
from gateway.search.plan import plan
from gateway.search.timing import Stopwatch
from lookalike.errors import LookalikeError
from lookalike.names import check_name
from lookalike.records.collection import Collection
from lookalike.records.search import Outcome, SearchBatchRequest, SearchRequest, SearchResult
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Call

_GROUPS_AT_ONCE = 2
"""The groups of one batch under way at once: while one is embedded the other is searched. More would only take the threads of
other callers."""


class Search:
    """Answers queries. One per process, used from one event loop."""

    def __init__(self, lookups: Lookups, answering: Answering) -> None:
        self._lookups, self._answering = lookups, answering

    async def answer(self, request: SearchRequest, call: Call) -> SearchResult:
        """The images most like the query. Errors: see `SearchService.Search` in the contract."""
        watch = Stopwatch()
        check_name("collection", request.collection)
        options = await with_condition(request.options)  # A filter that does not parse must not cost an embedding first.

        async def answer(collection: Collection) -> SearchResult:
            planned = plan(request.query, options, collection)
            (outcome,) = await self._answering.answer(collection, [request.query], planned, call, watch)
            if isinstance(outcome, LookalikeError):
                raise outcome
            return outcome

        return await self._lookups.on_collection(request.collection, answer, call)

    async def answer_batch(self, batch: SearchBatchRequest, call: Call) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Begin to answer a batch: what becomes of each query, by its place, as it is ready.

        Errors of the whole are raised before the first one: see `SearchService.SearchBatch` in the contract.
        """
        check_name("collection", batch.collection)
        check_batch(batch)
        options = await with_condition(batch.options)
        collection = await self._lookups.find(batch.collection, call)
        cut = groups_of(batch.queries, options, collection)
        return self._as_ready(batch.collection, cut, options, call)

    async def _as_ready(
        self, name: str, cut: Groups, options: SearchOptions, call: Call
    ) -> AsyncGenerator[tuple[int, Outcome], None]:
        for refused in cut.refused:
            yield refused
        waiting = iter(cut.groups)
        under_way: set[asyncio.Task[list[tuple[int, Outcome]]]] = set()
        try:
            while True:
                while len(under_way) < _GROUPS_AT_ONCE and (group := next(waiting, None)):
                    under_way.add(asyncio.create_task(self._answer_group(name, group, options, call)))
                if not under_way:
                    return
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    for outcome in task.result():
                        yield outcome
                        await asyncio.sleep(0)  # each takes a while to write, and they are there all at once
        finally:
            for task in under_way:
                task.cancel()

    async def _answer_group(
        self, name: str, group: Sequence[Placed], options: SearchOptions, call: Call
    ) -> list[tuple[int, Outcome]]:
        """The outcomes of a group, by place. An error that ends the whole group is the outcome of each of its queries."""
        queries, watch = [query for _, query in group], Stopwatch()

        async def answer(collection: Collection) -> list[Outcome]:
            # Planned for the collection as it is read now: its generation may have been switched since the batch began.
            return await self._answering.answer(collection, queries, plan(queries[0], options, collection), call, watch)

        try:
            outcomes = await self._lookups.on_collection(name, answer, call)
        except LookalikeError as error:
            outcomes = [error] * len(group)
        return [(index, outcome) for (index, _), outcome in zip(group, outcomes, strict=True)]
