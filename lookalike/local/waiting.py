"""The wait for a starting part: a part that works gets time, a part that does nothing gets none; and the texts about both.

`lookalike.local.supervisor` is the only caller.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import psutil

_LEAST_CPU_S = 0.2
"""Bounds from below the processor time that counts as work: a process that only polls takes less in minutes."""
_CHATTER = re.compile(
    r"""
      \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\.\d+:\ [IWE]\ \S+\.(cc|cu|h):\d+\]   # TensorFlow's own
    | [IWE]\d{4}\ \d\d:\d\d:\d+\.\d+\s+\d+\ \S+:\d+\]                      # absl's: gRPC, XLA
    | WARNING:\ All\ log\ messages\ before\ absl
    | To\ enable\ the\ following\ instructions
    | .*(Deprecation|Future|User|Runtime)Warning:
    | \s*warnings\.warn\(
    """,
    re.VERBOSE,
)
_SAID = 300
"""Bounds the characters of a quoted line."""


class Work:
    """The work of a process since the last check."""

    def __init__(self, pid: int, log: Path) -> None:
        self._pid, self._log = pid, log
        self._cpu_s, self._logged_bytes = 0.0, _size_of(log)

    def goes_on(self) -> bool:
        """Whether the process took processor time or wrote to its log since this was last true."""
        cpu_s, logged_bytes = cpu_time_of(self._pid), _size_of(self._log)
        if cpu_s - self._cpu_s < _LEAST_CPU_S and logged_bytes == self._logged_bytes:
            return False
        self._cpu_s, self._logged_bytes = cpu_s, logged_bytes
        return True


def cpu_time_of(pid: int) -> float:
    """Seconds of processor time that process `pid` has had; 0 for a process that has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def slow_text(doing: str, pid: int, waited_s: float) -> str:
    """The reason of a slow start: `not ready after 80 s: it loads TensorFlow; it has had 31 s of processor time, and the
    machine is busy (load 14 on 2 cores)`."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    text = f"not ready after {waited_s:.0f} s" + (f": it {doing}" if doing else "")
    text += f"; it has had {cpu_time_of(pid):.0f} s of processor time"
    return text + (f", and the machine is busy (load {load:.0f} on {cores} cores)" if load > cores else "")


def last_words(lines: Sequence[str]) -> str:
    """The last meaningful line of a log: the event and problem of a JSON line, or the line itself.

    Lines of libraries about themselves are passed over; "" where no other line is left.
    """
    for line in reversed(lines):
        said = _said(line)
        if said:
            return said[:_SAID]
    return ""


def _said(line: str) -> str:
    line = line.strip()
    if not line or _CHATTER.match(line):
        return ""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or "event" not in event:
        return line
    trace = str(event.get("exception", "")).strip().splitlines()
    parts = (event["event"], event.get("problem") or event.get("error") or (trace[-1] if trace else ""))
    return ": ".join(str(part) for part in parts if part)


def _size_of(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
