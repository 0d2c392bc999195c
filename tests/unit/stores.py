"""The store in memory as unit tests use it: what it was asked is noted, a named call can be made to fail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, StoredImage
from lookalike.spaces import Space
from lookalike.store.memory.tables import Tables


@dataclass(frozen=True, slots=True)
class Asked:
    """One call. `given` are its positional arguments, `named` the others."""

    method: str
    given: tuple[Any, ...]
    named: dict[str, Any]


@dataclass
class Watched:
    """Passes calls on to `inner`, one of the store's parts, and notes them."""

    inner: Any
    asked: list[Asked] = field(default_factory=list)
    errors: dict[str, list[LookalikeError]] = field(default_factory=dict)
    """By method, what its next calls raise instead, one each."""

    def __getattr__(self, method: str) -> Any:
        found = getattr(self.inner, method)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self.asked.append(Asked(method, given, named))
            if self.errors.get(method):
                raise self.errors[method].pop(0)
            return found(*given, **named)

        return call

    @property
    def calls(self) -> list[str]:
        """The methods called, in order."""
        return [one.method for one in self.asked]

    def of(self, method: str) -> list[Asked]:
        """The calls of one method."""
        return [one for one in self.asked if one.method == method]


def put(tables: Tables, collection: Collection, images: Iterable[StoredImage], spaces: Sequence[Space] = ()) -> None:
    """Write `images` as they are in those of `spaces` (by default the collection's) that they have a vector for."""
    for space in spaces or collection.spaces:
        rows = [replace(one, vectors={space.name: one.vectors[space.name]}) for one in images if space.name in one.vectors]
        tables.put(collection.physical_of(space), rows, subject=collection.name)


def stored(tables: Tables, collection: Collection) -> dict[str, StoredImage]:
    """Every image that any space of `collection` has, by id, with the vectors that there are."""
    found: dict[str, StoredImage] = {}
    for space in collection.spaces:
        rows = tables.read(collection.physical_of(space), Consistency.STRONG, subject=collection.name)
        for image_id, row in rows.items():
            known = found[image_id].vectors if image_id in found else {}
            found[image_id] = replace(row, vectors={**known, **row.vectors})
    return found


def make(tables: Tables, collections: Iterable[Collection]) -> None:
    """Make `collections`, whatever their generations; empty."""
    for collection in collections:
        for physical in collection.physicals:
            tables.make(physical)
        tables.collections[collection.name] = collection
