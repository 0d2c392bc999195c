"""Why a worker releases a unit of work before it is done, and how the layers of the indexer ask whether it should.

These are no errors of a request: none of them leaves the indexer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from lookalike.errors import Cancelled, DeadlineExceeded, LeaseLost, Overloaded, Unavailable
from lookalike.jobs.leases import Lease
from lookalike.runtime.call import NEVER, Deadline

TRANSIENT = (Unavailable, Overloaded, DeadlineExceeded)
"""Errors that pass by themselves: the same work done later may succeed."""


class Draining(Cancelled):
    """The worker is stopping: it gives the unit back for others."""

    reason = "DRAINING"


class Overdue(Cancelled):
    """The chunk has taken longer than a chunk may: it is given back, and the attempt counts.

    Its items have not failed: what was slow (a source, a disk that swaps) may be quick the next time, and what is slow for one
    item alone has a deadline of its own. Attempts are few, so a chunk that is always slow ends all the same.
    """

    reason = "CHUNK_DEADLINE"


@dataclass(frozen=True, slots=True)
class Interruption:
    """The reasons to stop, asked for between the steps of a unit of work, which must have ended by `deadline`."""

    draining: threading.Event
    lease: Lease
    deadline: Deadline = NEVER

    def check(self) -> None:
        """Raise `Draining`, `LeaseLost` or `Overdue` where the work should end here."""
        if self.lease.lost.is_set():
            raise LeaseLost(f"the lease of {self.lease.unit} of ingest job {self.lease.job_id} is lost")
        if self.draining.is_set():
            raise Draining("the worker is stopping")
        if self.deadline.passed:
            raise Overdue(f"{self.lease.unit} of ingest job {self.lease.job_id} has taken longer than a chunk may")

    def wait(self, seconds: float) -> None:
        """Wait, unless there is a reason to end the work."""
        self.draining.wait(seconds)
        self.check()
