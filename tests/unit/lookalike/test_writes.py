"""The one writer loses its lock, its lease or its collection at every step of every operation, and writes nothing after that.

The store and the catalogue are the real ones, over a client of pymilvus that keeps its rows in memory. Each call that leaves
the process is a step.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pytest

from lookalike.errors import AlreadyExists, DeadlineExceeded, LeaseLost, LookalikeError, NotFound, Unavailable
from lookalike.jobs.leases import Lease
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Metric, ModelSettings, Space
from lookalike.store.generations import begun
from lookalike.store.milvus.catalogue import CATALOGUE, MilvusCatalogue
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.entries import to_entry
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.store.protocols import Catalogue, Vectors
from lookalike.store.writable import WritableCatalogue, WritableVectors
from lookalike.writes import Session, Writes

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPACES = (
    Space(HISTOGRAM, 8, Metric.L2, "a" * 16, HistogramSettings(bins=8)),
    Space(SIAMESE, 4, Metric.COSINE, "b" * 16, ModelSettings("small")),
)
NEW = Space(SIAMESE, 6, Metric.COSINE, "c" * 16, ModelSettings("larger"))
THINGS = Collection("things", "1f", "", SPACES, 1, MOMENT)
FILLING = begun(THINGS, "job", (SPACES[0], NEW))
COATS = replace(THINGS, name="coats", spaces=SPACES[1:])
AGAIN = replace(THINGS, uid="2e")
WRITING = {
    "bury", "upsert", "delete", "create_collection", "create_index", "load_collection", "create_alias", "alter_alias",
    "drop_alias", "drop_collection",
}  # fmt: skip


def image(image_id: str, *spaces: Space) -> StoredImage:
    vectors = {space.name: np.full(space.dimension, space.dimension**-0.5, np.float32) for space in spaces}
    return StoredImage(image_id, "", {}, "c" * 64, 7, MOMENT, vectors)


@dataclass
class Milvus:
    """A client of pymilvus: rows by collection and id. A filter holds for the rows whose id stands in it in quotes."""

    step: Callable[[str], None]
    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {CATALOGUE: {}})
    pointing: dict[str, str] = field(default_factory=dict)

    def put(self, collection: Collection, *images: StoredImage) -> None:
        """As `WritableCatalogue.create` and `WritableVectors.upsert` leave it."""
        row = {"name": collection.name, "uid": collection.uid, "entry": to_entry(collection)}
        self.tables[CATALOGUE][collection.name] = row
        for space in collection.written:
            self.tables[collection.physical_of(space)] = {
                one.id: {"id": one.id, "vector": [0.5] * space.dimension} for one in images
            }

    def drop(self, name: str) -> None:
        """As `WritableCatalogue.delete` leaves it."""
        self.tables[CATALOGUE].pop(name, None)
        self.tables = {table: rows for table, rows in self.tables.items() if not table.startswith(f"{name}__")}

    def query(self, table: str, *, filter: str, **_: object) -> list[dict[str, Any]]:  # noqa: A002 - pymilvus' word
        found = self._chosen(table, filter)
        self.step(f"query {table}")
        return list(found.values())

    def upsert(self, table: str, *, data: Sequence[Mapping[str, Any]], **_: object) -> None:
        self.tables.setdefault(table, {}).update({row.get("id", row.get("name")): dict(row) for row in data})
        self.step(f"upsert {table}")

    def delete(self, table: str, *, filter: str, **_: object) -> None:  # noqa: A002 - pymilvus' word
        for row_id in self._chosen(table, filter):
            del self.tables[table][row_id]
        self.step(f"delete {table}")

    def create_collection(self, table: str, **_: object) -> None:
        self.tables[table] = {}
        self.step(f"create_collection {table}")

    def create_index(self, table: str, **_: object) -> None:
        self.step(f"create_index {table}")

    def load_collection(self, table: str, **_: object) -> None:
        self.step(f"load_collection {table}")

    def drop_collection(self, table: str, **_: object) -> None:
        self.tables.pop(table, None)
        self.step(f"drop_collection {table}")

    def has_collection(self, table: str, **_: object) -> bool:
        return table in self.tables

    def list_indexes(self, table: str, **_: object) -> list[str]:
        return ["index"]

    def list_collections(self, **_: object) -> list[str]:
        return list(self.tables)

    def list_aliases(self, table: str, **_: object) -> dict[str, list[str]]:
        return {"aliases": [alias for alias, pointed in self.pointing.items() if pointed == table]}

    def create_alias(self, table: str, *, alias: str, **_: object) -> None:
        self.pointing[alias] = table
        self.step(f"create_alias {table}")

    alter_alias = create_alias

    def drop_alias(self, alias: str, **_: object) -> None:
        self.pointing.pop(alias, None)
        self.step(f"drop_alias {alias}")

    def _chosen(self, table: str, text: str) -> dict[str, dict[str, Any]]:
        ids = re.findall(r'"([^"]*)"', text)
        return {row_id: row for row_id, row in self.tables.get(table, {}).items() if row_id in ids}


class World:
    """Everything that a writer meets. `lose` is called at the end of step `lose_at`, counted from 1."""

    def __init__(self, now: Collection, lose: Callable[[World], None] | None = None, lose_at: int = 0) -> None:
        self.steps: list[str] = []
        self.held, self.lose_at = True, lose_at
        self._lose: Callable[[World], None] | None = None
        self._lock = threading.Lock()
        self.lease = Lease("0123456789abcdef", "3", "owner", 1)
        self.milvus = Milvus(self.step)
        self.milvus.put(now, image("a"), image("b"))
        connection = Connection(cast("Any", self.milvus), is_lite=False)
        catalogue = self.catalogue = MilvusCatalogue(connection)
        self.writes = Writes(cast("Any", self), catalogue, MilvusVectors(connection), cast("Any", self))
        catalogue.list()  # Its own collection is loaded at the first call.
        self.steps.clear()
        self._lose = lose

    def step(self, name: str) -> None:
        with self._lock:
            self.steps.append(name)
            if self._lose is not None and len(self.steps) == self.lose_at:
                self._lose(self)

    @property
    def written_after(self) -> list[str]:
        """What was written after the loss."""
        return [step for step in self.steps[self.lose_at :] if step.split()[0] in WRITING]

    # The ledger, and its leases.

    @contextmanager
    def write_lock(self, collection: str, *, timeout_s: float) -> Iterator[Callable[[], bool]]:
        self.step("lock")
        yield lambda: self.held

    def bury(self, collection: str, ids: Sequence[str], revision: int) -> None:
        self.step(f"bury {','.join(ids)} at {revision}")

    def renew(self, lease: Lease) -> bool:
        held = not lease.lost.is_set()
        self.step("renew")
        return held


def in_session(now: Collection, act: Callable[[Session], object]) -> tuple[Collection, Callable[[World], None]]:
    def run(world: World) -> None:
        with world.writes.session("things", uid=THINGS.uid, embedded_for=now, lease=world.lease, timeout_s=10.0) as session:
            act(session)

    return now, run


OPERATIONS: dict[str, tuple[Collection, Callable[[World], None]]] = {
    "upsert": in_session(THINGS, lambda session: session.upsert([image("n", *SPACES)])),
    "rewrite": in_session(THINGS, lambda session: session.rewrite([image("a"), image("b")])),
    "fill": in_session(FILLING, lambda session: session.fill([image("a", NEW)])),
    "delete": in_session(FILLING, lambda session: session.delete(["a", "nobody"], 9)),
    "remove half written": in_session(THINGS, lambda session: session.remove_half_written(["a"])),
    "begin a generation": in_session(THINGS, lambda session: session.change(lambda now: begun(now, "job", (SPACES[0], NEW)))),
    "drop a generation": in_session(FILLING, lambda session: session.change(lambda now: replace(now, other=None))),
    "delete the collection": in_session(THINGS, lambda session: session.delete_collection()),
    "two writes": in_session(THINGS, lambda session: (session.upsert([image("n", *SPACES)]), session.delete(["a"], 9))),
    "nothing": in_session(THINGS, lambda session: session.delete([], 9)),
    "create": (THINGS, lambda world: world.writes.create(COATS, timeout_s=10.0)),
}


def lock_lost(world: World) -> None:
    world.held = False


def lease_lost(world: World) -> None:
    world.lease.lost.set()


def collection_deleted(world: World) -> None:
    """By another writer, so with the lock."""
    world.held = False
    world.milvus.drop("things")


def collection_made_again(world: World) -> None:
    collection_deleted(world)
    world.milvus.put(AGAIN, image("new"))
    world.milvus.put(replace(AGAIN, name="coats", spaces=COATS.spaces), image("new"))


LOSSES: dict[Callable[[World], None], tuple[type[LookalikeError], ...]] = {
    lock_lost: (Unavailable,),
    lease_lost: (LeaseLost,),
    collection_deleted: (Unavailable, NotFound),
    collection_made_again: (Unavailable, NotFound, AlreadyExists),
}


# No worker makes collections, so no lease is lost over it.
CASES = [(operation, lose) for operation in OPERATIONS for lose in LOSSES if (operation, lose) != ("create", lease_lost)]


@pytest.mark.parametrize(("operation", "lose"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_nothing_is_written_after_a_loss_at_any_step_and_the_error_names_it(
    operation: str, lose: Callable[[World], None]
) -> None:
    now, run = OPERATIONS[operation]
    whole = World(now)
    run(whole)
    assert len(whole.steps) >= 3
    for lose_at in range(1, len(whole.steps) + 1):
        world = World(now, lose, lose_at)
        with pytest.raises(LOSSES[lose]) as raised:
            run(world)
        assert world.written_after == [], (lose_at, world.steps)
        text = raised.value.message
        if lose is lock_lost:
            assert "write lock" in text
        if lose is lease_lost:
            assert world.lease.job_id in text
        else:
            assert ("coats" if operation == "create" else "things") in text


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "create"])
def test_what_has_taken_a_collections_name_is_left_alone(operation: str) -> None:
    _, run = OPERATIONS[operation]
    world = World(AGAIN)
    with pytest.raises(NotFound, match="another has taken its name"):
        run(world)
    assert world.written_after == []


def test_a_collection_changed_since_its_pictures_were_embedded_is_not_written() -> None:
    world = World(FILLING)
    with pytest.raises(Unavailable, match=r"'things'.*generations have changed"):
        OPERATIONS["upsert"][1](world)
    assert world.written_after == []


def test_a_write_of_a_chunk_asks_redis_and_the_catalogue_once_before_it() -> None:
    world = World(THINGS)
    OPERATIONS["upsert"][1](world)
    upserts = [f"upsert {THINGS.physical_of(space)}" for space in SPACES]
    assert world.steps == ["lock", "renew", f"query {CATALOGUE}", *upserts]


class Heedless:
    """A store that asks no one; the lock is lost in its first write."""

    def __init__(self, world: World) -> None:
        self.world, self.writes = world, 0

    def upsert(self, *_: object, **__: object) -> None:
        self.writes += 1
        self.world.held = False


def test_a_session_asks_before_and_after_a_write_whatever_the_store_does() -> None:
    world = World(THINGS)
    store = Heedless(world)
    writes = Writes(cast("Any", world), world.catalogue, cast("Any", store))
    with suppress(Unavailable), writes.session("things", timeout_s=10.0) as session:
        for _ in ("the lock is lost in this one", "this one comes after"):
            with pytest.raises(Unavailable, match="write lock"):
                session.upsert([])
    assert store.writes == 1


def test_a_delete_buries_before_it_deletes_and_the_last_space_goes_first() -> None:
    world = World(THINGS)
    with world.writes.session("things", timeout_s=10.0) as session:
        assert session.delete(["a", "nobody"], 9) == 1
    changed = [step for step in world.steps if step.split()[0] in WRITING]
    assert changed == ["bury a,nobody at 9", *(f"delete {THINGS.physical_of(space)}" for space in reversed(SPACES))]
    assert [set(world.milvus.tables[THINGS.physical_of(space)]) for space in SPACES] == [{"b"}, {"b"}]


def test_what_a_killed_writer_left_goes_without_a_tombstone() -> None:
    world = World(THINGS)
    with world.writes.session("things", timeout_s=10.0) as session:
        assert session.remove_half_written(["a"]) == 1
    assert not [step for step in world.steps if step.startswith("bury")]


def test_the_error_names_the_field_of_the_request_that_names_no_collection() -> None:
    world = World(THINGS)
    for name, uid in (("nothing", ""), ("things", "another")):
        with pytest.raises(NotFound) as raised, world.writes.session(name, uid=uid, timeout_s=10.0, field="name"):
            pass
        assert (raised.value.field, raised.value.metadata["name"]) == ("name", name)


def test_a_lock_that_comes_after_the_time_to_wait_is_not_used() -> None:
    class Late(World):
        @contextmanager
        def write_lock(self, collection: str, *, timeout_s: float) -> Iterator[Callable[[], bool]]:
            threading.Event().wait(timeout_s * 1.5)
            with super().write_lock(collection, timeout_s=timeout_s) as still_held:
                yield still_held

    world = Late(THINGS)
    with pytest.raises(DeadlineExceeded, match="things"), world.writes.session("things", timeout_s=0.01) as session:
        session.delete_collection()
    with pytest.raises(DeadlineExceeded, match="coats"):
        world.writes.create(COATS, timeout_s=0.01)
    assert world.written_after == []


def test_waiting_is_counted_until_the_lock_is_there() -> None:
    world = World(THINGS)

    @contextmanager
    def waiting() -> Iterator[None]:
        world.step("wait")
        yield
        world.step("waited")

    with world.writes.session("things", timeout_s=10.0, waiting=waiting()):
        pass
    assert world.steps[:3] == ["wait", "lock", "waited"]


def test_what_readers_get_of_a_store_has_no_method_that_writes() -> None:
    """So mypy refuses a write that does not go through `lookalike.writes`, and an import rule the way round mypy."""
    for reading, writing in ((Vectors, WritableVectors), (Catalogue, WritableCatalogue)):
        takes = {name: getattr(method, "__annotations__", {}).keys() for name, method in vars(writing).items()}
        methods = {name for name, parameters in takes.items() if parameters & {"check", "deadline"}}
        assert methods >= {"delete"}
        assert not methods & set(dir(reading))
