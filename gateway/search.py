"""The way of a query: catalogue -> query vectors -> nearest in each space -> one list. Entered by gRPC and HTTP alike."""

from __future__ import annotations

from gateway.answering import Answering
from gateway.backends import Backends, on_collection
from gateway.deadlines import Deadline
from gateway.queries import Answer, Query, plan
from gateway.query_embeddings import QueryEmbeddings
from gateway.threads import Threads
from lookalike.errors import LookalikeError
from lookalike.names import check_name
from lookalike.store.catalogue import Collection
from lookalike.store.filters import compile_filter


class Search:
    """Answers queries. One per process, used from one event loop."""

    def __init__(self, backends: Backends, embeddings: QueryEmbeddings, threads: Threads) -> None:
        self._backends, self._threads = backends, threads
        self._answering = Answering(backends, embeddings, threads)

    async def answer(self, query: Query, deadline: Deadline) -> Answer:
        """The images most like the query. Errors: see `SearchService.Search` in the contract."""
        check_name("collection", query.collection)

        async def answer(collection: Collection) -> Answer:
            planned = plan(query, collection)
            compile_filter(query.filter)  # A filter that does not parse must not cost an embedding first.
            (outcome,) = await self._answering.answer(collection, [query], planned, deadline)
            if isinstance(outcome, LookalikeError):
                raise outcome
            return outcome

        return await on_collection(self._backends, self._threads, query.collection, answer, deadline)
