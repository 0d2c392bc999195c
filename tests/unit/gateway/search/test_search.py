"""The core of a search: which spaces answer, what is fused, what is refused before anything is called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from lookalike.errors import BadFilter, FailedPrecondition, InvalidArgument, NotFound
from lookalike.records.image import Consistency, GivenVector, Hit, ImageView, StoredImage
from lookalike.records.search import ByImage, ByStoredImage, ByVectors, SearchRequest, SearchResult
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import HISTOGRAM, SIAMESE
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit.gateway.fakes import (
    COLLECTION,
    SPACES,
    FakeEmbedder,
    MemoryBackends,
    a_call,
    image,
    random_images,
    search_core,
)

IMAGES = random_images(300)
QUERY = random_images(1, seed=99)[0].vectors
BOTH = (HISTOGRAM, SIAMESE)


def search(
    request: SearchRequest, images: Sequence[StoredImage] = IMAGES, embedder: FakeEmbedder | None = None
) -> tuple[SearchResult, MemoryBackends]:
    backends = MemoryBackends(images)
    core = search_core(backends, embedder or FakeEmbedder(QUERY))
    return asyncio.run(core.answer(request, a_call())), backends


def refused(request: SearchRequest) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as raised:
        search(request)
    return raised.value


def by_image(**fields: Any) -> SearchRequest:
    return SearchRequest("things", ByImage(b"picture"), SearchOptions(**fields))


def by_vectors(*vectors: GivenVector, **fields: Any) -> SearchRequest:
    return SearchRequest("things", ByVectors(vectors), SearchOptions(**fields))


def test_a_picture_is_searched_in_the_siamese_space_for_five_by_default() -> None:
    embedder = FakeEmbedder(QUERY)
    answer, backends = search(by_image(), embedder=embedder)
    assert [space.name for space in answer.spaces] == [SIAMESE]
    assert embedder.embedded == [(SIAMESE,)]
    assert len(answer.neighbours) == 5
    assert [hit.rank for hit in answer.neighbours] == [1, 2, 3, 4, 5]
    assert backends.searches == [(SIAMESE, 5, 64)]
    assert answer.ef == 64


def test_one_space_gives_its_distance_and_a_share_that_is_the_whole_similarity() -> None:
    answer, _ = search(by_image(spaces=(HISTOGRAM,)))
    for hit in answer.neighbours:
        expected = float(np.linalg.norm(QUERY[HISTOGRAM] - next(i for i in IMAGES if i.id == hit.image.id).vectors[HISTOGRAM]))
        assert hit.distance == pytest.approx(expected, abs=1e-6)
        assert hit.similarity == pytest.approx(1 - expected / np.sqrt(2), abs=1e-6)
        assert [share.share for share in hit.shares] == [hit.similarity]


@pytest.mark.parametrize("weights", [{}, {HISTOGRAM: 3.0}, {HISTOGRAM: 1.0, SIAMESE: 4.0}])
def test_two_spaces_are_ranked_by_the_weighted_mean_of_exact_similarities(weights: dict[str, Any]) -> None:
    answer, _ = search(by_image(spaces=BOTH, weights=weights, top_k=20))
    factors = np.array([weights.get(name, 1.0) for name in BOTH])
    exact = {}
    for one in IMAGES:
        similarities = [
            space.metric.similarity(float(space.metric.distance(QUERY[space.name], one.vectors[space.name])))
            for space in SPACES
        ]
        exact[one.id] = float(factors @ similarities / factors.sum())
    assert [hit.image.id for hit in answer.neighbours] == sorted(exact, key=lambda i: (-exact[i], i))[:20]
    for hit in answer.neighbours:
        assert hit.distance is None
        assert hit.similarity == pytest.approx(exact[hit.image.id], abs=1e-6)
        assert sum(share.share for share in hit.shares) == pytest.approx(hit.similarity, abs=1e-9)


def test_three_spaces_are_fused_exactly_also_where_two_are_of_models() -> None:
    photo = replace(SPACES[1], name="photo", fingerprint="c" * 16)
    spaces = (*SPACES, photo)
    others = {one.id: one.vectors[SIAMESE] for one in random_images(300, seed=11)}
    images = [replace(one, vectors={**one.vectors, "photo": others[one.id]}) for one in IMAGES]
    query = {**QUERY, "photo": random_images(1, seed=12)[0].vectors[SIAMESE]}
    backends = MemoryBackends(images, [replace(COLLECTION, spaces=spaces)])
    weights = {HISTOGRAM: 2.0, "photo": 3.0}
    request = by_image(spaces=(HISTOGRAM, SIAMESE, "photo"), weights=weights, top_k=15)
    answer = asyncio.run(search_core(backends, FakeEmbedder(query)).answer(request, a_call()))
    exact = {
        one.id: sum(
            weights.get(space.name, 1.0)
            * space.metric.similarity(float(space.metric.distance(query[space.name], one.vectors[space.name])))
            for space in spaces
        ) / 6
        for one in images
    }  # fmt: skip
    assert [hit.image.id for hit in answer.neighbours] == sorted(exact, key=lambda i: (-exact[i], i))[:15]
    for hit in answer.neighbours:
        assert hit.similarity == pytest.approx(exact[hit.image.id], abs=1e-6)
        assert [share.space for share in hit.shares] == [HISTOGRAM, SIAMESE, "photo"]


def test_a_candidate_of_one_space_only_gets_its_exact_distance_in_the_other() -> None:
    # Far apart in siamese, so that with 60 images and 50 candidates some are found by one space alone.
    answer, backends = search(by_image(spaces=BOTH, top_k=1), images=random_images(60))
    assert backends.vectors.calls.count("search") == 2
    assert "get" in backends.vectors.calls
    assert len(answer.neighbours[0].shares) == 2


def test_an_image_that_one_space_lacks_is_left_out_of_a_fused_answer() -> None:
    whole, half = image("whole", QUERY), image("half", {HISTOGRAM: QUERY[HISTOGRAM]})
    answer, _ = search(by_image(spaces=BOTH), images=[whole, half])
    assert [hit.image.id for hit in answer.neighbours] == ["whole"]


def test_of_equally_near_images_the_smaller_id_comes_first() -> None:
    answer, _ = search(by_image(spaces=BOTH), images=[image(name, QUERY) for name in ("b", "c", "a")])
    assert [hit.image.id for hit in answer.neighbours] == ["a", "b", "c"]


def test_a_stored_image_is_searched_by_its_own_vectors_and_leaves_itself_out() -> None:
    embedder = FakeEmbedder()
    answer, _ = search(SearchRequest("things", ByStoredImage("007"), SearchOptions(spaces=BOTH)), embedder=embedder)
    assert embedder.embedded == []
    assert "007" not in [hit.image.id for hit in answer.neighbours]


def test_a_stored_image_that_is_not_there_is_not_found_by_its_field() -> None:
    with pytest.raises(NotFound) as raised:
        search(SearchRequest("things", ByStoredImage("nobody")))
    assert (raised.value.reason, raised.value.field) == ("IMAGE_NOT_FOUND", "query.image_id")


def test_vectors_are_searched_in_the_spaces_they_were_given_for() -> None:
    answer, _ = search(by_vectors(GivenVector(HISTOGRAM, QUERY[HISTOGRAM], SPACES[0].fingerprint)))
    assert [space.name for space in answer.spaces] == [HISTOGRAM]


def test_the_catalogue_is_asked_once_for_a_query() -> None:
    _, backends = search(by_image(spaces=BOTH))
    assert backends.catalogue.calls.count("get") == 1


def test_vectors_come_along_only_where_asked_for() -> None:
    bare, _ = search(by_image(spaces=BOTH, top_k=50))
    full, _ = search(by_image(spaces=BOTH, top_k=50, view=ImageView.FULL, include_query_vectors=True))
    assert all(not hit.image.vectors for hit in bare.neighbours)
    assert not bare.query_vectors
    assert all(set(hit.image.vectors) == set(BOTH) for hit in full.neighbours)
    assert set(full.query_vectors) == set(BOTH)


@pytest.mark.parametrize("view", ImageView)
@pytest.mark.parametrize("query", [ByImage(b"picture"), ByStoredImage("007")])
def test_nothing_but_ids_and_vectors_is_read_where_nothing_else_is_shown(
    query: ByImage | ByStoredImage, view: ImageView
) -> None:
    # 60 images and 50 candidates, so that some are found by one space alone, and their vectors are got.
    answer, backends = search(SearchRequest("things", query, SearchOptions(spaces=BOTH, view=view)), images=random_images(60))
    assert {one.given[3].view for one in backends.vectors.of("search")} == {view}
    assert {one.named["facts"] for one in backends.vectors.of("get")} == {False}
    assert {hit.image.index_time is None for hit in answer.neighbours} == {view is ImageView.ID}
    assert {len(hit.image.vectors) for hit in answer.neighbours} == {2 if view is ImageView.FULL else 0}


@pytest.mark.parametrize("spaces", [(SIAMESE,), BOTH])
def test_the_legs_of_a_search_are_within_the_time_that_it_took(spaces: tuple[str, ...]) -> None:
    class Slow(MemoryVectors):
        def search(self, *given: Any, **named: Any) -> list[list[Hit]]:
            time.sleep(0.02)
            return super().search(*given, **named)

    core = search_core(MemoryBackends(IMAGES, make_vectors=Slow), FakeEmbedder(QUERY))
    timing = asyncio.run(core.answer(by_image(spaces=spaces), a_call())).timing
    assert timing.nearest >= timedelta(milliseconds=20) > timing.query_vectors > timedelta()
    assert (timing.fuse is None) == (len(spaces) == 1)
    legs = timing.query_vectors + timing.nearest + (timing.fuse or timedelta())
    assert legs <= timing.total < legs + timedelta(seconds=1)


def test_consistency_and_ef_reach_the_store() -> None:
    answer, backends = search(by_image(consistency=Consistency.STRONG, ef=500, top_k=3))
    assert backends.consistencies == [Consistency.STRONG]
    assert backends.searches == [(SIAMESE, 3, 500)]
    assert answer.ef == 500


@pytest.mark.parametrize("top_k", [0, -1, 1001, 20_000])
def test_top_k_out_of_range_is_refused_with_the_range(top_k: int) -> None:
    error = refused(by_image(top_k=top_k))
    assert error.field == "options.top_k"
    assert "1 to 1000" in error.message


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (by_image(ef=4), "options.ef"),
        (by_image(ef=40_000), "options.ef"),
        (by_image(spaces=(SIAMESE, SIAMESE)), "options.spaces[1]"),
        (by_image(weights={"colour": 1.0}), "options.weights.colour"),
        (by_image(weights={HISTOGRAM: 1.0}), "options.weights.histogram"),
        (by_image(weights={SIAMESE: 0.0}), "options.weights.siamese"),
        (by_image(weights={SIAMESE: -1.0}), "options.weights.siamese"),
        (by_image(weights={SIAMESE: float("nan")}), "options.weights.siamese"),
        (by_vectors(), "query.vectors.spaces"),
        (by_vectors(GivenVector(SIAMESE, np.ones(3, np.float32))), "query.vectors.spaces[0].values"),
        (by_vectors(GivenVector(SIAMESE, np.zeros(4, np.float32))), "query.vectors.spaces[0].values"),
        (by_vectors(GivenVector(SIAMESE, np.full(4, 1e20, np.float32))), "query.vectors.spaces[0].values"),
        (by_vectors(GivenVector(SIAMESE, np.full(4, 1e-40, np.float32))), "query.vectors.spaces[0].values"),
        (by_vectors(GivenVector(SIAMESE, np.full(4, np.nan, np.float32))), "query.vectors.spaces[0].values"),
        (by_vectors(*[GivenVector(SIAMESE, np.ones(4, np.float32))] * 2), "query.vectors.spaces[1].space"),
        (by_vectors(GivenVector(SIAMESE, np.ones(4, np.float32)), spaces=(HISTOGRAM,)), "query.vectors.spaces[0].space"),
        (by_vectors(GivenVector(SIAMESE, np.ones(4, np.float32)), spaces=BOTH), "query.vectors.spaces"),
        (SearchRequest("", ByImage(b"x")), "collection"),
        (SearchRequest("No Such Name", ByImage(b"x")), "collection"),
        (SearchRequest("things", ByStoredImage("")), "query.image_id"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_by_its_field(request_: SearchRequest, field: str) -> None:
    assert refused(request_).field == field


def test_an_unknown_space_is_not_found() -> None:
    with pytest.raises(NotFound) as raised:
        search(by_image(spaces=("colour",)))
    assert (raised.value.reason, raised.value.field) == ("SPACE_NOT_FOUND", "options.spaces[0]")
    assert "histogram, siamese" in raised.value.message


def test_a_vector_of_another_fingerprint_is_refused_and_both_are_named() -> None:
    with pytest.raises(FailedPrecondition) as raised:
        search(by_vectors(GivenVector(SIAMESE, np.ones(4, np.float32), "0" * 16)))
    assert raised.value.reason == "FINGERPRINT_MISMATCH"
    assert raised.value.field == "query.vectors.spaces[0].fingerprint"
    assert "0" * 16 in raised.value.message
    assert SPACES[1].fingerprint in raised.value.message


def test_a_filter_that_does_not_parse_costs_no_embedding() -> None:
    embedder = FakeEmbedder(QUERY)
    with pytest.raises(BadFilter):
        search(by_image(filter="label = "), embedder=embedder)
    assert embedder.embedded == []
