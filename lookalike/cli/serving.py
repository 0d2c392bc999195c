"""What `lookalike up` and `lookalike demo` show of a system on this machine, and how they start and stop it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from lookalike.cli.terminal import console
from lookalike.errors import LookalikeError

if TYPE_CHECKING:
    from rich.console import Console

    from lookalike.local.supervisor import Event
    from lookalike.local.system import LocalSystem

_STYLES = {
    "ready": "green", "back": "green", "died": "yellow", "killed": "yellow", "reaped": "yellow",
    "trouble": "yellow", "slow": "yellow", "stopped": "dim",
}  # fmt: skip


def print_event(out: Console, event: Event) -> None:
    """Print one line: part, state, detail. A line that cannot be written is dropped, since the system must go on serving."""
    from rich.text import Text

    line = Text.assemble(f"  {event.name:<9} ", (f"{event.state:<8}", _STYLES.get(event.state, "")), f" {event.detail}")
    line.rstrip()
    # Rich turns a broken pipe into SystemExit, and is silent from then on.
    with suppress(OSError, SystemExit):
        out.print(line, soft_wrap=True)


def print_addresses(out: Console, system: LocalSystem) -> None:
    """Print the addresses and folders of the system."""
    from rich.markup import escape

    url = system.http_url
    rows = (
        ("page", url + "/"),
        ("HTTP API", url + "/docs"),
        ("gRPC", f"{system.grpc_target}  (LOOKALIKE_ADDRESS={system.grpc_target} for the `lookalike` command)"),
        ("data", str(system.folder.path)),
        ("logs", str(system.folder.logs)),
    )
    out.print()
    for name, value in rows:
        out.print(f"  [bold]{name:<9}[/bold] {escape(value)}", markup=True, soft_wrap=True)
    out.print()


@contextmanager
def running(system: LocalSystem, out: Console) -> Iterator[LocalSystem]:
    """`system`, started on entering and stopped on leaving; SIGTERM and SIGHUP do what Ctrl-C does.

    While the system stops, another Ctrl-C ends its parts at once. Where the system ended by itself, raises the error that ended
    it, not the one that its user got as a consequence.
    """
    with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
        try:
            with out.status("starting; the embedder needs some 10 to 20 seconds to warm up"):
                system.start()
            yield system
        except LookalikeError:
            system.check()
            raise
        finally:
            _stop(system)


def wait_for_ctrl_c(system: LocalSystem) -> None:
    """Return when the process is asked to stop. Raises the error that ended `system`, where it ends by itself."""
    with suppress(KeyboardInterrupt):
        while True:
            # In slices: an untimed wait does not hear signals everywhere.
            threading.Event().wait(1.0)
            system.check()


def _stop(system: LocalSystem) -> None:
    while True:
        try:
            system.stop()
            return
        except KeyboardInterrupt:
            system.kill()


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    # A shell starts background jobs with SIGINT ignored; here it means the same as SIGTERM.
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def output() -> Console:
    """The console on which `up` and `demo` write."""
    return console()
