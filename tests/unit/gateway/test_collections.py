"""Collections: bound to what the embedder makes, counted, and gone before their jobs are stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.collections import Collections, NewCollection
from lookalike.errors import InvalidArgument, NotFound
from lookalike.spaces import HistogramSettings
from tests.unit.gateway.fakes import (
    COLLECTION,
    SPACES,
    FakeBackends,
    FakeCatalogue,
    FakeEmbedder,
    FakeLedger,
    FakeVectors,
    few_threads,
    image,
    soon,
)


def core(backends: FakeBackends, ledger: FakeLedger | None = None) -> Collections:
    return Collections(backends, ledger or FakeLedger(), FakeEmbedder(), few_threads())


def new(**fields: object) -> NewCollection:
    return replace(NewCollection("coats", "Winter", "", HistogramSettings(grid=4, bins=16)), **fields)


def test_a_new_collection_has_the_model_and_the_spaces_that_the_embedder_describes():
    backends = FakeBackends()
    made = asyncio.run(core(backends).create(new(), soon()))
    assert made == backends.catalogue.rows["coats"]
    assert (made.model, made.generation, made.description) == ("small", 1, "Winter")
    assert made.histogram == HistogramSettings(grid=4, bins=16)
    assert made.spaces == (HistogramSettings(grid=4, bins=16).space, SPACES[1])


def test_two_collections_of_one_name_at_different_times_have_different_uids():
    backends = FakeBackends()
    uids = {asyncio.run(core(backends).create(new(), soon())).uid for _ in range(2)}
    assert len(uids) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a__b"}, "name"),
        ({"model": "A B"}, "model"),
        ({"description": "x" * 1001}, "description"),
    ],
)
def test_what_is_wrong_with_a_new_collection_is_said_by_its_field(fields, field):
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(core(FakeBackends()).create(new(**fields), soon()))
    assert raised.value.field == field


def test_collections_are_listed_with_their_counts():
    other = replace(COLLECTION, name="coats")
    backends = FakeBackends(FakeVectors([image("a"), image("b")]), FakeCatalogue(COLLECTION, other))
    assert asyncio.run(core(backends).list_all(soon())) == [(other, 2), (COLLECTION, 2)]


def test_a_collection_deleted_while_the_list_is_made_is_left_out():
    class Vanishing(FakeVectors):
        def count(self, collection, *, timeout_s):
            if collection.name == "coats":
                raise NotFound("collection", "coats")
            return 3

    backends = FakeBackends(Vanishing(), FakeCatalogue(COLLECTION, replace(COLLECTION, name="coats")))
    assert asyncio.run(core(backends).list_all(soon())) == [(COLLECTION, 3)]


def test_more_collections_than_threads_are_listed_without_being_refused():
    many = [replace(COLLECTION, name=f"c{number}") for number in range(60)]
    listed = asyncio.run(core(FakeBackends(catalogue=FakeCatalogue(*many))).list_all(soon()))
    assert len(listed) == 60


def test_a_delete_takes_the_collection_away_and_stops_its_jobs():
    backends, ledger = FakeBackends(), FakeLedger()
    asyncio.run(core(backends, ledger).delete("things", soon()))
    assert backends.catalogue.rows == {}
    assert ledger.log == ["cancel jobs of 1f"]
