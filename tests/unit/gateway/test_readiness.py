"""Ready means that everything answered when last asked; what did not is named."""

from __future__ import annotations

import asyncio

from gateway.readiness import Readiness
from lookalike.errors import LookalikeError, Unavailable
from lookalike.runtime.call import Deadline


class Dependency:
    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem

    async def check(self, _deadline: Deadline) -> None:
        if self.problem is not None:
            raise self.problem


def looked(*moments: Exception | None) -> tuple[list[bool], Readiness]:
    """Look once after each of `moments`, which set what is wrong with milvus; the changes, and the readiness."""
    milvus, changes = Dependency(), []
    readiness = Readiness({"milvus": milvus.check, "redis": Dependency().check})

    async def note(ready: bool) -> None:
        changes.append(ready)

    async def run() -> None:
        readiness.on_change = note
        for milvus.problem in moments:
            await readiness.look()

    asyncio.run(run())
    return changes, readiness


def test_before_the_first_look_everything_is_missing() -> None:
    assert set(Readiness({"milvus": Dependency().check}).missing) == {"milvus"}


def test_what_does_not_answer_is_named_with_its_reason() -> None:
    changes, readiness = looked(Unavailable("milvus", "connection refused"))
    assert changes == [False]
    assert readiness.missing == {"milvus": "milvus is unavailable: connection refused"}


def test_changes_are_reported_once_each() -> None:
    away: LookalikeError = Unavailable("milvus", "gone")
    changes, readiness = looked(away, away, None, None, away)
    assert changes == [False, True, False]
    assert set(readiness.missing) == {"milvus"}


def test_a_defect_in_a_check_counts_as_not_ready() -> None:
    changes, readiness = looked(None, KeyError("x"))
    assert changes == [True, False]
    assert "KeyError" in readiness.missing["milvus"]


def test_draining_is_not_ready() -> None:
    _, readiness = looked(None)
    readiness.drain()
    assert set(readiness.missing) == {"gateway"}
