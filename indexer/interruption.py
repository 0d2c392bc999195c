"""Why a worker lays a unit of work down before it is done, and how the layers of the indexer ask whether to.

Not errors of a request: none of these leaves the indexer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from lookalike.errors import Cancelled, DeadlineExceeded, Overloaded, Unavailable
from lookalike.jobs.leases import Lease

TRANSIENT = (Unavailable, Overloaded, DeadlineExceeded)
"""What passes by itself: the same work done later may succeed."""


class Draining(Cancelled):
    """The worker is stopping: the unit is given back for others."""

    reason = "DRAINING"


class LeaseLost(Cancelled):
    """The unit has gone to another worker, or its job has ended: nothing more may be written."""

    reason = "LEASE_LOST"


@dataclass(frozen=True, slots=True)
class Interruption:
    """Asked between steps of a unit of work."""

    draining: threading.Event
    lease: Lease

    def check(self) -> None:
        """Raise `Draining` or `LeaseLost` where the work should be laid down."""
        if self.lease.lost.is_set():
            raise LeaseLost(f"the lease of {self.lease.unit} of ingest job {self.lease.job_id} is lost")
        if self.draining.is_set():
            raise Draining("the worker is stopping")

    def wait(self, seconds: float) -> None:
        """Wait, unless there is a reason to lay the work down."""
        self.draining.wait(seconds)
        self.check()
