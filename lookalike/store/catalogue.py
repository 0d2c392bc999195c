"""What collections exist: their model, spaces and generation, and the physical collections that this implies.

The catalogue is itself a small Milvus collection. A row in it is what makes a collection exist: it is written last when one
is created and deleted first when one goes, so that a process killed in between leaves at most physical collections that
no row names. The next `create` or `delete` of that name removes them; nothing that the catalogue names is ever dropped.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from lookalike.errors import AlreadyExists, Internal, InvalidArgument, NotFound, Unavailable
from lookalike.names import MAX_NAME_BYTES, alias_name, check_name, physical_name
from lookalike.spaces import HistogramSettings, Metric, Space
from lookalike.store.connection import Connection, Deadline
from lookalike.store.schema import image_index, image_schema

CATALOGUE = "lookalike_catalogue"
_FORMAT = 1
_READ_TIMEOUT_S = 10.0
_CHANGE_TIMEOUT_S = 60.0
"""Making a collection took 2-4 s on Milvus 2.3.5 with two cores; loading waits for a busy server."""
_SETTLE_S = 10.0
"""How long after a change of ours reads must be Strong: a bounded read may be 5 s old (`common.gracefulTime`)."""
_MAX_COLLECTIONS = 16_384
"""The most rows that one Milvus query returns."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images, as the catalogue has it. `uid` is random hex, new at each creation; `generation` counts from 1."""

    name: str
    uid: str
    description: str
    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
    generation: int
    created_at: datetime.datetime

    def space(self, name: str) -> Space:
        """The space called `name`. Raises `NotFound` naming those there are."""
        for space in self.spaces:
            if space.name == name:
                return space
        there = ", ".join(space.name for space in self.spaces)
        raise NotFound("space", name, hint=f"collection {self.name!r} has {there}", field="spaces")

    def physical(self, space: str) -> str:
        """The Milvus collection that holds `space`. Raises `NotFound` as `space` does."""
        return physical_name(self.name, space, self.space(space).fingerprint)


class Catalogue:
    """The collections of one Milvus. `get` remembers an answer for `ttl_s` seconds; may be used by several threads."""

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

    def create(self, collection: Collection, *, still_alone: Callable[[], bool] = lambda: True) -> None:
        """Make `collection`, empty and searchable. Raises `AlreadyExists`, `InvalidArgument` (name), `Unavailable`.

        Two processes that create or delete one name at once would drop each other's physical collections as leftovers: hold
        the collection's write lock. `still_alone` tells whether it is held still; the row is written only if it is.
        """
        check_name("name", collection.name)
        deadline = Deadline(_CHANGE_TIMEOUT_S)
        with _held(self._changing, deadline):
            if self._read(collection.name, deadline, strong=True) is not None:
                raise AlreadyExists("collection", collection.name)
            self._drop_leftovers(collection.name, deadline)
            with ThreadPoolExecutor(len(collection.spaces)) as threads:
                for _ in threads.map(lambda space: self._make_physical(collection, space, deadline), collection.spaces):
                    pass  # raises what a thread raised
            if self._read(collection.name, deadline, strong=True) is not None:
                raise AlreadyExists("collection", collection.name)
            if not still_alone():
                raise Unavailable("write lock", f"the lock on {collection.name!r} was lost; try again")
            row = {"name": collection.name, "uid": collection.uid, "entry": _to_entry(collection), "vector": _NOWHERE}
            self._call("upsert", deadline, data=[row])
            self._remember(collection.name, collection, changed=True)

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        """The collection called `name`, at most `ttl_s` plus 5 s old; with `fresh`, as it is now.

        Raises `NotFound` (after a fresh look), `InvalidArgument` (name), `Unavailable`, `DeadlineExceeded`.
        """
        check_name("collection", name)
        now = time.monotonic()
        with self._cache_lock:
            found_at, found = self._cache.get(name, (-self._ttl_s, None))
            strong = fresh or now - self._changed_at.get(name, -_SETTLE_S) < _SETTLE_S
        if found is not None and not fresh and now - found_at < self._ttl_s:
            return found
        deadline = Deadline(_READ_TIMEOUT_S)
        collection = self._read(name, deadline, strong=strong)
        if collection is None and not strong:
            collection = self._read(name, deadline, strong=True)
        self._remember(name, collection, read_at=now)
        if collection is None:
            raise NotFound("collection", name)
        return collection

    def list(self) -> list[Collection]:
        """Every collection there is now, by name."""
        rows = self._query('name != ""', Deadline(_READ_TIMEOUT_S), strong=True, limit=_MAX_COLLECTIONS)
        return sorted((_from_row(row) for row in rows), key=lambda collection: collection.name)

    def delete(self, name: str) -> None:
        """Remove the collection called `name` with all its images; under its write lock, as `create`.

        Raises `NotFound`, `InvalidArgument` (name), `Unavailable`.
        """
        check_name("name", name)
        deadline = Deadline(_CHANGE_TIMEOUT_S)
        with _held(self._changing, deadline):
            there = self._read(name, deadline, strong=True) is not None
            if there:
                self._call("delete", deadline, filter=f'name == "{name}"')
                self._remember(name, None, changed=True)
            # Also when no row is left: a delete that was killed after its first step is finished by the next one.
            self._drop_leftovers(name, deadline)
        if not there:
            raise NotFound("collection", name)

    def _make_physical(self, collection: Collection, space: Space, deadline: Deadline) -> None:
        physical, call = collection.physical(space.name), self._connection.call
        call("create_collection", physical, deadline=deadline, schema=image_schema(space), consistency_level="Bounded")
        index = image_index(space, is_lite=self._connection.is_lite)
        # Nothing is there to be indexed yet; waiting for it, pymilvus would ask for a timestamp without any timeout.
        call("create_index", physical, deadline=deadline, index_params=index, sync=False)
        call("load_collection", physical, deadline=deadline)
        call("create_alias", physical, deadline=deadline, alias=alias_name(collection.name, space.name))

    def _drop_leftovers(self, name: str, deadline: Deadline) -> None:
        """Drop the physical collections that a killed `create` or `delete` of `name` left behind."""
        # A name holds no double underscore, so none of these is another collection's.
        everything = self._connection.list_collections(deadline=deadline)
        leftovers = [physical for physical in everything if physical.startswith(f"{name}__")]
        if leftovers and self._read(name, deadline, strong=True) is not None:
            raise AlreadyExists("collection", name)  # made by another process since we looked
        for physical in leftovers:
            with contextlib.suppress(NotFound):
                for alias in self._connection.aliases(physical, deadline=deadline):
                    self._connection.drop_alias(alias, deadline=deadline)
                self._connection.call("drop_collection", physical, deadline=deadline)

    def _read(self, name: str, deadline: Deadline, *, strong: bool) -> Collection | None:
        rows = self._query(f'name == "{name}"', deadline, strong=strong, limit=1)
        return _from_row(rows[0]) if rows else None

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
        """Make the catalogue's own collection where there is none; finish it where a killed process left it half made."""
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
                return  # what was read is older than a change of ours
            self._cache.pop(name, None)
            if collection is not None:
                self._cache[name] = (now, collection)


_NOWHERE = [0.0, 0.0]


@contextlib.contextmanager
def _held(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    """Hold `lock`, waited for no longer than `deadline`. Raises `DeadlineExceeded`."""
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
    # Milvus before 2.6 takes no collection without a vector field, and none of dimension 1. Nothing is ever searched in it.
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(_NOWHERE))
    return schema


def _index() -> IndexParams:
    params = MilvusClient.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    return params


def _to_entry(collection: Collection) -> dict[str, Any]:
    histogram = collection.histogram
    return {
        "format": _FORMAT,
        "description": collection.description,
        "model": collection.model,
        "histogram": {"bins": histogram.bins, "grid": histogram.grid, "color": histogram.color},
        "spaces": [
            {"name": s.name, "dimension": s.dimension, "metric": s.metric.value, "fingerprint": s.fingerprint}
            for s in collection.spaces
        ],
        "generation": collection.generation,
        "created_at": collection.created_at.isoformat(),
    }


def _from_row(row: dict[str, Any]) -> Collection:
    entry = row["entry"]
    if entry.get("format") != _FORMAT:
        raise Internal(f"the catalogue's entry {row['name']!r} was written by another version of lookalike")
    try:
        return Collection(
            name=row["name"],
            uid=row["uid"],
            description=entry["description"],
            model=entry["model"],
            histogram=HistogramSettings(**entry["histogram"]),
            spaces=tuple(Space(s["name"], int(s["dimension"]), Metric(s["metric"]), s["fingerprint"]) for s in entry["spaces"]),
            generation=int(entry["generation"]),
            created_at=datetime.datetime.fromisoformat(entry["created_at"]),
        )
    except (KeyError, TypeError, ValueError, InvalidArgument) as error:
        raise Internal(f"the catalogue's entry {row['name']!r} cannot be read") from error
