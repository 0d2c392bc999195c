"""Whether a worker can do its work: Redis, Milvus, the embedder and the artifacts, looked at every few seconds.

A worker waits for what is away at the start, with growing pauses. A refused password is waited for too, since passwords are
changed, and a worker that ends because of one would only be started again. The health service
(`LOOKALIKE_INDEXER_HEALTH_ADDRESS`) and
`lookalike_dependency_up` show what was last found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import structlog

from lookalike.errors import DeadlineExceeded, LookalikeError, Unavailable
from lookalike.runtime.telemetry import DEPENDENCY_UP

T = TypeVar("T")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_MISSING_S = 1.0

Check = Callable[[], object]
"""Raises a `LookalikeError` where the dependency does not do its part."""


class Health(Protocol):
    """The health service, which shows whether the worker is ready: `lookalike.runtime.server.Server`."""

    def set_ready(self, ready: bool) -> None:
        """SERVING or NOT_SERVING."""


class Readiness:
    """`health` is None where no health service was asked for."""

    def __init__(self, health: Health | None) -> None:
        self._health = health
        self._known: Mapping[str, str] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def patiently(self, dependency: str, connect: Callable[[], T]) -> T:
        """What `connect` gives, as soon as it gives something; parts of the system start in any order.

        Raises whatever `connect` raises that no wait can fix.
        """
        wait_s, logged = _FIRST_WAIT_S, ""
        up = DEPENDENCY_UP.labels(dependency)
        up.set(0)
        while True:
            try:
                connected = connect()
            except (Unavailable, DeadlineExceeded) as error:
                if error.message != logged:
                    logged = error.message
                    structlog.get_logger().warning("waiting", dependency=dependency, reason=error.reason, problem=logged)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                up.set(1)
                return connected

    def watch(self, checks: Mapping[str, Check], interval_s: float) -> None:
        """Look now, and from a thread every `interval_s` seconds until `stop`."""
        self.look(checks)
        self._thread = threading.Thread(target=self._run, args=(checks, interval_s), name="readiness", daemon=True)
        self._thread.start()

    def look(self, checks: Mapping[str, Check]) -> None:
        """Ask every dependency once, and show the result."""
        missing = {name: problem for name, check in checks.items() if (problem := _problem(name, check))}
        if missing != self._known:
            structlog.get_logger().info("readiness changed", ready=not missing, missing=missing)
        self._known = missing
        if self._health is not None and not self._stopping.is_set():
            self._health.set_ready(not missing)

    def stop(self) -> None:
        """Be ready no more: the process is about to end."""
        self._stopping.set()
        if self._health is not None:
            self._health.set_ready(False)

    def _run(self, checks: Mapping[str, Check], interval_s: float) -> None:
        # While something is missing it looks more often: those that wait for this worker are to know soon.
        while not self._stopping.wait(min(interval_s, _MISSING_S) if self._known else interval_s):
            self.look(checks)


def _problem(name: str, check: Check) -> str:
    try:
        check()
        problem = ""
    except LookalikeError as error:
        problem = error.message
    except Exception as error:  # noqa: BLE001 - the edge: a defect in one check must not end the watch
        structlog.get_logger().error("readiness check failed", dependency=name, exc_info=error)
        problem = f"the check itself failed: {type(error).__name__}"
    DEPENDENCY_UP.labels(name).set(not problem)
    return problem
