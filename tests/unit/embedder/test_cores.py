"""As many cores as a process may keep busy: those it may run on, and no more than its control groups let it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedder.cores import usable_cores


@pytest.fixture(autouse=True)
def _eight_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


def cores(tmp_path: Path, limits: dict[str, str], own: str = "0::/\n") -> int:
    """With the files `cpu.max` of `limits` (by group) under a root of control groups, and `own` as the process's membership."""
    groups, membership = tmp_path / "groups", tmp_path / "membership"
    membership.write_text(own)
    for group, limit in limits.items():
        (groups / group).mkdir(parents=True, exist_ok=True)
        (groups / group / "cpu.max").write_text(limit)
    return usable_cores(groups, membership)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("25000 50000\n", 1), ("1600000 100000\n", 8),
        ("max 100000\n", 8),
    ],
)  # fmt: skip
def test_a_containers_quota_counts_rounded_up(tmp_path: Path, limit: str, expected: int) -> None:
    assert cores(tmp_path, {".": limit}) == expected


def test_the_tightest_of_the_groups_around_counts(tmp_path: Path) -> None:
    limits = {"a/b": "max 100000", "a": "300000 100000", ".": "500000 100000", "other": "100000 100000"}
    assert cores(tmp_path, limits, "12:cpuset:/x\n0::/a/b\n") == 3


@pytest.mark.parametrize("own", ["0::/docker/0123\n", "0::/../other\n", "", "4:cpu,cpuacct:/x\n"])
def test_a_container_that_sees_the_hosts_names_has_the_roots_quota(tmp_path: Path, own: str) -> None:
    assert cores(tmp_path, {".": "400000 100000"}, own) == 4


@pytest.mark.parametrize("limit", ["", "fast\n", "100000 0\n", "a b\n"])
def test_without_a_quota_that_can_be_read_it_is_the_cores_allowed(tmp_path: Path, limit: str) -> None:
    assert cores(tmp_path, {}) == 8
    assert usable_cores(tmp_path / "nowhere", tmp_path / "nothing") == 8
    assert cores(tmp_path, {".": limit}) == 8
