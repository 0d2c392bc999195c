"""The bounded pool: what is refused, what times out, what is dropped."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.backends.threads import Threads
from lookalike.errors import DeadlineExceeded, Overloaded
from lookalike.runtime.call import Deadline
from tests.unit.gateway.fakes import soon


def test_a_result_and_an_exception_both_come_back() -> None:
    async def both() -> int:
        threads = Threads(1, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0, soon())
        return await threads.run(lambda: 7, soon())

    assert asyncio.run(both()) == 7


def test_beyond_the_bound_a_call_is_refused_at_once_and_says_when_to_come_back() -> None:
    async def crowd() -> Overloaded:
        threads, release = Threads(1, 1), threading.Event()
        taken = [asyncio.create_task(threads.run(release.wait, soon())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as raised:
            await threads.run(lambda: None, soon())
        release.set()
        await asyncio.gather(*taken)
        assert await threads.run(lambda: "free again", soon()) == "free again"
        return raised.value

    assert asyncio.run(crowd()).retry_after_s is not None


def test_a_call_whose_time_is_up_is_given_up_but_its_thread_stays_counted() -> None:
    async def late() -> None:
        threads, release = Threads(1, 0), threading.Event()
        with pytest.raises(DeadlineExceeded):
            await threads.run(release.wait, Deadline.after(0.02))
        with pytest.raises(Overloaded):
            await threads.run(lambda: None, soon())
        release.set()

    asyncio.run(late())


def test_a_deadline_that_has_passed_runs_nothing() -> None:
    ran: list[int] = []

    async def passed() -> None:
        await Threads(1, 1).run(lambda: ran.append(1), Deadline.after(-1))

    with pytest.raises(DeadlineExceeded):
        asyncio.run(passed())
    assert ran == []


def test_waiting_work_of_a_caller_who_has_gone_is_never_begun() -> None:
    ran: list[int] = []

    async def gone() -> None:
        threads, release = Threads(1, 1), threading.Event()
        first = asyncio.create_task(threads.run(release.wait, soon()))
        waiting = asyncio.create_task(threads.run(lambda: ran.append(1), soon()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        release.set()
        await first
        assert await threads.run(lambda: "next", soon()) == "next"

    asyncio.run(gone())
    assert ran == []
