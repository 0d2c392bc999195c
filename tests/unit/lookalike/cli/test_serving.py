"""What `lookalike up` and `lookalike demo` do while their system runs, on a system that does nothing."""

from __future__ import annotations

import io
from typing import cast

import pytest
from rich.console import Console

from lookalike import errors
from lookalike.cli import serving
from lookalike.local.supervisor import Event
from lookalike.local.system import LocalSystem


class FakeSystem:
    """Ends by itself once it has been looked at `looks` times, where `failure` is given."""

    def __init__(self, failure: errors.LookalikeError | None = None, looks: int = 0) -> None:
        self.failure, self.looks, self.done = failure, looks, list[str]()
        self.interruptions = 0

    def start(self) -> None:
        self.done.append("start")

    def check(self) -> None:
        self.looks -= 1
        if self.failure is not None and self.looks < 0:
            raise self.failure

    def stop(self) -> None:
        self.done.append("stop")
        if self.interruptions:
            self.interruptions -= 1
            raise KeyboardInterrupt

    def kill(self) -> None:
        self.done.append("kill")


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


class NoReader(Console):
    """What Rich does on a broken pipe, but for closing this process' own output."""

    def print(self, *_objects: object, **_options: object) -> None:
        raise SystemExit(1)


def system_of(fake: FakeSystem) -> LocalSystem:
    return cast("LocalSystem", fake)


def test_waiting_ends_with_the_reason_when_the_system_ends_by_itself() -> None:
    fake = FakeSystem(errors.Internal("the supervisor has ended"), looks=1)
    with pytest.raises(errors.Internal, match="supervisor has ended"), serving.running(system_of(fake), Console()):
        serving.wait_for_ctrl_c(system_of(fake))
    assert fake.done == ["start", "stop"]


def test_the_end_of_the_system_is_reported_rather_than_the_call_that_it_broke() -> None:
    fake = FakeSystem(errors.Internal("the supervisor has ended"))
    with pytest.raises(errors.Internal, match="supervisor has ended"), serving.running(system_of(fake), Console()):
        raise errors.Unavailable("gateway", "connection refused")
    with pytest.raises(errors.Unavailable), serving.running(system_of(FakeSystem()), Console()):
        raise errors.Unavailable("gateway", "connection refused")


def test_ctrl_c_while_stopping_kills_and_stops_again() -> None:
    fake = FakeSystem()
    fake.interruptions = 2
    with serving.running(system_of(fake), Console()):
        pass
    assert fake.done == ["start", "stop", "kill", "stop", "kill", "stop"]


@pytest.mark.parametrize("out", [Console(file=FullDisk()), NoReader()], ids=["full disk", "no reader"])
def test_an_event_that_cannot_be_written_breaks_nothing(out: Console) -> None:
    serving.print_event(out, Event("redis", "died", "ended with SIGKILL"))


def test_an_event_is_printed_as_it_is() -> None:
    out = io.StringIO()
    serving.print_event(Console(file=out, width=40), Event("redis", "trouble", "data folder /a/[b]/c cannot be used"))
    assert out.getvalue() == "  redis     trouble  data folder /a/[b]/c cannot be used\n"
