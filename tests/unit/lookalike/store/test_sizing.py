"""How memory and disk grow with images."""

from __future__ import annotations

from lookalike.spaces import Metric, Space
from lookalike.store.sizing import growth

SPACES = (Space("histogram", 256, Metric.L2, "a" * 16), Space("siamese", 384, Metric.COSINE, "b" * 16))


def test_it_is_proportional_to_images_and_counts_vectors_links_and_facts_of_every_space() -> None:
    one = growth(SPACES, 1, facts_bytes=100)
    assert one.memory_bytes == (256 + 384) * 4 + 2 * (2 * 16 * 4 + 100 + 80)
    assert one.disk_bytes == one.memory_bytes + (256 + 384) * 4
    million = growth(SPACES, 1_000_000, facts_bytes=100)
    assert (million.memory_bytes, million.disk_bytes) == (one.memory_bytes * 10**6, one.disk_bytes * 10**6)
    assert growth(SPACES, 0, facts_bytes=100).disk_bytes == 0
