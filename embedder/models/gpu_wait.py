"""A GPU that is asked for and missing is waited for, in view of health checks and Prometheus. Called by `__main__`.

TensorFlow looks for devices once in a process. So each look here is a process of its own, some seconds of one core, and the
embedder starts anew once a look has found a GPU.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from lookalike.errors import FailedPrecondition
from lookalike.runtime.telemetry import DEPENDENCY_UP

GPU_MISSING = "GPU_MISSING"
"""The reason of the error, as `embedder.models.model` raises it."""
GPU = "gpu"
"""As a dependency, where one is asked for."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 15.0, 300.0
_LOOK_TIMEOUT_S = 120.0
_LOOK = "import sys, tensorflow; sys.exit(not tensorflow.config.list_physical_devices('GPU'))"
_SIGNAL_S = 0.5
"""Between two looks for a signal to stop."""


def wait_for_gpu(
    missing: FailedPrecondition,
    stop: threading.Event,
    *,
    look: Callable[[], bool] | None = None,
    first_wait_s: float = _FIRST_WAIT_S,
) -> bool:
    """Say once that a GPU is `missing`; return True once `look` finds one, False when `stop` comes first."""
    DEPENDENCY_UP.labels(GPU).set(0)
    structlog.get_logger().error("waiting", dependency=GPU, reason=missing.reason, problem=missing.message)
    wait_s = first_wait_s
    while not _stopped(stop, wait_s):
        if (look or partial(_sees_gpu, stop))():
            return not stop.is_set()
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    return False


def _stopped(stop: threading.Event, within_s: float) -> bool:
    """In short waits: see `__main__.serve`."""
    waits = max(1, round(within_s / _SIGNAL_S))
    return any(stop.wait(_SIGNAL_S) for _ in range(waits))


def _sees_gpu(stop: threading.Event) -> bool:
    looking = subprocess.Popen([sys.executable, "-c", _LOOK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    until_s = time.monotonic() + _LOOK_TIMEOUT_S
    while looking.poll() is None:
        if stop.wait(_SIGNAL_S) or time.monotonic() > until_s:
            looking.kill()  # Not waited for: a driver that hangs keeps it for as long as it likes.
            return False
    return looking.returncode == 0
