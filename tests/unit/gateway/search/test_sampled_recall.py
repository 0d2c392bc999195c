"""Sampled recall: what a broader search finds that the first did not, never at the cost of a caller."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.backends.threads import Threads
from gateway.search.coalescing import Ask
from gateway.search.sampled_recall import BROADER, SampledRecall, recall
from lookalike.errors import Unavailable
from lookalike.records.image import ImageView
from lookalike.records.search_options import SearchOptions

VECTOR = np.ones((1, 4), np.float32)


def hits(*distances: float) -> list[Any]:
    return [SimpleNamespace(distance=distance) for distance in distances]


def an_ask() -> Ask:
    collection: Any = SimpleNamespace(physical=lambda name: name)
    space: Any = SimpleNamespace(name="siamese")
    return Ask(collection, space, SearchOptions(top_k=3, ef=64, view=ImageView.FULL), exclude_ids=(), most=32)


class Store:
    def __init__(self, answer: list[Any] | Exception) -> None:
        self.answer, self.asked = answer, list[SearchOptions]()

    def search(self, _collection: Any, _space: str, _queries: Any, options: SearchOptions, **_: Any) -> list[list[Any]]:
        self.asked.append(options)
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer]


def observed() -> tuple[float, float]:
    name, labels = "lookalike_gateway_sampled_recall", {"space": "siamese"}
    return (
        REGISTRY.get_sample_value(f"{name}_count", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_sum", labels) or 0.0,
    )


async def considered(store: Store, ratio: float, found: list[Any], times: int = 1) -> None:
    threads = Threads(1, 1)
    backends: Any = SimpleNamespace(vectors=store)
    sampled = SampledRecall(backends, threads, ratio, draw=lambda: 0.5)
    for _ in range(times):
        sampled.consider(an_ask(), VECTOR, [found])
    done = asyncio.get_running_loop().create_future()
    threads.start(lambda: None, lambda _: done.set_result(None))  # one thread: it comes after what was begun before
    await done
    threads.close()


def test_recall_counts_what_is_as_near_as_the_farthest_of_the_broader_search() -> None:
    assert recall(hits(0.1, 0.2, 0.5), hits(0.1, 0.2, 0.3)) == pytest.approx(2 / 3)
    assert recall(hits(0.1, 0.3), hits(0.1, 0.3)) == 1.0
    assert recall(hits(), hits(0.1)) == 0.0


def test_a_sampled_search_is_asked_again_more_broadly_and_compared() -> None:
    count, total = observed()
    store = Store(hits(0.1, 0.2, 0.3))
    asyncio.run(considered(store, 1.0, hits(0.1, 0.2, 0.5)))
    assert store.asked == [SearchOptions(top_k=3, ef=BROADER * 64, view=ImageView.ID)], "broader, and by their ids alone"
    assert observed()[0] == count + 1
    assert observed()[1] == pytest.approx(total + 2 / 3)


def test_a_sample_is_under_way_alone_and_only_the_share_that_is_asked_for() -> None:
    store = Store(hits(0.1))
    asyncio.run(considered(store, 1.0, hits(0.1), times=5))
    assert len(store.asked) == 1
    for ratio in (0.0, 0.5):
        asyncio.run(considered(store, ratio, hits(0.1)))
    assert len(store.asked) == 1


def test_a_search_that_fails_is_nobodys_error_and_counts_nothing() -> None:
    before = observed()
    asyncio.run(considered(Store(Unavailable("milvus", "away")), 1.0, hits(0.1)))
    asyncio.run(considered(Store([]), 1.0, []))
    assert observed() == before


def test_a_defect_in_it_is_logged_and_ends_nothing() -> None:
    store = Store(ValueError("a defect"))
    with capture_logs() as logged:
        asyncio.run(considered(store, 1.0, hits(0.1)))
    assert [(line["event"], line["log_level"]) for line in logged] == [("recall not sampled", "error")]
