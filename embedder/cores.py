"""How many processor cores this process may use. Asked by `embedder.settings`, and by the trainer for a bundle's provenance.

Two things bound it: which cores it may run on (affinity, as `taskset` and Kubernetes' static CPU manager set it) and for how
much of the time (a control group's quota, as `docker run --cpus` and Kubernetes' limits set it). Threads beyond the quota are
stopped in the middle of their work until the next period.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_LIMIT = "cpu.max"
"""`quota period`, both in microseconds, or `max period` (Linux' cgroup-v2.rst). Groups of version 1 are not read."""


def usable_cores(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Cores that this process may run on, or its quota rounded up where that is less; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(cores) for cores in _quotas(groups, membership))]))


def _quotas(groups: Path, membership: Path) -> list[float]:
    """The quotas in cores of the process's control group and of those around it: each of them binds. A container sees its own
    group as the root; where it still sees the host's names there are no such folders, and the root is its group as well."""
    group = groups / _own_group(membership).lstrip("/")
    around = [group, *group.parents]
    return [quota for folder in around[: around.index(groups) + 1] if (quota := _quota(folder / _LIMIT)) is not None]


def _own_group(membership: Path) -> str:
    """The path after `0::`, the line of version 2; `/` where there is none."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    named = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    # A process outside of the namespace's root is shown as `/../other`: such a path leads nowhere from here.
    return "/" if ".." in Path(named).parts else named


def _quota(limit: Path) -> float | None:
    """In cores; None where there is no limit, or nothing that can be read."""
    try:
        quota, period = limit.read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
