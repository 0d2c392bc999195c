"""Stores that the contract tests of `lookalike.store.protocols` are held to: in memory, on milvus-lite and on the real Milvus.

`store_server` gives each in turn. What one of them has beside its `Vectors` and `Catalogue` is for doing to it what a killed
process does, and for looking at what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from lookalike.records.collection import Collection
from lookalike.records.image import Consistency
from lookalike.spaces import Space
from lookalike.store.memory.catalogue import MemoryCatalogue
from lookalike.store.memory.tables import Tables
from lookalike.store.memory.vectors import MemoryVectors
from lookalike.store.writable import WritableCatalogue, WritableVectors


class StoreServer(Protocol):
    """A client of a server. A *table* holds one space of one collection and is named by `Collection.physical_of`."""

    vectors: WritableVectors
    distinguishes_types: bool
    """Whether its filters do in every case."""

    def catalogue(self, *, ttl_s: float = 1.0) -> WritableCatalogue: ...

    @contextmanager
    def elsewhere(self) -> Iterator[StoreServer]:
        """Another client of the same server, as of another process."""

    def tables(self, name: str) -> list[str]:
        """Names of the tables of the collection called `name`, in order."""

    def make_table(self, table: str, space: Space) -> None:
        """An empty one that nothing names."""

    def drop_table(self, table: str) -> None: ...

    def row_count(self, table: str) -> int: ...

    def remove_row(self, table: str, image_id: str) -> None: ...

    def put_entry(self, collection: Collection) -> None:
        """The catalogue's row of `collection` alone: making it whole takes seconds."""

    def remove_entry(self, name: str) -> None:
        """The catalogue's row alone, as a delete does that is killed after its first step."""


class InMemory:
    """Its bounded reads miss all that they may."""

    distinguishes_types = True

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.vectors: WritableVectors = MemoryVectors(tables)

    def catalogue(self, *, ttl_s: float = 1.0) -> WritableCatalogue:
        return MemoryCatalogue(self._tables, ttl_s=ttl_s)

    @contextmanager
    def elsewhere(self) -> Iterator[StoreServer]:
        yield InMemory(self._tables)

    def tables(self, name: str) -> list[str]:
        return [table for table in self._tables.names() if table.startswith(f"{name}__")]

    def make_table(self, table: str, space: Space) -> None:
        self._tables.make(table)

    def drop_table(self, table: str) -> None:
        self._tables.drop(table)

    def row_count(self, table: str) -> int:
        return len(self._tables.read(table, Consistency.STRONG, subject=table))

    def remove_row(self, table: str, image_id: str) -> None:
        self._tables.remove(table, [image_id], subject=table)

    def put_entry(self, collection: Collection) -> None:
        self._tables.collections[collection.name] = collection

    def remove_entry(self, name: str) -> None:
        del self._tables.collections[name]


@pytest.fixture(scope="module", params=["memory", "lite", pytest.param("milvus", marks=pytest.mark.milvus)])
def store_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """Each store in turn."""
    if request.param == "memory":
        yield InMemory(Tables(lags=True))
        return
    from tests.servers.milvus_store import connected  # here, so that a run that needs no Milvus does not pay for pymilvus

    with connected(request.getfixturevalue("milvus_lite_uri" if request.param == "lite" else "milvus_uri")) as server:
        yield server
