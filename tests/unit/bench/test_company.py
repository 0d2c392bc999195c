"""What others used of the machine is what neither the bench nor its children did."""

from __future__ import annotations

import os
import time

from tests.bench.company import Company


def test_what_others_used_is_what_is_left_of_the_busy_time() -> None:
    cores, long_ago_s = os.cpu_count() or 1, time.monotonic() - 1000
    now = Company()
    others = Company(long_ago_s, now.busy_s - 500 * cores, now.own_s - 200 * cores)
    assert abs(others.share() - 0.3) < 0.01
    assert "30% of the machine" in others.line()
    assert "again" in others.line()


def test_what_the_bench_used_itself_is_not_held_against_it() -> None:
    cores, long_ago_s = os.cpu_count() or 1, time.monotonic() - 1000
    now = Company()
    alone = Company(long_ago_s, now.busy_s - 500 * cores, now.own_s - 500 * cores)
    assert alone.share() < 0.01
    assert "again" not in alone.line()
