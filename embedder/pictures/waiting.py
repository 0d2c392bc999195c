"""How a caller waits for its pictures: in which lane, and until when. Used by all that queues or decodes them."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

from lookalike.errors import Cancelled, DeadlineExceeded

TOO_LATE = "the caller's time was up before its pictures were decoded"


class Lane(enum.Enum):
    """Interactive work goes first; bulk work gets every fifth batch at least."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a caller waits: until `deadline_s` (a time of `time.monotonic`), or until it has `gone`."""

    deadline_s: float
    gone: Callable[[], bool]

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline_s - time.monotonic())

    def check(self) -> None:
        """Raise `DeadlineExceeded` or `Cancelled` where the caller waits no longer."""
        if time.monotonic() >= self.deadline_s:
            raise DeadlineExceeded(TOO_LATE)
        if self.gone():
            raise Cancelled("the caller has gone")
