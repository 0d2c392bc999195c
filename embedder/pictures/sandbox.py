"""What a caged process gives up before it sees a picture, and the limits that it sets itself for each. Called by `caged`.

Three things hold, of which the first two are the system's everywhere and the third is Linux':

- no file can grow, no core is dumped, few files can be open (setrlimit);
- for each picture, memory (RLIMIT_AS) and processor time (setitimer, whose signal ends the process) as its header accounts for;
- of the system calls only those that decoding needs: memory, the two pipes, clocks, signals to itself. No file is opened, no
  process started, no connection made; they fail with EPERM. By libseccomp, where the kernel and the library are there.

Nothing of it needs a privilege, and a container's own filter adds to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

from lookalike.errors import BadImage

_NICENESS = 10
"""Pictures of the embedder's own threads come first: a caged process gets a tenth of a busy core."""
_FIRST_TO_GO = "1000"
"""Where the system runs out of memory, a caged process is ended before the embedder (proc(5), oom_score_adj)."""
_OPEN_FILES = 16
_SYSTEM_CALLS = (
    "brk", "clock_gettime", "clock_nanosleep", "close", "exit", "exit_group", "fstat", "futex", "getpid", "getrandom",
    "gettid", "gettimeofday", "lseek", "madvise", "mmap", "mprotect", "mremap", "munmap", "newfstatat", "poll", "pread64",
    "read",
    "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "setitimer",
    "sigaltstack", "tgkill", "write", "writev", "getrusage", "prlimit64", "setrlimit", "getrlimit",
)  # fmt: skip


class Sandbox:
    """Made once, in the caged process, when all that it needs is imported. `filtered`: whether system calls are."""

    def __init__(self) -> None:
        # Virtual memory so far: a picture's comes on top of it.
        self._used = Path("/proc/self/statm").open("rb", buffering=0) if Path("/proc/self/statm").exists() else None  # noqa: SIM115
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)
        for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, _OPEN_FILES)):
            resource.setrlimit(limit, (value, value))
        self.filtered = _filter_system_calls()

    @contextlib.contextmanager
    def limits(self, memory_bytes: int, processor_s: float) -> Iterator[None]:
        """Within it the process may take `memory_bytes` more than it has, and `processor_s` of processor time. Raises
        `BadImage` for the former; the latter ends the process by SIGPROF."""
        with self._memory(memory_bytes):
            signal.setitimer(signal.ITIMER_PROF, processor_s)
            try:
                yield
            except MemoryError as error:
                raise BadImage(
                    f"takes more memory to decode than its header accounts for ({memory_bytes / 1e6:,.0f} MB)",
                    reason="IMAGE_TOO_COSTLY",
                ) from error
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)

    @contextlib.contextmanager
    def _memory(self, memory_bytes: int) -> Iterator[None]:
        if self._used is None:
            yield
            return
        pages = int(os.pread(self._used.fileno(), 64, 0).split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def _filter_system_calls() -> bool:
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):  # not Linux, or without libseccomp
        return False
    try:
        allowed = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
        for name in _SYSTEM_CALLS:
            with contextlib.suppress(OSError, ValueError):  # a call that this machine's kernel does not know by that name
                allowed.add_rule(pyseccomp.ALLOW, name)
        allowed.load()
    except OSError:  # a kernel, or a container, without filters
        return False
    return True
