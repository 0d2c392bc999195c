"""A Milvus server as the contract tests of the store see it. Made by `stores`, which says what each method does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lookalike.records.collection import Collection
from lookalike.runtime.call import Deadline
from lookalike.spaces import Space
from lookalike.store.milvus.catalogue import CATALOGUE, MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.entries import to_entry
from lookalike.store.milvus.schema import image_schema
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.store.writable import WritableCatalogue, WritableVectors
from tests.servers.stores import StoreServer

_TIMEOUT_S = 20.0


class OnMilvus:
    def __init__(self, uri: str, connection: Connection) -> None:
        self._uri, self.connection = uri, connection
        self.vectors: WritableVectors = MilvusVectors(connection)
        self.distinguishes_types = not connection.is_lite

    def catalogue(self, *, ttl_s: float = 1.0) -> WritableCatalogue:
        return MilvusCatalogue(self.connection, ttl_s=ttl_s)

    @contextmanager
    def elsewhere(self) -> Iterator[StoreServer]:
        with connected(self._uri) as other:
            yield other

    def tables(self, name: str) -> list[str]:
        return [table for table in self.connection.list_collections(deadline=soon()) if table.startswith(f"{name}__")]

    def make_table(self, table: str, space: Space) -> None:
        self.connection.call("create_collection", table, deadline=soon(), schema=image_schema(space))

    def drop_table(self, table: str) -> None:
        self.connection.call("drop_collection", table, deadline=soon())

    def row_count(self, table: str) -> int:
        fields, level = ["count(*)"], "Strong"
        rows = self.connection.call("query", table, deadline=soon(), filter="", output_fields=fields, consistency_level=level)
        return int(rows[0]["count(*)"])

    def remove_row(self, table: str, image_id: str) -> None:
        self.connection.call("delete", table, deadline=soon(), filter=f'id == "{image_id}"')

    def put_entry(self, collection: Collection) -> None:
        self.catalogue().list()  # makes its own collection, where there is none
        row = {"name": collection.name, "uid": collection.uid, "entry": to_entry(collection), "vector": [0.0, 0.0]}
        self.connection.call("upsert", CATALOGUE, deadline=soon(), data=[row])

    def remove_entry(self, name: str) -> None:
        self.connection.call("delete", CATALOGUE, deadline=soon(), filter=f'name == "{name}"')

    def aliases(self, table: str) -> list[str]:
        return self.connection.aliases(table, deadline=soon())


def soon() -> Deadline:
    return Deadline.after(_TIMEOUT_S)


@contextmanager
def connected(uri: str) -> Iterator[OnMilvus]:
    connection = connect(uri)
    try:
        yield OnMilvus(uri, connection)
    finally:
        connection.close()
