"""Collections: bound to what the embedder makes, counted, and gone before their jobs are stopped."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from gateway.collections.collections import Collections, NewCollection
from lookalike.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound, Unavailable
from lookalike.records.collection import Collection
from lookalike.runtime.call import Deadline
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
        ({"description": "half \ud83d of a pair"}, "description"),
        ({"description": "a\0b"}, "description"),
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


class Vanishing(FakeVectors):
    """The images of `coats` are not there; what is done to the catalogue meanwhile is the test's."""

    def __init__(self, catalogue: FakeCatalogue, coats_now: Collection | None) -> None:
        super().__init__()
        self.catalogue, self.coats_now = catalogue, coats_now

    def count(self, collection, *, timeout_s):
        if collection.name == "coats" and collection != self.coats_now:
            self.catalogue.rows.pop("coats")
            if self.coats_now is not None:
                self.catalogue.rows["coats"] = self.coats_now
            raise NotFound("collection", "coats")
        return 3


COATS = replace(COLLECTION, name="coats")


def test_a_collection_deleted_while_the_list_is_made_is_left_out():
    catalogue = FakeCatalogue(COLLECTION, COATS)
    listed = asyncio.run(core(FakeBackends(Vanishing(catalogue, None), catalogue)).list_all(soon()))
    assert listed == [(COLLECTION, 3)]


def test_a_collection_made_again_while_the_list_is_made_is_shown_as_it_is_now():
    catalogue, again = FakeCatalogue(COLLECTION, COATS), replace(COATS, uid="2e")
    listed = asyncio.run(core(FakeBackends(Vanishing(catalogue, again), catalogue)).list_all(soon()))
    assert listed == [(again, 3), (COLLECTION, 3)]


def test_a_collection_whose_images_are_gone_is_a_defect_not_left_out():
    class Lost(FakeVectors):
        def count(self, collection, *, timeout_s):
            raise NotFound("collection", collection.name)

    with pytest.raises(Internal, match="things"):
        asyncio.run(core(FakeBackends(Lost())).list_all(soon()))


def test_more_collections_than_threads_are_listed_without_being_refused():
    many = [replace(COLLECTION, name=f"c{number}") for number in range(60)]
    listed = asyncio.run(core(FakeBackends(catalogue=FakeCatalogue(*many))).list_all(soon()))
    assert len(listed) == 60


def test_a_delete_takes_the_collection_away_and_stops_its_jobs():
    backends, ledger = FakeBackends(), FakeLedger()
    asyncio.run(core(backends, ledger).delete("things", soon()))
    assert backends.catalogue.rows == {}
    assert ledger.log == ["lock things", "unlock", "cancel jobs of 1f"]


def test_collections_are_made_and_removed_only_while_nobody_else_writes_them():
    ledger = FakeLedger()

    class Watched(FakeCatalogue):
        def create(self, collection, *, check):
            ledger.log.append("create")
            super().create(collection, check=check)

        def delete(self, name, *, check):
            ledger.log.append("delete")
            super().delete(name, check=check)

    backends = FakeBackends(catalogue=Watched())
    asyncio.run(core(backends, ledger).create(new(), soon()))
    asyncio.run(core(backends, ledger).delete("coats", soon()))
    assert ledger.log[:6] == ["lock coats", "create", "unlock", "lock coats", "delete", "unlock"]


def test_a_collection_is_not_made_where_the_lock_was_lost():
    backends, ledger = FakeBackends(catalogue=FakeCatalogue()), FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable, match="write lock"):
        asyncio.run(core(backends, ledger).create(new(), soon()))
    assert backends.catalogue.rows == {}


def test_who_gets_the_lock_after_his_deadline_changes_nothing():
    class Slow(FakeLedger):
        @contextmanager
        def write_lock(self, collection, *, timeout_s):
            over = threading.Event()
            with super().write_lock(collection, timeout_s=timeout_s) as still_held:
                over.wait(timeout_s)
                yield still_held

    backends = FakeBackends()
    for change in (Collections.delete, Collections.create):
        what = "things" if change is Collections.delete else new()
        with pytest.raises(DeadlineExceeded):
            asyncio.run(change(core(backends, Slow()), what, Deadline.after(0.05)))
    assert list(backends.catalogue.rows) == ["things"]
