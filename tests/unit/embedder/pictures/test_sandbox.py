"""What a caged process cannot do any more: tried in such a process, by the module that makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TRIALS = r"""
import json, os, resource, socket, subprocess, sys, threading
import numpy
from PIL import Image
from embedder.pictures.sandbox import Sandbox

sandbox = Sandbox()
def tried(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"

def eat():
    with sandbox.limits(50_000_000, 5.0):
        bytearray(60_000_000)

def nibble():
    with sandbox.limits(50_000_000, 5.0):
        bytearray(30_000_000)
    bytearray(60_000_000)

print(json.dumps({
    "filtered": sandbox.filtered,
    "open": tried(lambda: open("/etc/passwd")),
    "write": tried(lambda: open("/tmp/lookalike-escaped", "w")),
    "connect": tried(lambda: socket.socket()),
    "start": tried(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "fork": tried(os.fork),
    "signal": tried(lambda: os.kill(os.getppid(), 0)),
    "thread": tried(lambda: threading.Thread(target=int).start()),
    "eat": tried(eat),
    "nibble": tried(nibble),
    "modules": [name for name in ("tensorflow", "grpc", "structlog", "prometheus_client") if name in sys.modules],
}))
"""


@cache
def outcomes() -> dict[str, Any]:
    process = subprocess.run([sys.executable, "-c", TRIALS], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


needs_filters = pytest.mark.skipif(
    sys.platform != "linux" or not Path("/proc/sys/kernel/seccomp").exists(), reason="this kernel has no filters"
)


@needs_filters
@pytest.mark.parametrize("deed", ["open", "write", "connect", "start", "fork", "signal", "thread"])
def test_nothing_outside_of_the_process_can_be_reached(deed: str) -> None:
    assert outcomes()["filtered"]
    assert outcomes()[deed] in ("PermissionError", "RuntimeError")


def test_memory_is_bounded_for_a_picture_and_free_again_after_it() -> None:
    assert outcomes()["eat"] == "BadImage"
    assert outcomes()["nibble"] == "done"


def test_a_caged_process_holds_none_of_the_service() -> None:
    assert outcomes()["modules"] == []
