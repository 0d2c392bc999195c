"""The other programs that used the machine while the bench ran: said under the table, because it decides what the ratios are
worth.

A side of a row that has more threads gets more of the cores that others use too, so that company does not only scatter the
ratios, it bends them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import psutil

QUIET = 0.1
"""From this share of the cores on a run is better repeated."""


@dataclass(frozen=True, slots=True)
class Company:
    """Counts from its making on."""

    begun_s: float = field(default_factory=time.monotonic)
    busy_s: float = field(default_factory=lambda: _busy_s())
    own_s: float = field(default_factory=lambda: _own_s())

    def share(self) -> float:
        """The share of all cores, in [0, 1], that neither this process used nor any that it started and that has ended."""
        cores_s = (time.monotonic() - self.begun_s) * (os.cpu_count() or 1)
        others_s = _busy_s() - self.busy_s - (_own_s() - self.own_s)
        return min(1.0, max(0.0, others_s / cores_s))

    def line(self) -> str:
        """For people."""
        share = self.share()
        said = f"others used {share:.0%} of the machine meanwhile"
        return f"{said}: the ratios are bent by it, run it again alone" if share > QUIET else said


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_s() -> float:
    """Of this process and of its children, and theirs, as far as they have been waited for."""
    return float(sum(os.times()[:4]))
