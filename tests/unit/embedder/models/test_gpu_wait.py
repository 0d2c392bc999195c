"""A GPU that is asked for and missing is waited for, and shows."""

from __future__ import annotations

import threading

from prometheus_client import REGISTRY

from embedder.models.gpu_wait import GPU_MISSING, wait_for_gpu
from lookalike.errors import FailedPrecondition

MISSING = FailedPrecondition("there is no GPU", reason=GPU_MISSING)


def test_a_gpu_is_looked_for_until_one_is_there() -> None:
    looks = iter((False, False, True))
    assert wait_for_gpu(MISSING, threading.Event(), look=lambda: next(looks), first_wait_s=0.01)
    assert next(looks, None) is None
    assert REGISTRY.get_sample_value("lookalike_dependency_up", {"dependency": "gpu"}) == 0


def test_a_process_that_is_stopped_while_it_looks_does_not_start_anew() -> None:
    stop = threading.Event()

    def look() -> bool:
        stop.set()
        return True

    assert not wait_for_gpu(MISSING, stop, look=look, first_wait_s=0.01)


def test_a_waiting_process_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    assert not wait_for_gpu(MISSING, stop, look=lambda: True)
