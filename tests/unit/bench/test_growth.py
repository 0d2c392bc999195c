"""The law that the growth bench fits: what a million vectors add, and how a search slows down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.growth_law import Disk, Latency, Size, law
from tests.bench.growth_sizes import disk_of

SIZE = Size(
    vectors=10_000, dimension=384, write_s=15.0, indexed_s=12.0,
    memory_before_mib=700, memory_peak_mib=900, memory_after_mib=320,
    disk=Disk(15, 16, 17, 3), ef=24, tuner_recall=0.99, tuner_s=9.0, recall=0.98, fresh_ef=32, gateway=Latency(4, 9),
    alone=Latency(3, 7), queries_per_s=(100.0, 110.0),
)  # fmt: skip


def test_a_million_vectors_are_the_slope_and_what_is_always_there_does_not_count() -> None:
    larger = replace(
        SIZE, vectors=1_010_000, write_s=515.0, indexed_s=112.0, memory_after_mib=2320, disk=Disk(1515, 1616, 1717, 99),
        gateway=Latency(4 * 101**0.5, 50),
    )  # fmt: skip
    found = law([SIZE, larger])
    assert found is not None
    assert (found.write_s, found.indexed_s, found.memory_mib) == pytest.approx((500, 100, 2000))
    assert (found.rows_mib, found.index_mib, found.log_mib) == pytest.approx((1500, 1600, 1700))
    assert found.p50_factor == pytest.approx(10**0.5), "p50 grew as the square root"


def test_one_size_has_no_law() -> None:
    assert law([]) is None
    assert law([SIZE, SIZE]) is None


def test_files_count_by_the_folder_that_milvus_keeps_them_in(tmp_path: Path) -> None:
    for name, mib in {
        "data/insert_log/1/2": 1, "data/delta_log/1/2": 2, "data/stats_log/1/2": 4, "data/index_files/7/1": 8,
        "data/rocksmq/000001.log": 16, "data/rocksmq_meta_kv/MANIFEST": 32, "data/etcd.data/member/wal/0": 64,
        "logs/server.log": 128,
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(mib * 2**20)
    found = disk_of(tmp_path)
    assert found == Disk(rows=7, index=8, log=48, other=192)
    assert found.since(Disk(1, 1, 1, 1)).total == 251
