"""The last query embeddings, bounded in entries and bytes. Filled and read by `query_embeddings` only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping

from prometheus_client import Gauge

from lookalike.spaces import Vector

CACHE_BYTES = Gauge("lookalike_gateway_query_cache_bytes", "Memory that the kept query embeddings take, in bytes.")

ENTRY_BYTES, VECTOR_BYTES = 470, 120
"""What an entry takes besides the values of its vectors, and what each vector adds: key, dictionary, arrays, order. tracemalloc
has 579 with one space, 695 with two (CPython 3.11)."""


class QueryCache:
    """At most `max_entries` embeddings of at most `max_bytes` together; what was used longest ago goes first.

    0 for either turns it off. An entry cannot be out of date: its key says everything that its vectors are made from.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[Hashable, Mapping[str, Vector]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Mapping[str, Vector] | None:
        """The vectors (float32 `[dimension]`, by space) kept under `key`, or None."""
        vectors = self._entries.get(key)
        if vectors is not None:
            self._entries.move_to_end(key)
        return vectors

    def put(self, key: Hashable, vectors: Mapping[str, Vector]) -> None:
        """Keep `vectors`, then drop the oldest until the bounds hold: `vectors` too, where they alone exceed them."""
        if key in self._entries:
            self.size_bytes -= _size_bytes(self._entries.pop(key))
        self._entries[key] = vectors
        self.size_bytes += _size_bytes(vectors)
        while len(self._entries) > self._max_entries or self.size_bytes > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.size_bytes -= _size_bytes(dropped)
        CACHE_BYTES.set(self.size_bytes)


def _size_bytes(vectors: Mapping[str, Vector]) -> int:
    return ENTRY_BYTES + sum(VECTOR_BYTES + vector.nbytes for vector in vectors.values())
