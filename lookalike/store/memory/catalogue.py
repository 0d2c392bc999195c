"""The `Catalogue` of a store in memory. Like that of Milvus, it makes tables before it writes the row that names them, and
drops tables after it. An error in between therefore leaves tables that no row names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from lookalike.errors import AlreadyExists, NotFound
from lookalike.names import check_name
from lookalike.records.collection import Collection
from lookalike.store.memory.tables import Tables
from lookalike.store.writable import Check, unchecked


class MemoryCatalogue:
    """The collections in `tables`. `get` remembers an answer for `ttl_s` seconds, by default for none; may be used by several
    threads. `Catalogue` says what each method does."""

    def __init__(self, tables: Tables, *, ttl_s: float = 0.0) -> None:
        self._tables, self._ttl_s = tables, ttl_s
        self._remembered: dict[str, tuple[float, Collection]] = {}

    @property
    def exact(self) -> bool:
        return True

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        check_name("collection", name)
        if not fresh and (found := self.recall(name)) is not None:
            return found
        with self._tables.lock:
            self._remember(name)
            if name not in self._tables.collections:
                raise NotFound("collection", name)
            return self._tables.collections[name]

    def recall(self, name: str) -> Collection | None:
        found_at, found = self._remembered.get(name, (0.0, None))
        return found if time.monotonic() - found_at < self._ttl_s else None

    def with_leftovers(self) -> Sequence[str]:
        with self._tables.lock:
            return [one.name for one in self._tables.collections.values() if self._unnamed(one.name, one.physicals)]

    def create(self, collection: Collection, *, check: Check = unchecked) -> None:
        check_name("name", collection.name)
        with self._tables.lock:
            if collection.name in self._tables.collections:
                raise AlreadyExists("collection", collection.name)
            self._drop_unnamed(collection.name, (), check)
            self._write(collection, check)

    def change(self, name: str, change: Callable[[Collection], Collection], *, check: Check = unchecked) -> Collection:
        check_name("name", name)
        with self._tables.lock:
            if name not in self._tables.collections:
                raise NotFound("collection", name)
            now = self._tables.collections[name]
            then = change(now)
            if then != now:
                self._drop_unnamed(name, now.physicals, check)
                self._write(then, check)
            self._drop_unnamed(name, then.physicals, check)
            return then

    def delete(self, name: str, *, check: Check = unchecked) -> None:
        check_name("name", name)
        with self._tables.lock:
            check()
            there = self._tables.collections.pop(name, None)
            self._remember(name)
            self._drop_unnamed(name, (), check)
            if there is None:
                raise NotFound("collection", name)

    def list(self) -> list[Collection]:
        with self._tables.lock:
            return sorted(self._tables.collections.values(), key=lambda one: one.name)

    def _write(self, collection: Collection, check: Check) -> None:
        for physical in collection.physicals:
            check()
            self._tables.make(physical)
        check()
        self._tables.collections[collection.name] = replace(collection, exact=True)
        self._remember(collection.name)

    def _remember(self, name: str) -> None:
        """Remember the row as it is now."""
        if name in self._tables.collections:
            self._remembered[name] = (time.monotonic(), self._tables.collections[name])
        else:
            self._remembered.pop(name, None)

    def _unnamed(self, name: str, named: Iterable[str]) -> set[str]:
        """The tables of the collection called `name` except `named`; no other collection's tables begin with that name."""
        return {table for table in self._tables.names() if table.startswith(f"{name}__")} - set(named)

    def _drop_unnamed(self, name: str, named: Iterable[str], check: Check) -> None:
        for table in self._unnamed(name, named):
            check()
            self._tables.drop(table)
