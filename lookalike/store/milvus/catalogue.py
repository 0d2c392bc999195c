"""The collections that exist, with their models, spaces and generations, and the physical collections behind them.

The catalogue is itself a small Milvus collection. A collection exists if it has a row there. The row is written last when a
collection is created, and deleted first when it is deleted, so a process killed in between leaves at most physical collections
that no row names. The next `create`, `change` or `delete` of that name drops them. A physical collection that the catalogue
names is never dropped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from lookalike.errors import AlreadyExists, NotFound
from lookalike.names import MAX_NAME_BYTES, alias_name, check_name
from lookalike.records.collection import Collection
from lookalike.runtime.call import Deadline
from lookalike.spaces import Space
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.entries import from_entry, to_entry
from lookalike.store.milvus.schema import image_index, image_schema
from lookalike.store.writable import Check, guarded, unchecked

CATALOGUE = "lookalike_catalogue"
_READ_TIMEOUT_S = 10.0
_CHANGE_TIMEOUT_S = 60.0
"""Bounds a change. Making a collection took 2-4 s on Milvus 2.3.5 with two cores, and loading waits for a busy server."""
_SETTLE_S = 10.0
"""Time after an own change in which reads are Strong: a bounded read may be 5 s old (`common.gracefulTime`)."""
_MAX_COLLECTIONS = 16_384
"""Bounds the rows that one Milvus query returns."""


class MilvusCatalogue:
    """The collections of one Milvus. `get` remembers an answer for `ttl_s` seconds; an answer may be 5 s old. May be
    used by several threads. `Catalogue` and `WritableCatalogue` say what each method does.

    Two processes that create, change or delete one name at once would drop each other's physical collections as leftovers. The
    write lock keeps them apart.
    """

    def __init__(self, connection: Connection, *, ttl_s: float = 1.0) -> None:
        self._connection = connection
        self._ttl_s = ttl_s
        self._changing = threading.Lock()
        """Held while a collection is made or removed, which takes seconds; `get` never waits for it."""
        self._setting_up = threading.Lock()
        """Held while the catalogue's own collection is made or loaded, once."""
        self._ready = False
        self._cache_lock = threading.Lock()
        """Held for the two dictionaries only, never during a call."""
        self._cache: dict[str, tuple[float, Collection]] = {}
        self._changed_at: dict[str, float] = {}

    def create(self, collection: Collection, *, check: Check = unchecked) -> None:
        check_name("name", collection.name)
        deadline = guarded(_CHANGE_TIMEOUT_S, check)
        with _held(self._changing, deadline):
            if self._read(collection.name, deadline, strong=True) is not None:
                raise AlreadyExists("collection", collection.name)
            self._drop_leftovers(collection.name, deadline)
            self._make_physicals(collection, collection.spaces, deadline)
            self._point_aliases(collection, deadline)
            if self._read(collection.name, deadline, strong=True) is not None:
                raise AlreadyExists("collection", collection.name)
            self._write(collection, deadline)

    @property
    def exact(self) -> bool:
        return self._connection.is_lite  # See `schema.image_index`.

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        check_name("collection", name)
        if not fresh and (found := self.recall(name)) is not None:
            return found
        now = time.monotonic()
        with self._cache_lock:
            strong = fresh or now - self._changed_at.get(name, -_SETTLE_S) < _SETTLE_S
        deadline = Deadline.after(_READ_TIMEOUT_S)
        collection = self._read(name, deadline, strong=strong)
        if collection is None and not strong:
            collection = self._read(name, deadline, strong=True)
        self._remember(name, collection, read_at=now)
        if collection is None:
            raise NotFound("collection", name)
        return collection

    def recall(self, name: str) -> Collection | None:
        with self._cache_lock:
            found_at, found = self._cache.get(name, (-self._ttl_s, None))
        return found if time.monotonic() - found_at < self._ttl_s else None

    def list(self) -> list[Collection]:
        rows = self._query('name != ""', Deadline.after(_READ_TIMEOUT_S), strong=True, limit=_MAX_COLLECTIONS)
        found = map(self._from_row, rows)
        return sorted(found, key=lambda collection: collection.name)

    def change(self, name: str, change: Callable[[Collection], Collection], *, check: Check = unchecked) -> Collection:
        check_name("name", name)
        deadline = guarded(_CHANGE_TIMEOUT_S, check)
        with _held(self._changing, deadline):
            now = self._read(name, deadline, strong=True)
            if now is None:
                raise NotFound("collection", name)
            then = change(now)
            if then != now:
                self._drop_unnamed(now, deadline)
                self._make_physicals(then, [s for s in then.written if then.physical_of(s) not in now.physicals], deadline)
                self._write(then, deadline)
            self._point_aliases(then, deadline)
            self._drop_unnamed(then, deadline)
            return then

    def with_leftovers(self) -> Sequence[str]:
        there = self._connection.list_collections(deadline=Deadline.after(_READ_TIMEOUT_S))
        return [one.name for one in self.list() if any(p.startswith(f"{one.name}__") and p not in one.physicals for p in there)]

    def delete(self, name: str, *, check: Check = unchecked) -> None:
        check_name("name", name)
        deadline = guarded(_CHANGE_TIMEOUT_S, check)
        with _held(self._changing, deadline):
            there = self._read(name, deadline, strong=True) is not None
            if there:
                self._call("delete", deadline, filter=f'name == "{name}"')
                self._remember(name, None, changed=True)
            # Done without a row too: a delete that was killed after its first step is finished by the next one.
            self._drop_leftovers(name, deadline)
        if not there:
            raise NotFound("collection", name)

    def _write(self, collection: Collection, deadline: Deadline) -> None:
        row = {"name": collection.name, "uid": collection.uid, "entry": to_entry(collection), "vector": _NOWHERE}
        self._call("upsert", deadline, data=[row])
        self._remember(collection.name, collection, changed=True)

    def _make_physicals(self, collection: Collection, spaces: Sequence[Space], deadline: Deadline) -> None:
        if not spaces:
            return
        with ThreadPoolExecutor(len(spaces)) as threads:
            for _ in threads.map(lambda space: self._make_physical(collection.physical_of(space), space, deadline), spaces):
                pass  # raises what a thread raised

    def _make_physical(self, physical: str, space: Space, deadline: Deadline) -> None:
        call = self._connection.call
        call("create_collection", physical, deadline=deadline, schema=image_schema(space), consistency_level="Bounded")
        index = image_index(space, is_lite=self._connection.is_lite)
        # The collection is empty. To wait for its index, pymilvus would ask for a timestamp without any timeout.
        call("create_index", physical, deadline=deadline, index_params=index, sync=False)
        call("load_collection", physical, deadline=deadline)

    def _point_aliases(self, collection: Collection, deadline: Deadline) -> None:
        """Point the aliases, which are for people, to the current generation."""
        pointing = {
            alias: physical
            for physical in self._physicals(collection.name, deadline)
            for alias in self._connection.aliases(physical, deadline=deadline)
        }
        for space in collection.spaces:
            alias, physical = alias_name(collection.name, space.name), collection.physical_of(space)
            if pointing.get(alias) != physical:
                method = "alter_alias" if alias in pointing else "create_alias"
                self._connection.call(method, physical, deadline=deadline, alias=alias)

    def _drop_leftovers(self, name: str, deadline: Deadline) -> None:
        """Drop the physical collections that a killed `create` or `delete` of `name`, which has no row, has left."""
        leftovers = self._physicals(name, deadline)
        if leftovers and self._read(name, deadline, strong=True) is not None:
            raise AlreadyExists("collection", name)  # another process has created it meanwhile
        self._drop(leftovers, deadline)

    def _drop_unnamed(self, collection: Collection, deadline: Deadline) -> None:
        """Drop the physical collections that `collection`, as its row is now, does not name."""
        everything = self._physicals(collection.name, deadline)
        self._drop([physical for physical in everything if physical not in collection.physicals], deadline)

    def _physicals(self, name: str, deadline: Deadline) -> Sequence[str]:
        # A name holds no double underscore, so all of these belong to this collection.
        everything = self._connection.list_collections(deadline=deadline)
        return [physical for physical in everything if physical.startswith(f"{name}__")]

    def _drop(self, physicals: Sequence[str], deadline: Deadline) -> None:
        for physical in physicals:
            with contextlib.suppress(NotFound):
                for alias in self._connection.aliases(physical, deadline=deadline):
                    self._connection.drop_alias(alias, deadline=deadline)
                self._connection.call("drop_collection", physical, deadline=deadline)

    def _read(self, name: str, deadline: Deadline, *, strong: bool) -> Collection | None:
        rows = self._query(f'name == "{name}"', deadline, strong=strong, limit=1)
        return self._from_row(rows[0]) if rows else None

    def _from_row(self, row: Mapping[str, Any]) -> Collection:
        return replace(from_entry(row["name"], row["uid"], row["entry"]), exact=self.exact)

    def _query(self, expression: str, deadline: Deadline, *, strong: bool, limit: int) -> Sequence[dict[str, Any]]:
        level = "Strong" if strong else "Bounded"
        fields = ["name", "uid", "entry"]
        rows: Sequence[dict[str, Any]] = self._call(
            "query", deadline, filter=expression, output_fields=fields, limit=limit, consistency_level=level
        )
        return rows

    def _call(self, method: str, deadline: Deadline, **arguments: Any) -> Any:
        if not self._ready:
            self._ensure(deadline)
        return self._connection.call(method, CATALOGUE, deadline=deadline, **arguments)

    def _ensure(self, deadline: Deadline) -> None:
        """Make the catalogue's own collection where it is missing; finish it where a killed process left it half made."""
        with _held(self._setting_up, deadline):
            if self._ready:
                return  # by the thread that was waited for
            call = self._connection.call
            if not self._connection.has_collection(CATALOGUE, deadline=deadline):
                call("create_collection", CATALOGUE, deadline=deadline, schema=_schema(), consistency_level="Strong")
            if not call("list_indexes", CATALOGUE, deadline=deadline):
                call("create_index", CATALOGUE, deadline=deadline, index_params=_index(), sync=False)
            call("load_collection", CATALOGUE, deadline=deadline)
            self._ready = True

    def _remember(
        self, name: str, collection: Collection | None, *, read_at: float | None = None, changed: bool = False
    ) -> None:
        now = time.monotonic()
        with self._cache_lock:
            if changed:
                self._changed_at[name] = now
            elif read_at is not None and self._changed_at.get(name, read_at - 1) >= read_at:
                return  # the read is older than an own change
            self._cache.pop(name, None)
            if collection is not None:
                self._cache[name] = (now, replace(collection, exact=self.exact))


_NOWHERE = [0.0, 0.0]


@contextlib.contextmanager
def _held(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    """Hold `lock`, and wait for it until `deadline` at most. Raises `DeadlineExceeded`."""
    if not lock.acquire(timeout=deadline.remaining_s()):
        deadline.remaining_s()  # raises
    try:
        yield
    finally:
        lock.release()


def _schema() -> CollectionSchema:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=MAX_NAME_BYTES)
    schema.add_field("uid", DataType.VARCHAR, max_length=64)
    schema.add_field("entry", DataType.JSON)
    # Milvus before 2.6 takes no collection without a vector field, and none of dimension 1. The field is never searched.
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(_NOWHERE))
    return schema


def _index() -> IndexParams:
    params = MilvusClient.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    return params
