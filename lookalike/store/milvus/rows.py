"""How `vectors` and `changes` reach the physical collections: calls, rows by id, several spaces at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lookalike.records.collection import Collection
from lookalike.records.image import Consistency
from lookalike.spaces import Space
from lookalike.store.milvus.connection import Connection, Deadline
from lookalike.store.milvus.expressions import ids_among
from lookalike.store.milvus.schema import ID

WRITE_TIMEOUT_S = 30.0
IDS_PER_CALL = 1000
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Rows:
    """The rows of every collection of one Milvus. Base of the classes that make up `VectorStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._threads_lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def _rows_by_id(
        self,
        collection: Collection,
        space: Space,
        ids: Sequence[str],
        fields: Sequence[str],
        consistency: Consistency,
        deadline: Deadline,
    ) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for some in slices(list(dict.fromkeys(ids)), IDS_PER_CALL):
            answer = self._call(
                "query",
                collection,
                space,
                deadline,
                filter=ids_among(some),
                output_fields=list(fields),
                consistency_level=consistency.value,
            )
            rows.update((row[ID], row) for row in answer)
        return rows

    def _rows_in_order(
        self,
        collection: Collection,
        space: Space,
        expression: str,
        fields: Sequence[str],
        limit: int,
        consistency: Consistency,
        deadline: Deadline,
    ) -> list[dict[str, Any]]:
        """The first `limit` rows in order of id for which `expression` holds; it must not be empty."""
        # Milvus returns the *first* rows in order of the primary key. milvus-lite does when it is told that an iterator asks;
        # Milvus itself, told so, forgets the consistency asked for.
        order = {"iterator": "True"} if self._connection.is_lite else {}
        rows: list[dict[str, Any]] = self._call(
            "query",
            collection,
            space,
            deadline,
            filter=expression,
            output_fields=list(fields),
            limit=limit,
            consistency_level=consistency.value,
            **order,
        )
        return sorted(rows, key=lambda row: str(row[ID]))

    def _call(self, method: str, collection: Collection, space: Space, deadline: Deadline, **arguments: Any) -> Any:
        physical = collection.physical_of(space)
        return self._connection.call(method, physical, deadline=deadline, subject=collection.name, **arguments)

    def _at_once(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Run `function` on every item in parallel: a Strong read spends its time waiting, so two cost as much as one."""
        todo = list(items)
        if len(todo) == 1:
            return [function(todo[0])]
        with self._threads_lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(16, thread_name_prefix="store")
        return list(self._threads.map(function, todo))


def slices(items: Any, size: int) -> Iterator[Any]:
    """`items` in pieces of `size`, the last one perhaps shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
