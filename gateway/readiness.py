"""Whether the gateway can do its work: Milvus, Redis, the embedder and the artifacts, looked at every few seconds.

The health service and `/readyz` show what was last found; neither calls anything itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from lookalike.errors import DeadlineExceeded, LookalikeError
from lookalike.runtime.call import Deadline
from lookalike.runtime.telemetry import DEPENDENCY_UP

CHECK_TIMEOUT_S = 5.0

Check = Callable[[Deadline], Awaitable[None]]
"""Raises a `LookalikeError` where the dependency does not answer."""


class Readiness:
    """`missing` names what does not answer, each with one line that says why; empty means ready."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._known: bool | None = None
        self.missing: Mapping[str, str] = dict.fromkeys(checks, "not looked at yet")
        self.on_change: Callable[[bool], Awaitable[None]] = _ignore

    def drain(self) -> None:
        """Be ready no more: the process is about to end."""
        self.missing = {"gateway": "it is shutting down"}

    async def watch(self, interval_s: float) -> None:
        """Look every `interval_s` seconds until cancelled; a change calls `on_change`."""
        while True:
            await self.look()
            await asyncio.sleep(interval_s)

    async def look(self) -> None:
        """Ask every dependency once, side by side."""
        problems = await asyncio.gather(*(self._problem(name) for name in self._checks))
        self.missing = {name: problem for name, problem in zip(self._checks, problems, strict=True) if problem}
        ready = not self.missing
        if ready is not self._known:
            structlog.get_logger().info("readiness changed", ready=ready, missing=dict(self.missing))
            self._known = ready
            await self.on_change(ready)

    async def _problem(self, name: str) -> str:
        try:
            await self._checks[name](Deadline.after(CHECK_TIMEOUT_S))
            problem = ""
        except DeadlineExceeded:
            problem = f"{name} did not answer within {CHECK_TIMEOUT_S:g} s"
        except LookalikeError as error:
            problem = error.message
        except Exception as error:  # noqa: BLE001 - a defect in one check must not end the watch
            structlog.get_logger().error("readiness check failed", dependency=name, exc_info=error)
            problem = f"the check itself failed: {type(error).__name__}"
        DEPENDENCY_UP.labels(name).set(not problem)
        return problem


async def _ignore(_ready: bool) -> None:
    """Takes changes until the gRPC server does."""
