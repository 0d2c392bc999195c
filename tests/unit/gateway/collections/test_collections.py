"""Collections: bound to what the embedder makes, counted, and gone before their jobs are stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.collections.collections import Collections, NewCollection
from lookalike.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound, Unavailable
from lookalike.records.collection import Collection, CollectionDefaults, CollectionUpdate
from lookalike.runtime.call import Deadline
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, ModelSettings, SpaceSpec
from lookalike.store.memory.catalogue import MemoryCatalogue
from lookalike.store.memory.vectors import MemoryVectors
from lookalike.store.writable import Check, unchecked
from tests.unit.gateway.fakes import (
    COLLECTION,
    SPACES,
    FakeEmbedder,
    FakeLedger,
    MemoryBackends,
    a_call,
    few_threads,
    image,
)


def core(backends: MemoryBackends, ledger: FakeLedger | None = None) -> Collections:
    return Collections(backends, ledger or FakeLedger(), FakeEmbedder(), few_threads())


def new(**fields: Any) -> NewCollection:
    return replace(NewCollection("coats", "Winter"), **fields)


def test_a_new_collection_has_the_spaces_that_the_embedder_describes() -> None:
    backends = MemoryBackends()
    made = asyncio.run(core(backends).create(new(), a_call()))
    assert made == backends.collections["coats"]
    assert (made.generation, made.description) == (1, "Winter")
    assert made.spaces == (HistogramSettings().space(), SPACES[1]), "the default ones, where none are asked for"
    cells = HistogramSettings(grid=4, bins=16)
    specs = (SpaceSpec("photo", ModelSettings("small")), SpaceSpec("cells", cells), SpaceSpec("fashion", ModelSettings()))
    several = asyncio.run(core(backends).create(new(name="several", spaces=specs), a_call()))
    assert [space.name for space in several.spaces] == ["photo", "cells", "fashion"]
    assert several.spaces[1] == cells.space("cells")


def test_two_collections_of_one_name_at_different_times_have_different_uids() -> None:
    collections = core(MemoryBackends())
    first = asyncio.run(collections.create(new(), a_call()))
    asyncio.run(collections.delete("coats", a_call()))
    assert asyncio.run(collections.create(new(), a_call())).uid != first.uid


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a__b"}, "name"),
        ({"spaces": (SpaceSpec("a", ModelSettings()),), "restored_spaces": SPACES}, "restored_spaces"),
        ({"description": "x" * 1001}, "description"),
        ({"description": "half \ud83d of a pair"}, "description"),
        ({"description": "a\0b"}, "description"),
    ],
)
def test_what_is_wrong_with_a_new_collection_is_said_by_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(core(MemoryBackends()).create(new(**fields), a_call()))
    assert raised.value.field == field


def listed(collections: Collections) -> list[Collection]:
    found, last = asyncio.run(collections.page(1000, "", a_call()))
    assert last == ""
    return found


def counts(listed: list[Collection]) -> list[tuple[Collection, int]]:
    return [(one, one.image_count) for one in listed]


def test_collections_are_listed_with_their_counts() -> None:
    other = replace(COLLECTION, name="coats")
    backends = MemoryBackends([image("a"), image("b")], [COLLECTION, other])
    assert counts(listed(core(backends))) == [(other, 0), (COLLECTION, 2)]


COATS = replace(COLLECTION, name="coats")


def vanishing(coats_now: Collection | None) -> MemoryBackends:
    """A store whose `coats` are deleted, and perhaps made again, before their images are counted."""

    class Vanishing(MemoryVectors):
        def count(self, collection: Collection, *, timeout_s: float, **of: Any) -> int:
            if collection.name == "coats" and collection != coats_now:
                catalogue = MemoryCatalogue(self._tables)
                catalogue.delete("coats")
                if coats_now is not None:
                    catalogue.create(coats_now)
                raise NotFound("collection", "coats")
            return super().count(collection, timeout_s=timeout_s, **of)

    return MemoryBackends([image("a")], [COLLECTION, COATS], make_vectors=Vanishing)


def test_a_collection_deleted_while_the_list_is_made_is_left_out() -> None:
    assert counts(listed(core(vanishing(None)))) == [(COLLECTION, 1)]


def test_a_collection_made_again_while_the_list_is_made_is_shown_as_it_is_now() -> None:
    again = replace(COATS, uid="2e")
    assert counts(listed(core(vanishing(again)))) == [(again, 0), (COLLECTION, 1)]


def test_a_collection_whose_images_are_gone_is_a_defect_not_left_out() -> None:
    class Lost(MemoryVectors):
        def count(self, collection: Collection, *, timeout_s: float, **of: Any) -> int:
            raise NotFound("collection", collection.name)

    with pytest.raises(Internal, match="things"):
        listed(core(MemoryBackends(make_vectors=Lost)))


class Counting(MemoryVectors):
    """Notes the collections whose images it counts."""

    counted: list[str]

    def count(self, collection: Collection, *, timeout_s: float, **of: Any) -> int:
        self.counted.append(collection.name)
        return super().count(collection, timeout_s=timeout_s, **of)


def test_a_page_counts_the_images_of_its_own_collections_and_of_more_than_there_are_threads() -> None:
    class Noting(Counting):
        counted = []  # noqa: RUF012 - of this test

    names = [f"c{number:02d}" for number in range(60)]
    collections = core(MemoryBackends(collections=[replace(COLLECTION, name=name) for name in names], make_vectors=Noting))
    first, last = asyncio.run(collections.page(50, "", a_call()))
    assert ([one.name for one in first], last) == (names[:50], "c49")
    assert sorted(Noting.counted) == names[:50]
    rest, last = asyncio.run(collections.page(50, last, a_call()))
    assert ([one.name for one in rest], last) == (names[50:], "")
    assert asyncio.run(collections.page(10, "c49", a_call()))[1] == "", "a full last page has nothing after it"


SET = CollectionDefaults((SIAMESE,), {HISTOGRAM: 0.5}, 128)


def update(backends: MemoryBackends, *paths: str, ledger: FakeLedger | None = None, **fields: Any) -> Collection:
    asked = CollectionUpdate("things", paths, **fields)
    return asyncio.run(core(backends, ledger).update(asked, a_call()))


def test_an_update_changes_what_it_names_under_the_lock_and_counts() -> None:
    backends, ledger = MemoryBackends([image("a")]), FakeLedger()
    made = update(backends, "description", "defaults", ledger=ledger, description="Winter", defaults=SET)
    assert (made.description, made.defaults, made.image_count) == ("Winter", SET, 1)
    assert backends.collections["things"] == replace(COLLECTION, description="Winter", defaults=SET)
    assert ledger.log == ["lock things", "unlock"]
    assert update(backends, "defaults.ef").defaults == replace(SET, ef=0)
    assert backends.collections["things"].description == "Winter"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"description": "x" * 1001}, "collection.description"),
        ({"defaults": CollectionDefaults((HISTOGRAM, "colour"))}, "collection.defaults.spaces[1]"),
        ({"defaults": CollectionDefaults((HISTOGRAM, HISTOGRAM))}, "collection.defaults.spaces[1]"),
        ({"defaults": CollectionDefaults(weights={"colour": 1.0})}, "collection.defaults.weights.colour"),
        ({"defaults": CollectionDefaults(weights={HISTOGRAM: 0.0})}, "collection.defaults.weights.histogram"),
        ({"defaults": CollectionDefaults(weights={HISTOGRAM: float("nan")})}, "collection.defaults.weights.histogram"),
        ({"defaults": CollectionDefaults(ef=32_769)}, "collection.defaults.ef"),
        ({"defaults": CollectionDefaults(ef=-1)}, "collection.defaults.ef"),
    ],
    ids=str,
)
def test_defaults_that_no_search_can_have_are_refused_by_their_field(fields: dict[str, Any], field: str) -> None:
    backends = MemoryBackends()
    with pytest.raises((InvalidArgument, NotFound)) as refused:
        update(backends, "description", "defaults", **fields)
    assert refused.value.field == field
    assert backends.collections["things"] == COLLECTION


def test_a_new_collection_may_have_defaults() -> None:
    backends = MemoryBackends()
    made = asyncio.run(core(backends).create(new(defaults=SET), a_call()))
    assert (made.defaults, backends.collections["coats"].defaults) == (SET, SET)
    with pytest.raises(NotFound) as refused:
        asyncio.run(core(backends).create(new(name="hats", defaults=CollectionDefaults(("colour",))), a_call()))
    assert refused.value.field == "defaults.spaces[0]"


def test_a_delete_takes_the_collection_away_and_stops_its_jobs() -> None:
    backends, ledger = MemoryBackends(), FakeLedger()
    asyncio.run(core(backends, ledger).delete("things", a_call()))
    assert backends.collections == {}
    assert ledger.log == ["lock things", "unlock", "cancel jobs of 1f"]


def test_collections_are_made_and_removed_only_while_nobody_else_writes_them() -> None:
    ledger = FakeLedger()

    class Noting(MemoryCatalogue):
        def create(self, collection: Collection, *, check: Check = unchecked) -> None:
            ledger.log.append("create")
            super().create(collection, check=check)

        def delete(self, name: str, *, check: Check = unchecked) -> None:
            ledger.log.append("delete")
            super().delete(name, check=check)

    backends = MemoryBackends(make_catalogue=Noting)
    asyncio.run(core(backends, ledger).create(new(), a_call()))
    asyncio.run(core(backends, ledger).delete("coats", a_call()))
    assert ledger.log[:6] == ["lock coats", "create", "unlock", "lock coats", "delete", "unlock"]


def test_a_collection_is_not_made_where_the_lock_was_lost() -> None:
    backends, ledger = MemoryBackends(collections=()), FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable, match="write lock"):
        asyncio.run(core(backends, ledger).create(new(), a_call()))
    assert backends.collections == {}


def test_a_collection_is_not_deleted_and_its_jobs_go_on_where_the_lock_was_lost() -> None:
    backends, ledger = MemoryBackends(), FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable, match="write lock"):
        asyncio.run(core(backends, ledger).delete("things", a_call()))
    assert list(backends.collections) == ["things"]
    assert ledger.log == ["lock things", "unlock"]


def test_a_caller_that_gets_the_lock_after_its_deadline_changes_nothing() -> None:
    class Slow(FakeLedger):
        @contextmanager
        def write_lock(self, collection: str, *, timeout_s: float = 10.0, ttl_s: float = 5.0) -> Iterator[Callable[[], bool]]:
            over = threading.Event()
            with super().write_lock(collection, timeout_s=timeout_s) as still_held:
                over.wait(timeout_s)
                yield still_held

    backends = MemoryBackends()
    with pytest.raises(DeadlineExceeded):
        asyncio.run(core(backends, Slow()).delete("things", a_call(Deadline.after(0.05))))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(core(backends, Slow()).create(new(), a_call(Deadline.after(0.05))))
    assert list(backends.collections) == ["things"]
