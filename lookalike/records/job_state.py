"""The states of an ingest job and the moves between them. The scripts in `lua/` are given this same table.

A job that must fail half-way goes through CANCELLING with its error set: chunks under way are finished first, so that what
they wrote is counted, and then it ends as FAILED.
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """The names are those of the contract without their prefix."""

    PENDING = "PENDING"
    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

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


def moves_as_lua() -> str:
    """The table as a Lua expression: `{PENDING={PLANNING=true, ...}, ...}`."""
    rows = (
        f"{state.value}={{{', '.join(f'{to.value}=true' for to in sorted(allowed, key=lambda s: s.value))}}}"
        for state, allowed in MOVES.items()
    )
    return "{" + ", ".join(rows) + "}"
