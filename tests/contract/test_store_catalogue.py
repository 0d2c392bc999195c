"""The catalogue on both servers: a collection exists when its row does, whatever was killed on the way."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import AlreadyExists, Internal, InvalidArgument, NotFound
from lookalike.names import alias_name
from lookalike.records.collection import Collection
from lookalike.records.query import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import CATALOGUE, MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.entries import to_entry
from lookalike.store.milvus.schema import image_schema
from lookalike.store.milvus.vectors import MilvusVectors
from tests.contract.store_samples import TIMEOUT_S, image, new_collection


@pytest.fixture(scope="module")
def connection(store_uri: str) -> Iterator[Connection]:
    opened = connect(store_uri)
    yield opened
    opened.close()


@contextmanager
def _row_of(connection: Connection, collection: Collection) -> Iterator[Collection]:
    """Only the catalogue's row of `collection`: making it whole takes seconds."""
    MilvusCatalogue(connection).list()
    row = {"name": collection.name, "uid": collection.uid, "entry": to_entry(collection), "vector": [0.0, 0.0]}
    connection.call("upsert", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), data=[row])
    yield collection
    connection.call("delete", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), filter=f'name == "{collection.name}"')


def test_a_collection_is_made_shown_to_other_processes_and_removed(connection: Connection, store_uri: str) -> None:
    collection = new_collection()
    catalogue = MilvusCatalogue(connection)
    with pytest.raises(NotFound, match=collection.name):
        catalogue.get(collection.name)
    elsewhere = connect(store_uri)
    try:
        other = MilvusCatalogue(elsewhere)
        other.list()
        catalogue.create(collection)
        assert catalogue.get(collection.name) == collection
        found = connection.call(
            "describe_index", collection.physical("siamese"), deadline=Deadline.after(TIMEOUT_S), index_name="vector"
        )
        assert catalogue.get(collection.name).exact == (found["index_type"] == "FLAT")
        assert other.get(collection.name) == collection, "a reader elsewhere looks again before it says no"
        names = [found.name for found in other.list()]
        assert collection.name in names
        assert names == sorted(names)
        with pytest.raises(AlreadyExists):
            other.create(replace(collection, uid="another"))
        physical = [collection.physical(space.name) for space in collection.spaces]
        for space, name in zip(collection.spaces, physical, strict=True):
            assert alias_name(collection.name, space.name) in connection.aliases(name, deadline=Deadline.after(TIMEOUT_S))
        catalogue.delete(collection.name)
        with pytest.raises(NotFound):
            catalogue.get(collection.name)
        with pytest.raises(NotFound):
            other.get(collection.name, fresh=True)
        assert not set(physical) & set(connection.list_collections(deadline=Deadline.after(TIMEOUT_S)))
        with pytest.raises(NotFound):
            catalogue.delete(collection.name)
        _every_call_says_that_it_is_gone(MilvusVectors(connection), collection)
    finally:
        elsewhere.close()


def _every_call_says_that_it_is_gone(store: MilvusVectors, collection: Collection) -> None:
    for call in (
        lambda: store.upsert(collection, [image("a")]),
        lambda: store.search(
            collection, "siamese", np.ones((1, 4), np.float32), SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S
        ),
        lambda: store.get(collection, ["a"], timeout_s=TIMEOUT_S),
        lambda: store.page(collection, limit=5, timeout_s=TIMEOUT_S),
        lambda: store.delete(collection, ["a"], timeout_s=TIMEOUT_S),
        lambda: store.count(collection, timeout_s=TIMEOUT_S),
    ):
        with pytest.raises(NotFound, match=f"collection '{collection.name}'"):
            call()


def test_what_a_killed_create_or_delete_left_behind_never_comes_back(connection: Connection) -> None:
    store, catalogue, collection = MilvusVectors(connection), MilvusCatalogue(connection), new_collection()
    catalogue.create(collection)
    store.upsert(collection, [image("old")])
    neighbour = f"{collection.name}_x__siamese__01234567"
    schema = image_schema(collection.space("siamese"))
    connection.call("create_collection", neighbour, deadline=Deadline.after(TIMEOUT_S), schema=schema)
    # As a delete leaves it that is killed after its first step, and a create that is killed before its last one.
    connection.call("delete", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), filter=f'name == "{collection.name}"')
    with pytest.raises(NotFound):
        MilvusCatalogue(connection).get(collection.name, fresh=True)
    again = MilvusCatalogue(connection)
    again.create(replace(collection, uid="new"))
    assert store.count(collection, timeout_s=TIMEOUT_S) == 0
    connection.call("delete", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), filter=f'name == "{collection.name}"')
    with pytest.raises(NotFound):
        again.delete(collection.name)
    left = connection.list_collections(deadline=Deadline.after(TIMEOUT_S))
    mine = [name for name in left if name.startswith(collection.name)]
    assert mine == [neighbour], "the second delete finishes the first, and leaves alone what is another's"
    connection.call("drop_collection", neighbour, deadline=Deadline.after(TIMEOUT_S))


def test_an_answer_is_remembered_for_as_long_as_it_may_be(connection: Connection) -> None:
    with _row_of(connection, new_collection()) as collection:
        remembering, forgetful = MilvusCatalogue(connection, ttl_s=3600), MilvusCatalogue(connection, ttl_s=0)
        assert remembering.get(collection.name) == forgetful.get(collection.name) == collection
        MilvusCatalogue(connection).delete(collection.name)
        assert remembering.get(collection.name) == collection
        with pytest.raises(NotFound):
            remembering.get(collection.name, fresh=True)
        with pytest.raises(NotFound):
            remembering.get(collection.name)


def test_bad_names_are_refused_before_the_server_is_asked(connection: Connection) -> None:
    catalogue = MilvusCatalogue(connection)
    for call in (catalogue.get, catalogue.delete, lambda name: catalogue.create(new_collection(name))):
        with pytest.raises(InvalidArgument):
            call('x" or name != "')


def test_an_entry_of_another_version_is_an_error_that_says_so(connection: Connection) -> None:
    catalogue = MilvusCatalogue(connection)
    catalogue.list()
    row = {"name": "from_the_future", "uid": "x", "entry": {"format": 99}, "vector": [0.0, 0.0]}
    connection.call("upsert", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), data=[row])
    try:
        with pytest.raises(Internal, match="another version"):
            catalogue.get("from_the_future")
    finally:
        connection.call("delete", CATALOGUE, deadline=Deadline.after(TIMEOUT_S), filter='name == "from_the_future"')


def test_the_moment_of_creation_survives(connection: Connection) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    at = datetime.datetime(2026, 7, 1, 23, 59, 59, 999999, tzinfo=zone)
    with _row_of(connection, replace(new_collection(), created_at=at)) as collection:
        assert MilvusCatalogue(connection).get(collection.name).created_at == at
