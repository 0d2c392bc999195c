"""What is kept of query embeddings, and what goes first."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.search.query_cache import ENTRY_BYTES, VECTOR_BYTES, QueryCache


def vectors(values: int) -> dict[str, np.ndarray]:
    return {"siamese": np.zeros(values, np.float32)}


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = QueryCache(2, 10**6)
    cache.put("a", vectors(1))
    cache.put("b", vectors(1))
    assert cache.get("a") is not None
    cache.put("c", vectors(1))
    assert [name for name in "abc" if cache.get(name) is not None] == ["a", "c"]


def test_bytes_are_bounded_whatever_the_number_of_entries() -> None:
    cache = QueryCache(1000, 3 * (ENTRY_BYTES + VECTOR_BYTES + 400))
    for number in range(50):
        cache.put(number, vectors(100))
    assert len(cache) == 3
    assert cache.size_bytes == 3 * (ENTRY_BYTES + VECTOR_BYTES + 400)
    cache.put("large", vectors(10_000))
    assert (len(cache), cache.size_bytes) == (0, 0), "more than everything together may take is not kept"


def test_an_entry_put_again_is_counted_once() -> None:
    cache = QueryCache(10, 10**6)
    cache.put("a", vectors(1))
    cache.put("a", vectors(2))
    assert (len(cache), cache.size_bytes) == (1, ENTRY_BYTES + VECTOR_BYTES + 8)


@pytest.mark.parametrize("bounds", [(0, 10**6), (10, 0)])
def test_nought_turns_it_off(bounds: tuple[int, int]) -> None:
    cache = QueryCache(*bounds)
    cache.put("a", vectors(1))
    assert cache.get("a") is None
    assert cache.size_bytes == 0
