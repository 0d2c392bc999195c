"""The tables that `MemoryVectors` and `MemoryCatalogue` share, as those of Milvus share a server: the rows of each space by id,
and the catalogue's rows. Tests write to them what a killed process leaves behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lookalike.errors import NotFound
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, StoredImage


@dataclass(slots=True)
class _Table:
    """The rows of one space by id. A bounded read returns `seen`: the rows as the last strong read found them."""

    rows: dict[str, StoredImage] = field(default_factory=dict)
    seen: dict[str, StoredImage] = field(default_factory=dict)
    changed: bool = False


class Tables:
    """Named tables, one for each space of each collection. Thread-safe; hold `lock` over steps that must be seen together.

    With `lags`, a bounded read misses every write since the last strong read of its table, the worst that the contract allows;
    else it sees all writes.
    """

    def __init__(self, *, lags: bool = False) -> None:
        self.lock = threading.RLock()
        self.collections: dict[str, Collection] = {}
        """The catalogue's rows by name."""
        self._lags = lags
        self._tables: dict[str, _Table] = {}

    def names(self) -> list[str]:
        """Names of all tables, in order."""
        with self.lock:
            return sorted(self._tables)

    def make(self, name: str) -> None:
        """Make an empty table where there is none."""
        with self.lock:
            self._tables.setdefault(name, _Table())

    def drop(self, name: str) -> None:
        """Remove a table with its rows; no error where there is none."""
        with self.lock:
            self._tables.pop(name, None)

    def read(self, name: str, consistency: Consistency, *, subject: str) -> Mapping[str, StoredImage]:
        """The rows of a table by id, each with its vector; the mapping does not change.

        Raises `NotFound` ("collection", `subject`) where there is no such table.
        """
        with self.lock:
            table = self._table(name, subject)
            if table.changed and (consistency is Consistency.STRONG or not self._lags):
                table.seen, table.changed = dict(table.rows), False
            return table.seen

    def put(self, name: str, rows: Iterable[StoredImage], *, subject: str) -> None:
        """Write rows, which replace rows of the same id. Raises as `read`."""
        with self.lock:
            table = self._table(name, subject)
            table.rows.update((row.id, row) for row in rows)
            table.changed = True

    def remove(self, name: str, ids: Iterable[str], *, subject: str) -> None:
        """Remove the rows of `ids`; unknown ids are no error. Raises as `read`."""
        with self.lock:
            table = self._table(name, subject)
            for image_id in ids:
                table.rows.pop(image_id, None)
            table.changed = True

    def _table(self, name: str, subject: str) -> _Table:
        if name not in self._tables:
            raise NotFound("collection", subject)
        return self._tables[name]
