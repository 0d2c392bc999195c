"""Server processes of tests: they end with the test run, even when that is killed."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers import starts

# Linux kills the process when the thread that started it is gone, whatever ended that. Set by a process of its own that then
# becomes the server, not by `preexec_fn`: in a parent that uses gRPC, what runs between fork and exec crashes now and then.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def start(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a server in `folder` (default: here) that writes to `log` (appending). On Linux it ends with this process."""
    tied = [sys.executable, "-S", "-E", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    starts.note(command)
    with log.open("ab") as output:
        return subprocess.Popen(
            tied if sys.platform == "linux" else command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=folder,
        )


def stop(process: subprocess.Popen[bytes], *, timeout_s: float = 20.0) -> int:
    """Ask a server to end; kill it where it does not within `timeout_s`. Its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and wait until it is gone."""
    process.kill()
    process.wait()


_PORTS = range(10_240, 32_768)
"""Below those that Linux gives to connections that ask for none (net.ipv4.ip_local_port_range): one of these would now and then
be taken between here and the start of the server that it is for."""
_CHANCE = random.SystemRandom()
"""Not what tests may seed: two processes of a run would choose alike."""
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, each once."""
    while True:
        port = _CHANCE.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


def until(condition: Callable[[], object], what: str, *, timeout_s: float = 30.0, poll_s: float = 0.02) -> None:
    """Return when `condition()` is true; fail the test after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)
