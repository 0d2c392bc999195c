"""The states of an ingest job and the moves between them. The ledger's scripts are given this same table.

A job that must fail half-way goes through CANCELLING with its error set: chunks under way are finished first, so that what
they wrote is counted, and then it ends as FAILED.
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """Where a job stands. `SUCCEEDED` says that every item is accounted for, not that every item was good: see the counts.

    The names are those of the contract without their prefix, and those that the ledger keeps; people are shown the values.
    """

    PENDING = "pending"
    PLANNING = "planning"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return not MOVES[self]


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.PLANNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.PLANNING: frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.FAILED}),
    JobState.CANCELLED: frozenset(),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
}
