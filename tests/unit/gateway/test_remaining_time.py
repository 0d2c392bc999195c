"""What the store may take is what is left when it is called, in a thread; not what was left before the wait for that thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.images.images import Images
from gateway.search.search import Search
from lookalike.records.image import Consistency, ImageView
from lookalike.records.search import ByImage, ByStoredImage, SearchRequest
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import HISTOGRAM, SIAMESE
from tests.unit.gateway.fakes import (
    NOTHING,
    FakeEmbedder,
    FakeLedger,
    MemoryBackends,
    few_threads,
    random_images,
    search_core,
)
from tests.unit.stores import Asked

BEFORE_S, IN_THREAD_S = 9.0, 7.0
BOTH = (HISTOGRAM, SIAMESE)


class OfPlace(Deadline):
    """Has less left in a thread of the pool than on the loop, as after a wait."""

    def remaining_s(self) -> float:
        return IN_THREAD_S if threading.current_thread() is not threading.main_thread() else BEFORE_S


Ask = Callable[[Search, Images, Call], Coroutine[Any, Any, Any]]
LIST: dict[str, Any] = {"filter_text": "", "limit": 3, "after_id": "", "consistency": Consistency.BOUNDED}
ASKED: dict[str, tuple[Ask, set[str]]] = {
    "one space": (lambda search, _, call: search.answer(SearchRequest("things", ByImage(b"x")), call), {"search"}),
    "a stored image": (
        lambda search, _, call: search.answer(SearchRequest("things", ByStoredImage("007")), call),
        {"search", "get"},
    ),
    "two spaces": (
        lambda search, _, call: search.answer(SearchRequest("things", ByImage(b"x"), SearchOptions(spaces=BOTH)), call),
        {"search", "get"},
    ),
    "an image": (
        lambda _, images, call: images.get("things", "007", view=ImageView.FULL, consistency=Consistency.BOUNDED, call=call),
        {"get"},
    ),
    "a page": (lambda _, images, call: images.page("things", **LIST, view=ImageView.BASIC, call=call), {"page"}),
    "a count": (
        lambda _, images, call: images.count("things", filter_text="", consistency=Consistency.BOUNDED, call=call),
        {"count"},
    ),
    "a page with vectors": (
        lambda _, images, call: images.page("things", **LIST, view=ImageView.FULL, call=call),
        {"page", "get"},
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_store_gets_the_time_that_is_left_in_the_thread(name: str) -> None:
    ask, methods = ASKED[name]

    async def run() -> list[Asked]:
        backends, threads = MemoryBackends(random_images(300)), few_threads()
        embedder = FakeEmbedder(random_images(1)[0].vectors)
        images = Images(backends, FakeLedger(), embedder, NOTHING, NOTHING, threads)
        await ask(search_core(backends, embedder, threads), images, Call(OfPlace(0.0)))
        asked: list[Asked] = backends.vectors.asked
        return asked

    asked = asyncio.run(run())
    assert {one.method for one in asked} == methods
    assert {one.named["timeout_s"] for one in asked} == {IN_THREAD_S}
