"""How long a request may still take. Made once at each edge (gRPC, HTTP), handed to every call the request makes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lookalike.errors import DeadlineExceeded

DEFAULT_S = 10.0
"""For callers that set no deadline: far above any healthy answer, short enough that nobody waits in vain for long."""
MAX_S = 60.0
"""No request holds a thread or a place in a queue for longer, whatever its caller says."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left, above 0. Raises `DeadlineExceeded` when there are none."""
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return left_s
