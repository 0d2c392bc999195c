"""The catalogue of every store: a collection exists when its row does, whatever was killed on the way."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lookalike.errors import AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound
from lookalike.names import alias_name
from lookalike.records.collection import Collection
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import CATALOGUE
from lookalike.store.milvus.entries import FORMAT
from lookalike.store.writable import WritableVectors
from tests.contract.store_samples import TIMEOUT_S, image, made, new_collection
from tests.servers.milvus_store import OnMilvus, connected, soon
from tests.servers.stores import StoreServer


@contextmanager
def _row_of(server: StoreServer, collection: Collection) -> Iterator[Collection]:
    server.put_entry(collection)
    yield collection
    with suppress(NotFound):
        server.catalogue().delete(collection.name)


def _entry_of(server: OnMilvus, name: str) -> dict[str, Any]:
    """The JSON in a collection's row."""
    (row,) = server.connection.call(
        "query", CATALOGUE, deadline=soon(), filter=f'name == "{name}"', output_fields=["entry"], limit=1,
        consistency_level="Strong",
    )  # fmt: skip
    return dict(row["entry"])


def test_a_collection_is_made_shown_to_other_processes_and_removed(store_server: StoreServer) -> None:
    collection, catalogue = new_collection(), store_server.catalogue()
    with pytest.raises(NotFound, match=collection.name):
        catalogue.get(collection.name)
    with store_server.elsewhere() as elsewhere:
        other = elsewhere.catalogue()
        other.list()
        catalogue.create(collection)
        assert catalogue.get(collection.name) == collection
        assert catalogue.get(collection.name).exact == catalogue.exact
        assert other.get(collection.name) == collection, "a reader elsewhere looks again before it says no"
        names = [found.name for found in other.list()]
        assert collection.name in names
        assert names == sorted(names)
        with pytest.raises(AlreadyExists):
            other.create(replace(collection, uid="another"))
        assert store_server.tables(collection.name) == sorted(collection.physicals)
        if isinstance(store_server, OnMilvus):
            _milvus_has_aliases_and_the_index(store_server, collection)
        catalogue.delete(collection.name)
        with pytest.raises(NotFound):
            catalogue.get(collection.name)
        with pytest.raises(NotFound):
            other.get(collection.name, fresh=True)
        assert store_server.tables(collection.name) == []
        with pytest.raises(NotFound):
            catalogue.delete(collection.name)
        _every_call_says_that_it_is_gone(store_server.vectors, collection)


def _milvus_has_aliases_and_the_index(server: OnMilvus, collection: Collection) -> None:
    physical = collection.physical("siamese")
    found = server.connection.call("describe_index", physical, deadline=soon(), index_name="vector")
    assert server.catalogue().get(collection.name).exact == (found["index_type"] == "FLAT")
    for space in collection.spaces:
        assert alias_name(collection.name, space.name) in server.aliases(collection.physical_of(space))


def _every_call_says_that_it_is_gone(store: WritableVectors, collection: Collection) -> None:
    for call in (
        lambda: store.upsert(collection, [image("a")]),
        lambda: store.search(
            collection, "siamese", np.ones((1, 4), np.float32), SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S
        ),
        lambda: store.get(collection, ["a"], timeout_s=TIMEOUT_S),
        lambda: store.page(collection, limit=5, timeout_s=TIMEOUT_S),
        lambda: store.delete(collection, ["a"], Deadline.after(TIMEOUT_S)),
        lambda: store.count(collection, timeout_s=TIMEOUT_S),
    ):
        with pytest.raises(NotFound, match=f"collection '{collection.name}'"):
            call()


def test_what_a_killed_create_or_delete_left_behind_never_comes_back(store_server: StoreServer) -> None:
    store, catalogue, collection = store_server.vectors, store_server.catalogue(), new_collection()
    catalogue.create(collection)
    store.upsert(collection, [image("old")])
    neighbour = f"{collection.name}_x__siamese__01234567"
    store_server.make_table(neighbour, collection.space("siamese"))
    # As a delete leaves it that is killed after its first step, and a create that is killed before its last one.
    store_server.remove_entry(collection.name)
    with pytest.raises(NotFound):
        store_server.catalogue().get(collection.name, fresh=True)
    again = store_server.catalogue()
    again.create(replace(collection, uid="new"))
    assert store.count(collection, timeout_s=TIMEOUT_S) == 0
    store_server.remove_entry(collection.name)
    with pytest.raises(NotFound):
        again.delete(collection.name)
    assert store_server.tables(collection.name) == [], "the second delete finishes the first"
    assert store_server.tables(f"{collection.name}_x") == [neighbour], "and leaves alone what is another's"
    store_server.drop_table(neighbour)


def test_tables_that_no_collection_names_are_reported_until_a_change_drops_them(store_server: StoreServer) -> None:
    catalogue, collection = store_server.catalogue(), new_collection()
    with made(catalogue, collection):
        assert collection.name not in catalogue.with_leftovers()
        store_server.make_table(f"{collection.name}__siamese__01234567", collection.space("siamese"))
        assert collection.name in catalogue.with_leftovers()
        catalogue.change(collection.name, lambda now: now)
        assert collection.name not in catalogue.with_leftovers()


def test_an_answer_is_remembered_for_as_long_as_it_may_be(store_server: StoreServer) -> None:
    with _row_of(store_server, new_collection()) as collection:
        remembering, forgetful = store_server.catalogue(ttl_s=3600), store_server.catalogue(ttl_s=0)
        assert remembering.get(collection.name) == forgetful.get(collection.name) == collection
        store_server.catalogue().delete(collection.name)
        assert remembering.get(collection.name) == collection
        with pytest.raises(NotFound):
            remembering.get(collection.name, fresh=True)
        with pytest.raises(NotFound):
            remembering.get(collection.name)


def test_bad_names_are_refused_before_the_server_is_asked(store_server: StoreServer) -> None:
    catalogue = store_server.catalogue()
    for call in (catalogue.get, catalogue.delete, lambda name: catalogue.create(new_collection(name))):
        with pytest.raises(InvalidArgument):
            call('x" or name != "')


def test_an_entry_that_no_version_writes_is_an_error_that_says_so(store_uri: str) -> None:
    with connected(store_uri) as server:
        catalogue = server.catalogue()
        catalogue.list()
        row = {"name": "from_nowhere", "uid": "x", "entry": {"format": 0}, "vector": [0.0, 0.0]}
        server.connection.call("upsert", CATALOGUE, deadline=soon(), data=[row])
        try:
            with pytest.raises(Internal, match="'from_nowhere' has format 0, which no version"):
                catalogue.get("from_nowhere")
        finally:
            server.remove_entry("from_nowhere")


def test_an_entry_of_0_1_is_read_and_written_anew_with_the_next_change_and_a_newer_one_is_not_touched(store_uri: str) -> None:
    with connected(store_uri) as server, made(server.catalogue(), new_collection()) as collection:
        now = _entry_of(server, collection.name)
        histogram, siamese = now["spaces"]
        old = {"format": 1, "histogram": histogram.pop("histogram"), "model": siamese.pop("model")["name"]}
        new = ("defaults", "written_last", "other")
        entry = {name: value for name, value in now.items() if name not in new} | old
        row = {"name": collection.name, "uid": collection.uid, "entry": entry, "vector": [0.0, 0.0]}
        server.connection.call("upsert", CATALOGUE, deadline=soon(), data=[row])
        catalogue = server.catalogue()
        assert catalogue.get(collection.name, fresh=True) == collection
        catalogue.change(collection.name, lambda there: replace(there, description="another"))
        assert _entry_of(server, collection.name)["format"] == FORMAT
        assert server.catalogue().get(collection.name, fresh=True) == replace(collection, description="another")
        _refuses_what_is_newer(server, collection)


def _refuses_what_is_newer(server: OnMilvus, collection: Collection) -> None:
    """Let a newer version have written the entry of `collection`: every call names it, and changes nothing."""
    name, catalogue = collection.name, server.catalogue()
    before = _entry_of(server, name)
    row = {"name": name, "uid": collection.uid, "entry": {"format": FORMAT + 1, "rooms": []}, "vector": [0.0, 0.0]}
    server.connection.call("upsert", CATALOGUE, deadline=soon(), data=[row])
    calls: list[Callable[[], object]] = [
        lambda: catalogue.get(name, fresh=True),
        catalogue.list,
        catalogue.with_leftovers,
        lambda: catalogue.create(collection),
        lambda: catalogue.change(name, lambda there: replace(there, description="another")),
        lambda: catalogue.delete(name),
    ]
    for call in calls:
        with pytest.raises(FailedPrecondition, match=f"collection '{name}' was made by a newer version") as refused:
            call()
        assert refused.value.reason == "COLLECTION_FORMAT_UNKNOWN"
    assert _entry_of(server, name) == row["entry"]
    assert server.tables(name) == sorted(collection.physicals)
    server.connection.call("upsert", CATALOGUE, deadline=soon(), data=[{**row, "entry": before}])


def test_the_moment_of_creation_survives(store_server: StoreServer) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    at = datetime.datetime(2026, 7, 1, 23, 59, 59, 999999, tzinfo=zone)
    with _row_of(store_server, replace(new_collection(), create_time=at)) as collection:
        assert store_server.catalogue().get(collection.name).create_time == at
