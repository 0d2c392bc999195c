"""Filters in the gateway: parsed once for all that a request asks of the store, and before anything is called."""

from __future__ import annotations

import asyncio

import pytest

from gateway.images.images import Images
from lookalike.errors import BadFilter
from lookalike.filters.parsing import parse
from lookalike.records.image import Consistency, ImageView
from lookalike.records.search import ByImage, SearchBatchRequest, SearchRequest
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import HISTOGRAM, SIAMESE
from tests.unit.gateway.fakes import (
    NOTHING,
    FakeEmbedder,
    FakeLedger,
    MemoryBackends,
    a_call,
    few_threads,
    random_images,
    search_core,
)

QUERY = random_images(1, seed=99)[0].vectors
FILTER = 'label = "Coat" AND n >= 3'
BOTH = SearchOptions(spaces=(HISTOGRAM, SIAMESE), filter=FILTER)


def parses() -> int:
    """How often a filter has been parsed, or looked for among those parsed before."""
    info = parse.cache_info()
    return info.hits + info.misses


def test_a_search_in_two_spaces_parses_its_filter_once() -> None:
    search, before = search_core(MemoryBackends(random_images(30)), FakeEmbedder(QUERY)), parses()
    asyncio.run(search.answer(SearchRequest("things", ByImage(b"picture"), BOTH), a_call()))
    assert parses() - before == 1


def test_a_batch_parses_the_filter_of_its_queries_once() -> None:
    search, before = search_core(MemoryBackends(random_images(30)), FakeEmbedder(QUERY)), parses()

    async def answered() -> int:
        batch = SearchBatchRequest("things", [ByImage(b"%d" % n) for n in range(40)], BOTH)
        return len([place async for place, _ in await search.answer_batch(batch, a_call())])

    assert asyncio.run(answered()) == 40
    assert parses() - before == 1


def test_a_page_of_images_parses_its_filter_once() -> None:
    images = Images(MemoryBackends(random_images(30)), FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    before = parses()
    asyncio.run(
        images.page(
            "things",
            filter_text=FILTER,
            limit=5,
            after_id="",
            view=ImageView.BASIC,
            consistency=Consistency.BOUNDED,
            call=a_call(),
        )
    )
    assert parses() - before == 1


def test_a_filter_that_does_not_parse_costs_no_embedding() -> None:
    embedder = FakeEmbedder(QUERY)
    search = search_core(MemoryBackends(random_images(3)), embedder)
    with pytest.raises(BadFilter):
        asyncio.run(search.answer(SearchRequest("things", ByImage(b"picture"), SearchOptions(filter="label =")), a_call()))
    assert embedder.embedded == []
