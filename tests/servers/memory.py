"""How much memory a process and its children take, and a bound on it that the kernel keeps, where this user may set one.

Control groups of version 2 or 1, whichever is mounted; each counts a process's children with it, and pages of files that they
read. Where no group may be made, what is resident is added up now and then, and nothing is bound.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
_LOOK_S, _LONG_LOOK_S = 0.02, 0.5


@dataclass
class Memory:
    """`bound`: whether the kernel ends what takes more than the limit. `peak_bytes`: anonymous memory at most, without pages of
    files; where nothing binds it, resident memory."""

    group: Path | None
    peak_bytes: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _looking: threading.Thread | None = None

    def add(self, pid: int) -> None:
        """Watch process `pid`, and all that it starts from now on."""
        if self.group is not None:
            (self.group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        self._looking = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
        self._looking.start()

    def close(self) -> None:
        self._ended.set()
        if self._looking is not None:
            self._looking.join()
        if self.group is not None:
            with suppress(OSError):  # somebody is left in it
                self.group.rmdir()

    @property
    def bound(self) -> bool:
        return self.group is not None

    @property
    def kills(self) -> int:
        """Processes that the kernel has ended for want of memory."""
        return self._number("memory.events", "oom_kill") or self._number("memory.oom_control", "oom_kill")

    def _number(self, name: str, *words: str) -> int:
        with suppress(OSError):
            lines = (self.group / name).read_text(encoding="ascii").splitlines() if self.group else []
            return sum(int(value) for word, value in (line.split() for line in lines) if word in words)
        return 0

    def _look(self, process: psutil.Process) -> None:
        while not self._ended.wait(_LOOK_S if self.bound else _LONG_LOOK_S):
            with suppress(psutil.NoSuchProcess):
                self.peak_bytes = max(self.peak_bytes, self._now(process))

    def _now(self, process: psutil.Process) -> int:
        if self.bound:
            # Version 1's words, then version 2's.
            return self._number("memory.stat", "total_rss") or self._number("memory.stat", "anon", "shmem")
        return sum(_resident(one) for one in (process, *process.children(recursive=True)))


def _resident(process: psutil.Process) -> int:
    """Bytes in memory of the process. Pages shared with its parent, such as libraries, count in part."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return int(process.memory_full_info().pss)
    return 0


@contextmanager
def bound(limit_bytes: int) -> Iterator[Memory]:
    """`Memory` for one process, which is to be added as soon as it has started, and all that it starts."""
    memory = Memory(_group(limit_bytes))
    try:
        yield memory
    finally:
        memory.close()


def _group(limit_bytes: int) -> Path | None:
    for root in _ROOTS:
        for name in ("memory.max", "memory.limit_in_bytes"):
            group = root / f"lookalike-test-{os.getpid()}"
            try:
                group.mkdir(exist_ok=True)
                if (group / name).exists():
                    (group / name).write_text(str(limit_bytes), encoding="ascii")
                    return group
            except OSError:
                continue
            with suppress(OSError):
                group.rmdir()
    return None
