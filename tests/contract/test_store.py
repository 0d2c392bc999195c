"""Reading from every store: the true neighbours at their true distances, filtered, limited and in order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import InvalidArgument, NotFound
from lookalike.filters.parsing import parse
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, ImageView, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.store.writable import WritableVectors
from tests.contract.store_samples import TIMEOUT_S, image, made, new_collection, stacked
from tests.servers.stores import StoreServer


@pytest.fixture(scope="module")
def store(store_server: StoreServer) -> WritableVectors:
    return store_server.vectors


@pytest.fixture(scope="module")
def shared(store_server: StoreServer) -> Iterator[Collection]:
    """A collection for tests that write ids of their own and look at nothing else."""
    with made(store_server.catalogue(), new_collection()) as collection:
        yield collection


@pytest.fixture(scope="module")
def gallery(store_server: StoreServer, store: WritableVectors) -> Iterator[Collection]:
    """A collection of 60 images that no test writes to."""
    with made(store_server.catalogue(), new_collection()) as collection:
        store.upsert(collection, GALLERY)
        assert store.count(collection, timeout_s=TIMEOUT_S) == len(GALLERY)  # Strong: from here on bounded reads wait for it
        store.get(collection, ["g00"], consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
        yield collection


GALLERY = [image(f"g{n:02}", metadata={"n": n, "label": "even" if n % 2 == 0 else "odd"}) for n in range(60)]


@pytest.mark.parametrize("space", ["histogram", "siamese"])
def test_search_finds_the_true_neighbours_with_their_true_distances(
    store: WritableVectors, gallery: Collection, space: str
) -> None:
    metric = gallery.space(space).metric
    queries = stacked([image("q1"), image("q2"), GALLERY[7]], space)
    answers = store.search(
        gallery,
        space,
        queries,
        SearchOptions(top_k=10, ef=64, consistency=Consistency.STRONG, view=ImageView.FULL),
        timeout_s=TIMEOUT_S,
    )
    assert len(answers) == 3
    for query, hits in zip(queries, answers, strict=True):
        distances = metric.distance(query, stacked(GALLERY, space))
        nearest = np.argsort(distances, kind="stable")[:10]
        assert [hit.image.id for hit in hits] == [GALLERY[n].id for n in nearest]
        np.testing.assert_allclose([hit.distance for hit in hits], distances[nearest], atol=2e-4)
        np.testing.assert_allclose(hits[0].image.vectors[space], GALLERY[nearest[0]].vectors[space], atol=1e-6)
    assert answers[2][0].distance == pytest.approx(0.0, abs=2e-4)
    assert min(hit.distance for hits in answers for hit in hits) >= 0.0


def test_a_hit_is_the_image_that_was_stored(store: WritableVectors, gallery: Collection) -> None:
    (hits,) = store.search(
        gallery,
        "siamese",
        stacked([GALLERY[5]], "siamese"),
        SearchOptions(top_k=1, ef=64, consistency=Consistency.STRONG),
        timeout_s=TIMEOUT_S,
    )
    assert hits[0].image == replace(GALLERY[5], vectors={})


def test_without_facts_there_are_ids_and_the_vectors_asked_for(store: WritableVectors, gallery: Collection) -> None:
    stored = GALLERY[5]
    bare = StoredImage.of_id(stored.id, {})
    (hits,) = store.search(
        gallery,
        "siamese",
        stacked([stored], "siamese"),
        SearchOptions(top_k=1, filter="n = 5", ef=64, consistency=Consistency.STRONG, view=ImageView.ID),
        timeout_s=TIMEOUT_S,
    )
    assert [hit.image for hit in hits] == [bare]
    assert store.page(gallery, filter=parse("n = 5"), limit=3, facts=False, timeout_s=TIMEOUT_S) == [bare]
    assert store.get(gallery, [stored.id, "nobody"], facts=False, timeout_s=TIMEOUT_S) == {stored.id: bare}
    found = store.get(gallery, [stored.id], spaces=["histogram"], facts=False, timeout_s=TIMEOUT_S)[stored.id]
    assert replace(found, vectors={}) == bare
    np.testing.assert_allclose(found.vectors["histogram"], stored.vectors["histogram"], atol=1e-6)


def test_filter_and_excluded_id_leave_the_rest(store: WritableVectors, gallery: Collection) -> None:
    (hits,) = store.search(
        gallery,
        "siamese",
        stacked([GALLERY[4]], "siamese"),
        SearchOptions(top_k=1000, filter='label = "even" OR n = 7', ef=64, consistency=Consistency.STRONG),
        exclude_ids=["g04"],
        timeout_s=TIMEOUT_S,
    )
    assert sorted(hit.image.id for hit in hits) == [f"g{n:02}" for n in range(60) if (n % 2 == 0 or n == 7) and n != 4]


@pytest.mark.parametrize("space", ["histogram", "siamese"])
def test_a_bound_leaves_out_what_is_as_far_or_farther(store: WritableVectors, gallery: Collection, space: str) -> None:
    query = GALLERY[8].vectors[space]
    distances = np.sort(gallery.space(space).metric.distance(query, stacked(GALLERY, space)))
    for count in (1, 7):
        between = float(distances[count - 1] + distances[count]) / 2
        (hits,) = store.search(
            gallery,
            space,
            query[np.newaxis],
            SearchOptions(top_k=1000, ef=64, consistency=Consistency.STRONG),
            within=between,
            timeout_s=TIMEOUT_S,
        )
        assert len(hits) == count
        assert max(hit.distance for hit in hits) < between


def test_top_k_of_a_thousand_with_a_small_ef_returns_everything_there_is(store: WritableVectors, gallery: Collection) -> None:
    (hits,) = store.search(
        gallery,
        "histogram",
        stacked([GALLERY[0]], "histogram"),
        SearchOptions(top_k=1000, ef=1, consistency=Consistency.STRONG),
        timeout_s=TIMEOUT_S,
    )
    assert len(hits) == len(GALLERY)


def test_hits_of_equal_distance_come_by_id(store: WritableVectors, shared: Collection) -> None:
    same = np.eye(8, dtype=np.float32)[3]
    ids = [f"tie{n:02}" for n in range(12)]
    shuffled = random.Random(3).sample(ids, len(ids))
    store.upsert(shared, [image(i, metadata={"tie": True}, histogram=same) for i in shuffled])
    (hits,) = store.search(
        shared,
        "histogram",
        same[np.newaxis],
        SearchOptions(top_k=12, filter="tie = true", ef=64, consistency=Consistency.STRONG),
        timeout_s=TIMEOUT_S,
    )
    assert [hit.image.id for hit in hits] == ids


@pytest.mark.parametrize(("top_k", "ef", "field"), [(0, 64, "top_k"), (1001, 64, "top_k"), (5, 0, "ef"), (5, 32769, "ef")])
def test_numbers_out_of_range_are_refused(store: WritableVectors, gallery: Collection, top_k: int, ef: int, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        store.search(gallery, "siamese", np.zeros((1, 4), np.float32), SearchOptions(top_k=top_k, ef=ef), timeout_s=TIMEOUT_S)
    assert refused.value.field == field


def test_a_query_of_the_wrong_length_and_an_unknown_space_are_refused(store: WritableVectors, gallery: Collection) -> None:
    with pytest.raises(InvalidArgument, match="needs 8"):
        store.search(gallery, "histogram", np.zeros((1, 4), np.float32), SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S)
    with pytest.raises(NotFound, match="histogram, siamese"):
        store.search(gallery, "colour", np.zeros((1, 4), np.float32), SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S)


def test_no_queries_give_no_answers(store: WritableVectors, gallery: Collection) -> None:
    nobody = np.zeros((0, 4), np.float32)
    assert store.search(gallery, "siamese", nobody, SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S) == []


def test_get_returns_what_is_there_with_the_vectors_asked_for(store: WritableVectors, gallery: Collection) -> None:
    found = store.get(
        gallery,
        ["g03", "nobody", "g01", "g03"],
        spaces=["histogram", "siamese"],
        consistency=Consistency.STRONG,
        timeout_s=TIMEOUT_S,
    )
    assert set(found) == {"g01", "g03"}
    assert replace(found["g03"], vectors={}) == replace(GALLERY[3], vectors={})
    for space in ("histogram", "siamese"):
        np.testing.assert_allclose(found["g03"].vectors[space], GALLERY[3].vectors[space], atol=1e-6)
    only = store.get(gallery, ["g03"], spaces=["histogram"], consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
    assert set(only["g03"].vectors) == {"histogram"}
    assert store.get(gallery, [], timeout_s=TIMEOUT_S) == {}


def test_pages_obey_the_filter_and_their_limits(store: WritableVectors, gallery: Collection) -> None:
    page = store.page(
        gallery, filter=parse("n >= 10"), after_id="g20", limit=3, consistency=Consistency.STRONG, timeout_s=TIMEOUT_S
    )
    assert [found.id for found in page] == ["g21", "g22", "g23"]
    for limit in (0, 1001):
        with pytest.raises(InvalidArgument, match="page_size"):
            store.page(gallery, limit=limit, timeout_s=TIMEOUT_S)
