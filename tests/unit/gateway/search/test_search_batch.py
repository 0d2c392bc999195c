"""Many queries at once: each is answered as it would be alone, together where that saves calls, and fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gateway.search.search import Search
from lookalike.errors import BadFilter, DeadlineExceeded, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.records.image import Consistency, GivenVector, StoredImage
from lookalike.records.model import Embedding
from lookalike.records.search import (
    ByImage,
    ByStoredImage,
    ByVectors,
    Outcome,
    Query,
    SearchBatchRequest,
    SearchRequest,
    SearchResult,
)  # fmt: skip
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.spaces import HISTOGRAM, SIAMESE, Space
from tests.unit.gateway.fakes import FakeEmbedder, MemoryBackends, a_call, random_images, search_core

IMAGES = random_images(300)
QUERIES = random_images(100, seed=99)
BOTH = (HISTOGRAM, SIAMESE)


class Embedder(FakeEmbedder):
    """Picture `n` has the vectors of `QUERIES[n]`; `away...` ends the whole call. Notes how many calls there are at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.open: asyncio.Event | asyncio.Barrier = asyncio.Event()
        """What a call waits for before it ends."""
        self.open.set()

    async def embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        self.batches.append(list(images))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self.now -= 1
        if any(image.startswith(b"away") for image in images):
            raise Unavailable("embedder", "away")
        return [self._outcome(image, spaces) for image in images]

    def _outcome(self, image: bytes, spaces: Sequence[Space]) -> Embedding:
        if image.startswith(b"bad"):
            return InvalidArgument("query.image", "ends too early")
        vectors = QUERIES[int(image.rstrip(b"."))].vectors
        return {space.name: vectors[space.name] for space in spaces}


def pictures(count: int) -> list[Query]:
    return [ByImage(str(number).encode()) for number in range(count)]


def core(images: Sequence[StoredImage] = IMAGES, embedder: Embedder | None = None) -> tuple[Search, MemoryBackends, Embedder]:
    backends, embedder = MemoryBackends(images), embedder or Embedder()
    return search_core(backends, embedder), backends, embedder


def asked(queries: Sequence[Query | LookalikeError], **options: Any) -> SearchBatchRequest:
    return SearchBatchRequest("things", queries, SearchOptions(**options))


async def outcomes(search: Search, queries: Sequence[Query | LookalikeError], **options: Any) -> list[Outcome]:
    """In order of the queries; each has exactly one."""
    answered = await search.answer_batch(asked(queries, **options), a_call(Deadline.after(60.0)))
    by_index = [pair async for pair in answered]
    assert sorted(index for index, _ in by_index) == list(range(len(queries)))
    return [outcome for _, outcome in sorted(by_index, key=lambda pair: pair[0])]


def batch(queries: Sequence[Query | LookalikeError], **options: Any) -> tuple[list[Outcome], MemoryBackends, Embedder]:
    search, backends, embedder = core()
    return asyncio.run(outcomes(search, queries, **options)), backends, embedder


def ranked(answer: Outcome) -> list[tuple[str, float, int]]:
    assert isinstance(answer, SearchResult), answer
    return [(hit.image.id, round(hit.similarity, 6), hit.rank) for hit in answer.neighbours]


def given(number: int, *spaces: str) -> ByVectors:
    return ByVectors(tuple(GivenVector(space, QUERIES[number].vectors[space]) for space in spaces))


MIXED: list[Query] = [
    ByImage(b"3"), given(4, SIAMESE), ByStoredImage("007"),
    ByImage(b"5"), ByStoredImage("008"), given(6, SIAMESE), ByImage(b"3"),
]  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"spaces": (HISTOGRAM,), "top_k": 9, "include_query_vectors": True}, {"top_k": 150, "ef": 400}]
)
def test_each_query_of_a_batch_is_answered_as_it_is_alone(options: dict[str, Any]) -> None:
    if options.get("spaces"):
        queries = [query if not isinstance(query, ByVectors) else given(4, HISTOGRAM) for query in MIXED]
    else:
        queries = MIXED
    together, *_ = batch(queries, **options)
    for query, outcome in zip(queries, together, strict=True):
        alone = asyncio.run(core()[0].answer(SearchRequest("things", query, SearchOptions(**options)), a_call()))
        assert ranked(outcome) == ranked(alone)
        assert isinstance(outcome, SearchResult)
        assert (outcome.ef, outcome.spaces) == (alone.ef, alone.spaces)
        assert {name: vector.tolist() for name, vector in outcome.query_vectors.items()} == {
            name: vector.tolist() for name, vector in alone.query_vectors.items()
        }


@pytest.mark.parametrize("top_k", [3, 40])
def test_two_spaces_are_fused_for_each_query_as_they_are_alone(top_k: int) -> None:
    queries: list[Query] = [ByImage(b"3"), ByStoredImage("007"), ByImage(b"5"), ByStoredImage("008"), given(9, *BOTH)]
    options: dict[str, Any] = {"spaces": BOTH, "weights": {SIAMESE: 2.0}, "top_k": top_k}
    together, backends, _ = batch(queries, **options)
    for query, outcome in zip(queries, together, strict=True):
        alone = SearchRequest("things", query, SearchOptions(**options))
        assert ranked(outcome) == ranked(asyncio.run(core()[0].answer(alone, a_call())))
    assert backends.vectors.calls.count("search") == 3 * 2, "one call for each kind of query and space"


def test_pictures_are_embedded_and_searched_in_calls_of_32() -> None:
    _, backends, embedder = batch(pictures(70), top_k=10)
    assert [len(images) for images in embedder.batches] == [32, 32, 6]
    assert backends.searches == [(SIAMESE, 10, 64)] * 3


def test_queries_that_are_answered_together_share_their_times() -> None:
    answers, *_ = batch(pictures(40))
    times = [answer.timing for answer in answers if isinstance(answer, SearchResult)]
    assert [len(set(times[:32])), len(set(times[32:])), len(set(times))] == [1, 1, 2]
    assert all(timing.total >= timing.query_vectors + timing.nearest > timedelta() for timing in times)


def test_a_call_to_the_embedder_holds_no_more_bytes_than_one_may() -> None:
    _, _, embedder = batch([ByImage(str(n).encode().ljust(6_000_000, b".")) for n in range(5)])
    assert [len(images) for images in embedder.batches] == [2, 2, 1]


def test_many_neighbours_mean_fewer_queries_a_call() -> None:
    _, backends, _ = batch(pictures(7), top_k=1000)
    assert backends.searches == [(SIAMESE, 1000, 2000)] * 3
    answers, backends, _ = batch([ByStoredImage(f"{n:03d}") for n in range(2)], top_k=1000)
    assert [len(ranked(answer)) for answer in answers] == [299, 299]
    assert backends.searches == [(SIAMESE, 1000, 2000)] * 2


def test_stored_images_of_a_batch_leave_themselves_out_but_find_each_other() -> None:
    close = [replace(one, vectors=IMAGES[0].vectors) for one in IMAGES[:3]]
    search, backends, _ = core([*close, *IMAGES[3:]])
    answers = asyncio.run(outcomes(search, [ByStoredImage(one.id) for one in close], top_k=2))
    assert [[image_id for image_id, *_ in ranked(answer)] for answer in answers] == [
        ["001", "002"],
        ["000", "002"],
        ["000", "001"],
    ]
    assert backends.vectors.calls == ["get", "search"]


def test_what_is_wrong_with_one_query_is_its_outcome_and_fails_no_other() -> None:
    wrong = InvalidArgument("query", "is missing")
    queries = pictures(2)
    others: list[Query | LookalikeError] = [
        wrong,
        ByImage(b"bad picture"),
        ByStoredImage("nobody"),
        ByStoredImage(""),
        ByStoredImage("007"),
        ByVectors(()),
        ByVectors((GivenVector(SIAMESE, np.ones(3, np.float32)),)),
        ByVectors((GivenVector(SIAMESE, np.ones(4, np.float32), "0" * 16),)),
        given(1, SIAMESE),
    ]
    answers, *_ = batch([*queries, *others])
    fields = [getattr(outcome, "field", None) for outcome in answers]
    assert fields == [
        None, None, "query", "query.image", "query.image_id", "query.image_id", None,
        "query.vectors.spaces", "query.vectors.spaces[0].values", "query.vectors.spaces[0].fingerprint", None,
    ]  # fmt: skip
    assert [isinstance(outcome, SearchResult) for outcome in answers] == [field is None for field in fields]


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (asked([]), InvalidArgument, "queries"),
        (asked(pictures(1) * 257), InvalidArgument, "queries"),
        (asked(pictures(3), top_k=0), InvalidArgument, "options.top_k"),
        (asked(pictures(3), spaces=("colour",)), NotFound, "options.spaces[0]"),
        (asked(pictures(3), filter="label = "), BadFilter, "options.filter"),
        (asked([InvalidArgument("query", "is missing")] * 2), InvalidArgument, "query"),
    ],
)
def test_what_is_wrong_with_all_of_them_is_an_error_and_costs_nothing(
    request_: SearchBatchRequest, error: type[LookalikeError], field: str
) -> None:
    search, backends, embedder = core()
    with pytest.raises(error) as raised:
        asyncio.run(search.answer_batch(request_, a_call()))
    assert raised.value.field == field
    assert (embedder.batches, backends.vectors.calls) == ([], [])


@pytest.mark.parametrize(("name", "error"), [("others", NotFound), ("No", InvalidArgument), ("", InvalidArgument)])
def test_a_batch_needs_a_collection(name: str, error: type[LookalikeError]) -> None:
    search, *_ = core()
    with pytest.raises(error) as raised:
        asyncio.run(search.answer_batch(SearchBatchRequest(name, pictures(1)), a_call()))
    assert raised.value.field == "collection"


def test_what_ends_one_call_fails_only_the_queries_in_it() -> None:
    queries = pictures(40)
    queries[35] = ByImage(b"away")
    answers, *_ = batch(queries)
    assert [isinstance(outcome, Unavailable) for outcome in answers] == [False] * 32 + [True] * 8


def test_options_reach_the_store_for_every_query() -> None:
    _, backends, _ = batch(pictures(40), consistency=Consistency.STRONG, ef=500, top_k=3)
    assert backends.consistencies == [Consistency.STRONG] * 2
    assert backends.searches == [(SIAMESE, 3, 500)] * 2


def test_a_batch_takes_two_calls_at_once_and_no_more() -> None:
    async def run() -> tuple[int, int]:
        search, _, embedder = core()
        embedder.open = asyncio.Barrier(2)  # however long each takes to get there
        answered = await outcomes(search, [query for _ in range(5) for query in pictures(50)])
        assert all(isinstance(outcome, SearchResult) for outcome in answered)
        return len(embedder.batches), embedder.most

    assert asyncio.run(asyncio.wait_for(run(), 60)) == (8, 2)


def test_answers_come_before_the_last_is_ready() -> None:
    async def run() -> None:
        search, _, embedder = core()
        answered = await search.answer_batch(asked(pictures(96)), a_call())
        first = await anext(answered)
        assert first[0] < 64
        assert len(embedder.batches) == 2
        assert len([pair async for pair in answered]) == 95

    asyncio.run(run())


def test_when_the_caller_goes_what_is_under_way_ends() -> None:
    async def run() -> None:
        search, _, embedder = core()
        embedder.open = asyncio.Event()
        answered = await search.answer_batch(asked(pictures(96)), a_call())
        waiting = asyncio.create_task(anext(answered))
        while embedder.now < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        while embedder.now:
            await asyncio.sleep(0)
        assert len(embedder.batches) == 2

    asyncio.run(asyncio.wait_for(run(), 10))


def test_what_is_not_answered_in_time_says_so() -> None:
    class Ending(Deadline):
        over = False

        def remaining_s(self) -> float:
            return Deadline.after(-1 if self.over else 10).remaining_s()

    async def run() -> list[Outcome]:
        search, *_ = core()
        answered = await search.answer_batch(asked(pictures(3)), a_call(Ending(0.0)))
        Ending.over = True
        return [outcome async for _, outcome in answered]

    assert [type(outcome) for outcome in asyncio.run(run())] == [DeadlineExceeded] * 3


def test_spaces_are_those_of_the_given_vectors_where_none_are_named() -> None:
    answers, *_ = batch([given(1, HISTOGRAM), given(2, SIAMESE), given(1, *BOTH)])
    assert [tuple(space.name for space in answer.spaces) for answer in answers if isinstance(answer, SearchResult)] == [
        (HISTOGRAM,),
        (SIAMESE,),
        BOTH,
    ]
