"""A caged process as its keeper sees it: started, asked, ended. Used by `cage`, by one thread at a time.

Nothing here waits without a bound: pipes are read and written as far as they go, and between two looks the caller may say that
nobody waits any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

from embedder.pictures.tasks import framed, read_frame

_START_S = 60.0
"""To import Pillow and NumPy on a machine that is busy and slow; it takes .3 s."""
_LOOK_S = 0.05
_END_S = 5.0
_PIPE_BYTES = 1 << 20
"""What a pipe holds, where the system allows it: fewer changes between two processes for a large picture."""
_PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
"""Of the environment; no settings, which may hold secrets."""
_ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_CPU_CLOCK = 2
"""With a process's number above it, inverted: the clock of its processor time (clock_getcpuclockid(3))."""
TIME_SIGNALS = frozenset({signal.SIGPROF, signal.SIGXCPU})
"""What ends a process whose processor time is up."""
FOREIGN_SIGNALS = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What no decoder does to itself: the system, where memory ran out, or a person."""


class Ended(Exception):
    """The process ended while it was asked. `signal_number`: of the signal that ended it; 0 where none did."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Overlong(Exception):
    """The process did not answer within its time, and was ended."""


class CagedProcess:
    """A process that runs `module`. Started by the constructor, which raises `OSError` where it cannot be started."""

    def __init__(self, module: str = "embedder.pictures.caged") -> None:
        passed_on = {
            name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("PYTHON", "LC_"))
        }
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the embedder, which lets what is under way end
            env=passed_on | _ALONE,
            bufsize=0,
        )
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self._pipes = stdin, stdout
        self._requests, self._answers = stdin.fileno(), stdout.fileno()
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.asked = 0
        try:
            head, _ = self._frame(0, time.monotonic() + _START_S, lambda: False)
        except (Ended, Overlong, ValueError) as error:
            self.close()
            raise OSError(f"a caged process does not start: {type(error).__name__}") from error
        self.filtered = head.get("filtered") is True

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def processor_s(self) -> float:
        """Processor time that it has used; 0 where it has ended, or where the system does not say."""
        if sys.platform != "linux":
            return 0.0
        try:
            return time.clock_gettime(~self.pid << 3 | _CPU_CLOCK)
        except OSError:
            return 0.0

    def ask(
        self, head: Mapping[str, Any], data: bytes, *, most_bytes: int, longest_s: float, gone: Callable[[], bool]
    ) -> tuple[dict[str, Any], bytes]:
        """Its answer to `head` and `data`, whose content is at most `most_bytes` long.

        Raises `Ended`, `Overlong` (after `longest_s`, or when the caller has `gone`) and `ValueError` (an answer of another
        form); after each of them the process is no more.
        """
        self.asked += 1
        until_s = time.monotonic() + longest_s
        try:
            for part in (framed(head, len(data)), data):
                self._write(part, until_s, gone)
            return self._frame(most_bytes, until_s, gone)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()

    def _write(self, content: bytes, until_s: float, gone: Callable[[], bool]) -> None:
        left = memoryview(content)
        while left:
            self._wait(self._requests, select.POLLOUT, until_s, gone)
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _frame(self, most_bytes: int, until_s: float, gone: Callable[[], bool]) -> tuple[dict[str, Any], bytes]:
        return read_frame(lambda size: self._read(size, until_s, gone), most_bytes)

    def _read(self, size: int, until_s: float, gone: Callable[[], bool]) -> bytes:
        content = bytearray()
        while len(content) < size:
            self._wait(self._answers, select.POLLIN, until_s, gone)
            try:
                got = os.read(self._answers, size - len(content))
            except BlockingIOError:
                continue
            if not got:
                raise self._ended()
            content += got
        return bytes(content)

    def _wait(self, pipe: int, event: int, until_s: float, gone: Callable[[], bool]) -> None:
        ready = select.poll()
        ready.register(pipe, event)
        while not ready.poll(_LOOK_S * 1000):
            if time.monotonic() >= until_s or gone():
                raise Overlong

    def _ended(self) -> Ended:
        """Its pipe is closed: it has ended, or is about to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._process.kill()
        return Ended(max(0, -self._process.wait()))
