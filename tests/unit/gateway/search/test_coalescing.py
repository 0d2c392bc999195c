"""Many callers, few calls: callers that ask alike go together, and none gets another's answer or trouble."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gateway.search.coalescing import Ask, MergedSearches
from lookalike.errors import DeadlineExceeded, Overloaded, Unavailable
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, Hit, ImageView
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.spaces import SIAMESE, Vector
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit.gateway.fakes import COLLECTION, MemoryBackends, a_call, few_threads, random_images

AT_ONCE = 2
IMAGES = random_images(300)
QUERIES = np.stack([one.vectors[SIAMESE] for one in random_images(40, seed=5)])
ASK = Ask(COLLECTION, COLLECTION.space(SIAMESE), SearchOptions(top_k=3, ef=64), (), most=8)

DIFFERENT = (
    {"top_k": 4}, {"ef": 128}, {"filter": "year > 1"}, {"consistency": Consistency.STRONG}, {"view": ImageView.FULL},
)  # fmt: skip


class Gated(MemoryVectors):
    """Searches once `gate` is open; `sizes` has how many vectors each call looked for."""

    def __init__(self) -> None:
        super().__init__(MemoryBackends(IMAGES).tables)
        self.gate, self.sizes, self.fails = threading.Event(), list[int](), False

    def search(
        self, collection: Collection, space: str, queries: Vector, options: SearchOptions, **more: Any
    ) -> list[list[Hit]]:
        self.gate.wait(10)
        self.sizes.append(len(queries))
        if self.fails:
            raise Unavailable("milvus", "away")
        return super().search(collection, space, queries, options, **more)


def alone(query: Vector) -> list[str]:
    distances = COLLECTION.space(SIAMESE).metric.distance
    return [one.id for one in sorted(IMAGES, key=lambda one: distances(query, one.vectors[SIAMESE]))[:3]]


def asked(
    vectors: Gated, callers: Sequence[Callable[[MergedSearches], Awaitable[Any]]], *, max_waiting: int = 100
) -> list[Any]:
    """What becomes of `callers` (functions of a `MergedSearches`), begun in order; the gate opens when all have begun."""

    backends: Any = SimpleNamespace(vectors=vectors)

    async def run() -> list[Any]:
        merged = MergedSearches(backends, few_threads(), at_once=AT_ONCE, max_waiting=max_waiting)
        tasks = [asyncio.ensure_future(caller(merged)) for caller in callers]
        await asyncio.sleep(0.1)
        vectors.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def nearest(number: int, ask: Ask = ASK, deadline: Deadline | None = None) -> Callable[[MergedSearches], Awaitable[list[str]]]:
    async def call(merged: MergedSearches) -> list[str]:
        (hits,) = await merged.nearest(ask, QUERIES[number : number + 1], a_call(deadline))
        return [hit.image.id for hit in hits]

    return call


def test_a_lone_caller_waits_for_nobody() -> None:
    vectors = Gated()
    vectors.gate.set()
    assert asked(vectors, [nearest(0)]) == [alone(QUERIES[0])]
    assert vectors.sizes == [1]


def test_what_comes_while_calls_are_under_way_goes_together_and_each_gets_its_own() -> None:
    vectors = Gated()
    answers = asked(vectors, [nearest(number) for number in range(20)])
    assert answers == [alone(query) for query in QUERIES[:20]]
    assert sorted(vectors.sizes) == sorted([1] * AT_ONCE + [8, 8, 2])


def test_no_call_has_more_than_may_go_together_but_a_caller_with_more_goes_alone() -> None:
    vectors = Gated()

    async def many(merged: MergedSearches) -> int:
        return len(await merged.nearest(ASK, QUERIES[:11], a_call()))

    answers = asked(vectors, [*(nearest(number) for number in range(5)), many])
    assert answers[-1] == 11
    assert sorted(vectors.sizes) == sorted([1] * AT_ONCE + [5 - AT_ONCE, 11])


@pytest.mark.parametrize(
    "other",
    [
        *({"options": replace(ASK.options, **one)} for one in DIFFERENT),
        {"exclude_ids": ("007",)}, {"collection": replace(COLLECTION, name="others")}, {"space": COLLECTION.spaces[0]},
    ],
)  # fmt: skip
def test_only_callers_that_ask_alike_go_together(other: dict[str, Any]) -> None:
    assert replace(ASK, **other).kind != ASK.kind
    assert replace(ASK, most=1).kind == ASK.kind


def test_what_ends_a_call_ends_it_for_all_in_it_and_for_no_caller_after_it() -> None:
    vectors = Gated()
    vectors.fails = True
    assert all(isinstance(answer, Unavailable) for answer in asked(vectors, [nearest(number) for number in range(6)]))

    async def after(merged: MergedSearches) -> list[str]:
        with pytest.raises(Unavailable):
            await nearest(0)(merged)
        vectors.fails = False
        return await nearest(1)(merged)

    assert asked(vectors, [after]) == [alone(QUERIES[1])]


def test_a_caller_whose_time_is_up_leaves_the_others_their_answer() -> None:
    vectors = Gated()
    callers = [*(nearest(number) for number in range(AT_ONCE)), nearest(5, deadline=Deadline.after(0.01)), nearest(6)]
    answers = asked(vectors, callers)
    assert isinstance(answers[-2], DeadlineExceeded)
    assert answers[-1] == alone(QUERIES[6])
    assert sum(vectors.sizes) == AT_ONCE + 1, "who has given up is not searched for"


def test_a_caller_who_has_gone_leaves_the_others_their_answer() -> None:
    vectors = Gated()

    async def gone(merged: MergedSearches) -> list[str] | BaseException:
        task = asyncio.ensure_future(nearest(5)(merged))
        await asyncio.sleep(0.01)
        task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    answers = asked(vectors, [*(nearest(number) for number in range(AT_ONCE)), gone, nearest(6)])
    assert isinstance(answers[-2], asyncio.CancelledError)
    assert answers[-1] == alone(QUERIES[6])


def test_beyond_the_bound_a_caller_is_refused_at_once_and_says_when_to_come_back() -> None:
    answers = asked(Gated(), [nearest(number) for number in range(AT_ONCE + 3)], max_waiting=2)
    assert [type(answer) for answer in answers] == [list] * (AT_ONCE + 2) + [Overloaded]
    assert answers[-1].retry_after_s is not None


def test_a_caller_that_has_given_up_takes_no_place() -> None:
    async def patient(merged: MergedSearches) -> list[str]:
        await asyncio.sleep(0.03)  # until the other's time is up
        return await nearest(6)(merged)

    callers = [*(nearest(number) for number in range(AT_ONCE)), nearest(5, deadline=Deadline.after(0.01)), patient]
    answers = asked(Gated(), callers, max_waiting=1)
    assert isinstance(answers[-2], DeadlineExceeded)
    assert answers[-1] == alone(QUERIES[6])


def test_a_deadline_that_has_passed_searches_nothing() -> None:
    vectors = Gated()
    (answer,) = asked(vectors, [partial(nearest, 0, ASK, Deadline.after(-1))()])
    assert isinstance(answer, DeadlineExceeded)
    assert vectors.sizes == []
