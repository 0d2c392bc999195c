"""The call that every edge makes and hands down: its deadline, request id and trace.

The gateway makes it for gRPC and HTTP, and the indexer for a unit of work. The remaining time is computed where it is used,
when a store or a service is dialled, so a wait for a thread before that counts too.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from lookalike.errors import DeadlineExceeded
from lookalike.runtime import tracing

REQUEST_ID_HEADER = "x-request-id"
"""The HTTP header and the gRPC metadata key of the request id. A caller may send it; every answer carries it."""
_LOGGED = "request_id"
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""A request id that may be logged as it is, such as a UUID."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        return time.monotonic() > self.at_s

    def remaining_s(self) -> float:
        """Seconds left, above 0. Raises `DeadlineExceeded` when none are left."""
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return left_s


NEVER = Deadline(math.inf)
"""The deadline of work without one, such as the plan of a job."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is being served. `trace` is the `traceparent` of its span, "" where it is not traced."""

    deadline: Deadline
    request_id: str = ""
    trace: str = ""

    @classmethod
    def begun(cls, timeout_s: float) -> Call:
        """The call that this code serves, inside the block of `named`; it may take `timeout_s` seconds from now."""
        return cls(Deadline.after(timeout_s), current_request_id(), tracing.current_traceparent())


def request_id_from(given: str | bytes | None) -> str:
    """The caller's request id, if it is a plain token of 1 to 64 letters, digits and `._:-`; else a new id."""
    return given if isinstance(given, str) and _PLAIN.fullmatch(given) else secrets.token_hex(8)


def request_id_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """As `request_id_from`, from gRPC metadata."""
    return request_id_from(next((value for name, value in metadata or () if name == REQUEST_ID_HEADER), None))


@contextmanager
def named(request_id: str) -> Iterator[str]:
    """The block serves the call of this id. Each line of its log has the id, in every thread that gets its context."""
    structlog.contextvars.bind_contextvars(**{_LOGGED: request_id})
    try:
        yield request_id
    finally:
        # structlog's own block would not do: another thread or task may end a stream that its caller left.
        structlog.contextvars.unbind_contextvars(_LOGGED)


def current_request_id() -> str:
    """The id of the call under way; "" without a call."""
    return str(structlog.contextvars.get_contextvars().get(_LOGGED, ""))


def outgoing() -> tuple[tuple[str, str], ...]:
    """gRPC metadata that carries the call's id and its span to the service that is called."""
    request_id = current_request_id()
    own = ((REQUEST_ID_HEADER, request_id),) if request_id else ()
    return own + (tracing.outgoing() or ())
