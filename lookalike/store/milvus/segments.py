"""How far the server is with indexing what was written. `vectors` asks; only servers with segments have an answer."""

from __future__ import annotations

from lookalike.store.milvus.connection import Connection, Deadline

_INDEX_MIN_ROWS = 1024
"""Milvus builds no index for a smaller segment and compares with its every row
(`indexCoord.segment.minSegmentNumRowsToEnableIndex` in milvus.yaml)."""


def pending_rows(connection: Connection, physical: str, collection: str, deadline: Deadline) -> int:
    """How many rows of a physical collection are still searched without their index; 0 on milvus-lite, which uses none.

    A row is done when a query node has *loaded* the index of its segment, or the segment where it is too small for one.
    `describe_index` says *indexed* 10 s and more before: as soon as the index is built. Exact after a flush. Before it, each
    row deleted from a closed segment hides one that is being written.
    """
    if connection.is_lite:
        return 0
    loaded = connection.call("list_loaded_segments", physical, deadline=deadline, subject=collection)
    served = {s.segment_id for s in loaded if s.index_name or s.num_rows < _INDEX_MIN_ROWS}
    closed = connection.call("list_persistent_segments", physical, deadline=deadline, subject=collection)
    waiting = sum(s.num_rows for s in closed if s.segment_id not in served)
    counted = connection.call(
        "query",
        physical,
        deadline=deadline,
        subject=collection,
        filter="",
        output_fields=["count(*)"],
        consistency_level="Strong",
    )
    open_rows = int(counted[0]["count(*)"]) - sum(s.num_rows for s in closed)
    return int(waiting + max(0, open_rows))
