"""The states of an ingest job and the moves between them. The ledger's scripts get the same table.

A job that fails half-way goes through CANCELLING with its error set. Its chunks under way are finished first, so that their
writes are counted; then the job ends as FAILED.
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """The state of a job. `SUCCEEDED` says that every item is accounted for, not that every item was good: see the counts.

    The names are those of the contract without their prefix. The ledger keeps the names; people see the values.
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
        """Whether the state is final. False for one that this version does not know; see `Job.ended`."""
        return self in MOVES and not MOVES[self]


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.PLANNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.PLANNING: frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.FAILED}),
    JobState.CANCELLED: frozenset(),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
}
