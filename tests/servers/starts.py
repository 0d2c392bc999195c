"""How often servers are started in a run of the tests: shown at its end.

`tests.servers.processes` notes every process that it starts. The servers that a run's tests share are started within `once`; a
run in which one of them was started twice fails, whether in one process or in each of two (`pytest -n 2 --dist loadgroup`).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a run that starts no system does not pay for it
    from lookalike.local.supervisor import Event

_OUTPUT = "lookalike_servers"
"""The name under which a process of a shared run hands its counts to the first one."""
_own: Counter[str] = Counter()
_shared: defaultdict[str, list[float]] = defaultdict(list)
"""Seconds of each start of a shared server until it could be used."""


_NAMES = {"redis-server": "redis", "valkey-server": "redis", "milvus_lite": "milvus-lite", "weed": "s3"}


def note(command: Sequence[str]) -> None:
    """Count a process by the program, or the Python module, that it runs."""
    program = command[command.index("-m") + 1] if "-m" in command else Path(command[0]).name
    _own[_NAMES.get(program, program)] += 1


def note_part(event: Event) -> None:
    """Count a part of a `LocalSystem`, which is to report to this function."""
    if event.state in {"ready", "back"}:
        _own["milvus-lite" if event.name == "milvus" else event.name] += 1


@contextmanager
def once(server: str) -> Iterator[None]:
    """Around the start of a server that a run's tests share."""
    begun_s = time.monotonic()
    yield
    _shared[server].append(time.monotonic() - begun_s)


def started_again(shared: Mapping[str, Sequence[float]]) -> list[str]:
    """Shared servers that were started more than once."""
    return sorted(server for server, starts in shared.items() if len(starts) > 1)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node: Any) -> None:
    """Add what a process of a shared run has counted."""
    own, shared = getattr(node, "workeroutput", {}).get(_OUTPUT, ({}, {}))
    _own.update(own)
    for server, starts in shared.items():
        _shared[server] += starts


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = (dict(_own), dict(_shared))
    elif started_again(_shared) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _own and not _shared:
        return
    terminalreporter.section("servers")
    for server, starts in sorted(_shared.items()):
        times = " and ".join(f"{seconds:.1f}" for seconds in starts)
        terminalreporter.write_line(f"{server}: shared, started {_times(len(starts))}, ready after {times} s")
    counts = ", ".join(f"{program} {count}" for program, count in sorted(_own.items()))
    terminalreporter.write_line(f"processes, those of shared servers among them: {counts}")
    for server in started_again(_shared):
        terminalreporter.write_line(f"FAILED: {server} is shared by the tests of a run, and was started again", red=True)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
