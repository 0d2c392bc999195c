"""What every edge makes of a call that it takes in, and hands down to what serves it: how long it may take, and its names.

Made by the gateway for gRPC and HTTP, and by the indexer for a unit of work. The remaining time is taken where it is spent,
when a store or a service is dialled: a wait for a thread before that counts as well.
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
"""The header of HTTP and the metadata of gRPC that name a request: in the request, where its caller has a name for it, and in
every answer."""
_LOGGED = "request_id"
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""A request id that may be logged as it came; a UUID is one."""


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
        """Seconds left, above 0. Raises `DeadlineExceeded` when there are none."""
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return left_s


NEVER = Deadline(math.inf)
"""Of work that has no end to keep, as the plan of a job."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is being served. `trace` is the `traceparent` of its span, "" where it is not traced."""

    deadline: Deadline
    request_id: str = ""
    trace: str = ""

    @classmethod
    def begun(cls, timeout_s: float) -> Call:
        """The call that this code serves, within `named`; it may take `timeout_s` seconds from now."""
        return cls(Deadline.after(timeout_s), current_request_id(), tracing.current_traceparent())


def request_id_from(given: str | bytes | None) -> str:
    """The caller's own, if it is a plain token of 1 to 64 letters, digits and `._:-`; else a new one."""
    return given if isinstance(given, str) and _PLAIN.fullmatch(given) else secrets.token_hex(8)


def request_id_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """As `request_id_from`, of gRPC metadata."""
    return request_id_from(next((value for name, value in metadata or () if name == REQUEST_ID_HEADER), None))


@contextmanager
def named(request_id: str) -> Iterator[str]:
    """The block serves the call of this id: each line of its log says so, in every thread that takes its context along."""
    structlog.contextvars.bind_contextvars(**{_LOGGED: request_id})
    try:
        yield request_id
    finally:
        # Not what structlog has for a block: a stream that its caller left may be ended by another thread or task.
        structlog.contextvars.unbind_contextvars(_LOGGED)


def current_request_id() -> str:
    """Of the call under way; "" where there is none."""
    return str(structlog.contextvars.get_contextvars().get(_LOGGED, ""))


def outgoing() -> tuple[tuple[str, str], ...]:
    """gRPC metadata that carries the call's id and its span to the service that is called."""
    request_id = current_request_id()
    own = ((REQUEST_ID_HEADER, request_id),) if request_id else ()
    return own + (tracing.outgoing() or ())
