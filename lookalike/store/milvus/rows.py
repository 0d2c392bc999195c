"""Access of `vectors` to the physical collections: calls, rows by id and in order, several spaces at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lookalike.records.collection import Collection
from lookalike.records.image import Consistency
from lookalike.runtime.call import Deadline
from lookalike.spaces import Space
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.expressions import ids_among
from lookalike.store.milvus.schema import ID

IDS_PER_CALL = 1000
_INDEX_MIN_ROWS = 1024
"""Bounds from below the rows of a segment with an index; a query is compared with every row of a smaller one
(`indexCoord.segment.minSegmentNumRowsToEnableIndex` in milvus.yaml)."""
CONSISTENCY_LEVELS = {Consistency.BOUNDED: "Bounded", Consistency.STRONG: "Strong"}
"""Milvus' own words (its documentation, "Consistency Level")."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Rows:
    """The rows of every collection of one Milvus. May be used by several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._threads_lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def by_id(
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
            answer = self.call(
                "query",
                collection,
                space,
                deadline,
                filter=ids_among(some),
                output_fields=list(fields),
                consistency_level=CONSISTENCY_LEVELS[consistency],
            )
            rows.update((row[ID], row) for row in answer)
        return rows

    def in_order(
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
        # Milvus returns the *first* rows in order of the primary key. milvus-lite does only for an iterator; Milvus itself
        # ignores the consistency of the call for an iterator.
        order = {"iterator": "True"} if self._connection.is_lite else {}
        rows: list[dict[str, Any]] = self.call(
            "query",
            collection,
            space,
            deadline,
            filter=expression,
            output_fields=list(fields),
            limit=limit,
            consistency_level=CONSISTENCY_LEVELS[consistency],
            **order,
        )
        return sorted(rows, key=lambda row: str(row[ID]))

    def call(self, method: str, collection: Collection, space: Space, deadline: Deadline, **arguments: Any) -> Any:
        physical = collection.physical_of(space)
        return self._connection.call(method, physical, deadline=deadline, subject=collection.name, **arguments)

    def pending(self, collection: Collection, space: Space, deadline: Deadline) -> int:
        """The number of rows of a space that are still searched without their index; 0 on milvus-lite, which uses none.

        A row is done when a query node has *loaded* the index of its segment, or the segment where it is too small for an
        index. `describe_index` says *indexed* 10 s or more before that, when the index is built. The number is exact after a
        flush; before it, each row deleted from a closed segment hides a row that is being written.
        """
        if self._connection.is_lite:
            return 0
        loaded = self.call("list_loaded_segments", collection, space, deadline)
        served = {s.segment_id for s in loaded if s.index_name or s.num_rows < _INDEX_MIN_ROWS}
        closed = self.call("list_persistent_segments", collection, space, deadline)
        waiting = sum(s.num_rows for s in closed if s.segment_id not in served)
        open_rows = self.count(collection, space, deadline) - sum(s.num_rows for s in closed)
        return int(waiting + max(0, open_rows))

    def count(
        self,
        collection: Collection,
        space: Space,
        deadline: Deadline,
        expression: str = "",
        consistency: Consistency = Consistency.STRONG,
    ) -> int:
        """The number of rows for which `expression` holds."""
        level = CONSISTENCY_LEVELS[consistency]
        counted = self.call(
            "query", collection, space, deadline, filter=expression, output_fields=["count(*)"], consistency_level=level
        )
        return int(counted[0]["count(*)"])

    def at_once(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Run `function` on every item in parallel: a Strong read spends its time waiting, so two take as long as one."""
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
