"""How long a call may still take. Made at each edge, handed to everything that the call makes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lookalike.errors import DeadlineExceeded


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
