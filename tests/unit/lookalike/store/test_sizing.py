"""How memory and disk grow with images, by hand-computed numbers."""

from __future__ import annotations

import math

import pytest

from lookalike.errors import InvalidArgument
from lookalike.sizing import GIB, IndexType, diskann_node_bytes, growth, row_bytes, size
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space

SPACES = (
    Space("histogram", 256, Metric.L2, "a" * 16, HistogramSettings(bins=256)),
    Space("siamese", 384, Metric.COSINE, "b" * 16, ModelSettings("small")),
)


def test_memory_is_proportional_to_images_and_counts_vectors_links_and_facts_of_every_space() -> None:
    one = growth(SPACES, 1, facts_bytes=100)
    assert one.memory_bytes == (256 + 384) * 4 + 2 * (2 * 16 * 4 + 100 + 80)
    assert one.disk_bytes == one.memory_bytes + (256 + 384) * 4
    million = growth(SPACES, 1_000_000, facts_bytes=100)
    assert (million.memory_bytes, million.disk_bytes) == (one.memory_bytes * 10**6, one.disk_bytes * 10**6)
    assert growth(SPACES, 0, facts_bytes=100).disk_bytes == 0


def test_for_a_while_the_disk_holds_everything_again_and_a_log_of_limited_length() -> None:
    one = growth(SPACES, 1, facts_bytes=100)
    inserted = (256 + 384) * 4 + 2 * (100 + 80)
    assert one.passing_disk_bytes == one.disk_bytes + inserted
    many = growth(SPACES, 10**8, facts_bytes=100)
    assert many.passing_disk_bytes == many.disk_bytes + 2 * 8 * 2**30


# A vector of 384 values is 1,536 bytes, 120 + 80 bytes of facts make a row of 1,736.
@pytest.mark.parametrize(
    ("index", "memory", "gpu", "node_disk", "built"),
    [
        (IndexType.HNSW, 1536 + 128 + 200, 0, 0, 1536 + 128),
        (IndexType.HNSW_SQ, 384 + 128 + 200, 0, 0, 384 + 128),
        (IndexType.DISKANN, 192 + 153.6 + 200, 0, 2048 + 192, 2048 + 192),
        (IndexType.GPU_CAGRA, 200, 2764.8, 0, 1536 + 256),
    ],
)
def test_a_row_takes_what_its_index_type_keeps_of_it(
    index: IndexType, memory: float, gpu: float, node_disk: float, built: float
) -> None:
    row = row_bytes(index, 384, 120)
    assert row.memory == pytest.approx(memory)
    assert row.gpu == pytest.approx(gpu)
    assert (row.node_disk, row.index, row.inserted) == (node_disk, built, 1736)


@pytest.mark.parametrize(
    ("dimension", "node_bytes"),
    [
        (256, 4096 / 3),  # 1,024 + 228: three in a sector
        (384, 2048),  # 1,536 + 228: two
        (967, 4096),  # 3,868 + 228: it just fits
        (968, 8192),  # 3,872 + 228: it no longer does
        (2048, 12288),  # 8,192 + 228
    ],
)
def test_a_node_of_diskann_takes_whole_sectors_or_a_whole_share_of_one(dimension: int, node_bytes: float) -> None:
    assert diskann_node_bytes(dimension) == node_bytes


def test_the_graph_of_short_vectors_outweighs_them_on_a_gpu() -> None:
    assert row_bytes(IndexType.GPU_CAGRA, 8, 0).gpu == 8 * 4 + 64 * 4


def test_a_hundred_million_images_with_hnsw() -> None:
    found = size(IndexType.HNSW, 10**8, [384], facts_bytes=120)
    assert found.memory_bytes == 186_400_000_000
    assert found.query_nodes == math.ceil(186.4e9 / (0.75 * 64 * 2**30)) == 4
    assert (found.rows_bytes, found.index_bytes) == (173_600_000_000, 166_400_000_000)
    assert (found.headroom_bytes, found.log_bytes) == (340_000_000_000, 173_600_000_000)
    assert found.storage_bytes == 680_000_000_000
    assert (found.gpus, found.gpu_bytes, found.node_disk_bytes, found.ingest_s) == (0, 0, 0, None)


def test_a_rate_gives_the_time_and_bounds_what_is_kept_for_a_while() -> None:
    found = size(IndexType.HNSW, 10**8, [384], facts_bytes=120, rate=100)
    assert found.ingest_s == 10**6
    assert found.headroom_bytes == 100 * 4 * 3600 * (1736 + 1664)
    assert found.log_bytes == 100 * 3 * 24 * 3600 * 1736
    assert size(IndexType.HNSW, 1000, [384], facts_bytes=120, rate=100).log_bytes == 1000 * 1736


def test_replicas_multiply_what_query_nodes_hold_and_nothing_else() -> None:
    one, three = (size(IndexType.DISKANN, 10**8, [384, 256], facts_bytes=120, replicas=n) for n in (1, 3))
    assert three.memory_bytes == 3 * one.memory_bytes
    assert three.node_disk_bytes == 3 * one.node_disk_bytes
    assert three.query_nodes == 3 * one.query_nodes
    assert (three.storage_bytes, three.log_bytes) == (one.storage_bytes, one.log_bytes)


def test_a_node_of_gpus_holds_what_its_gpu_holds() -> None:
    found = size(IndexType.GPU_CAGRA, 10**8, [384], facts_bytes=120, gpu_bytes=24 * GIB)
    assert found.gpu_bytes == 276_480_000_000
    assert found.gpus == found.query_nodes == math.ceil(276.48e9 / (20 * 2**30)) == 13


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("images", {"images": 0}),
        ("dimension", {"dimensions": []}),
        ("dimension", {"dimensions": [384, 0]}),
        ("dimension", {"dimensions": [32_769]}),
        ("metadata-bytes", {"facts_bytes": -1.0}),
        ("metadata-bytes", {"facts_bytes": math.nan}),
        ("replicas", {"replicas": 0}),
        ("node-memory", {"node_bytes": GIB - 1}),
        ("gpu-memory", {"gpu_bytes": 4 * GIB}),
        ("rate", {"rate": 0.0}),
        ("rate", {"rate": math.nan}),
    ],
)
def test_what_is_out_of_range_is_named(field: str, wrong: dict[str, object]) -> None:
    given = {"index": IndexType.HNSW, "images": 1, "dimensions": [384], "facts_bytes": 100.0} | wrong
    with pytest.raises(InvalidArgument) as refused:
        size(**given)  # type: ignore[arg-type]
    assert refused.value.field == field
    size(IndexType.HNSW, 1, [1, 32_768], facts_bytes=0, rate=0.1)
