"""What images take in Milvus: the law by which memory and disk grow. Used to forecast a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.spaces import Space
from lookalike.store.schema import HNSW_M

_FLOAT_BYTES = 4
_LINK_BYTES = 4
_FIXED_FACTS_BYTES = 64 + 8 + 8
"""Hash, revision and time of a row."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes that images add, once they are indexed."""

    memory_bytes: int
    disk_bytes: int


def growth(spaces: Sequence[Space], images: int, facts_bytes: float) -> Growth:
    """What `images` in `spaces` take on a Milvus server with HNSW; `facts_bytes` is the mean length of id, URI and metadata.

    Memory: vectors and 2 M links each (faiss' wiki, "Guidelines to choose an index": d * 4 + M * 2 * 4 bytes a vector), and
    the scalar fields, which Milvus keeps loaded. Disk: the vectors twice, as they were inserted and within the index, the
    links, and the scalar fields. The write-ahead log and segments that wait for compaction come on top for a while.
    """
    facts = facts_bytes + _FIXED_FACTS_BYTES
    links = 2 * HNSW_M * _LINK_BYTES
    vectors = [space.dimension * _FLOAT_BYTES for space in spaces]
    memory = sum(vector + links + facts for vector in vectors)
    disk = sum(2 * vector + links + facts for vector in vectors)
    return Growth(round(images * memory), round(images * disk))
