"""The data folder of `lookalike up`: its lock, the record of running children, its logs.

lock              held while the system runs; names the process that holds it
processes.json    children by name, with process id and start time, for the run after a killed one
logs/NAME.log     the log of each part, bounded; its earlier lines are in NAME.log.1
redis/ milvus/ artifacts/ models/    data that must survive; models/ is the registry of models
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from lookalike.errors import FailedPrecondition

LOG_BOUND_BYTES = 16 * 1024 * 1024
"""Bounds a log: a longer one is put aside, so the logs of a part take about twice as much at most."""
_SAME_START_S = 1.5
"""Bounds the difference of two readings of a process' start time, which is derived from the boot time and moves with steps of
the clock."""
_TERMINATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A child that was started: the name of its part, its process id, and psutil's start time in seconds since 1970."""

    name: str
    pid: int
    started_at: float


class DataFolder:
    """The folder of the data, made if missing, readable by its owner only. Call `lock` before any other method.

    A file that cannot be written or read, as on a full disk, raises `FailedPrecondition` (`DATA_FOLDER_UNUSABLE`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock: IO[bytes] | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def lock(self, holder: str) -> None:
        """Take the folder for this process until `unlock`; `holder` is the line that describes the process to others.

        Raises `FailedPrecondition`: `DATA_FOLDER_LOCKED` with the holder's line, or `DATA_FOLDER_UNUSABLE`.
        """
        with self._used():
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
            # Without a buffer: a failed write must not be tried again when the file is closed.
            stream = (self.path / "lock").open("ab+", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with stream, self._used():
                stream.seek(0)
                holding = stream.read().decode(errors="replace").strip() or "another process"
            raise FailedPrecondition(
                f"data folder {self.path} is in use by {holding}; stop that one first, or choose another folder with --data",
                reason="DATA_FOLDER_LOCKED",
                metadata={"holder": holding},
            ) from error
        self._lock = stream
        try:
            self.describe(holder)
        except FailedPrecondition:
            self.unlock()
            raise

    def describe(self, holder: str) -> None:
        """Change the line that describes the process that has the folder."""
        if self._lock is not None:
            with self._used():
                self._lock.truncate(0)
                self._lock.write(holder.encode() + b"\n")

    def unlock(self) -> None:
        """Release the folder. Harmless where it is not held; never fails."""
        if self._lock is not None:
            # The lock ends with the file; a line that stays names a process that has ended.
            with suppress(OSError):
                self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def make(self, name: str) -> Path:
        """The folder `name` of a part's data, made if missing."""
        made = self.path / name
        with self._used():
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        return made

    def record(self, processes: Sequence[Recorded]) -> None:
        """Record which children run; the record replaces the earlier one at once."""
        target = self.path / "processes.json"
        fresh = target.with_suffix(".new")
        with self._used():
            fresh.write_text(json.dumps([asdict(process) for process in processes], indent=1) + "\n", encoding="utf-8")
            fresh.replace(target)

    def recorded(self) -> list[Recorded]:
        """The children of the last run; none where the record is missing or cannot be read."""
        try:
            rows = json.loads((self.path / "processes.json").read_text(encoding="utf-8"))
            return [Recorded(str(row["name"]), int(row["pid"]), float(row["started_at"])) for row in rows]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def reap_orphans(self) -> list[Recorded]:
        """End the recorded processes that a killed run has left. Their start time distinguishes them from other processes.

        Call this with the lock held. Returns the processes that were found, all of which have ended by then.
        """
        found = [(process, orphan) for process in self.recorded() if (orphan := still_running(process)) is not None]
        orphans = [orphan for _, orphan in found]
        for orphan in orphans:
            _signal(orphan, kill=False)
        _, alive = psutil.wait_procs(orphans, timeout=_TERMINATE_S)
        for orphan in alive:
            _signal(orphan, kill=True)
        psutil.wait_procs(alive, timeout=_TERMINATE_S)
        self.record([])
        return [process for process, _ in found]

    def open_log(self, name: str) -> IO[bytes]:
        """The log of part `name`, to append to."""
        with self._used():
            return (self.logs / f"{name}.log").open("ab")

    def bound_log(self, name: str) -> None:
        """Put the log of part `name` aside if it has grown long. Its writer appends, so it continues at the start of the
        file."""
        log = self.logs / f"{name}.log"
        with self._used():
            if log.exists() and log.stat().st_size > LOG_BOUND_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)

    def last_lines(self, name: str, count: int = 5) -> list[str]:
        """The last lines that part `name` has logged, for an error message; none where they cannot be read."""
        try:
            with (self.logs / f"{name}.log").open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8192))
                lines = stream.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line.strip() for line in lines if line.strip()][-count:]

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = error.strerror or str(error)
            at = f" ({error.filename})" if isinstance(error.filename, str) and error.filename != str(self.path) else ""
            raise FailedPrecondition(
                f"data folder {self.path} cannot be used: {problem}{at}", reason="DATA_FOLDER_UNUSABLE"
            ) from error


def started_at(pid: int) -> float:
    """Start time of a child process, in seconds since 1970; 0.0 if the process has ended."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def still_running(process: Recorded) -> psutil.Process | None:
    """The recorded process, if it still runs; None where it has ended or another process has its id."""
    try:
        candidate = psutil.Process(process.pid)
        same = abs(candidate.create_time() - process.started_at) < _SAME_START_S
        return candidate if same and candidate.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        return
