"""Callers: threads that call again as soon as they are answered, and the rate at which they get answers.

Used by every row that is a rate. The callers share the cores with what they measure, so they do as little as they can: over
gRPC they send bytes that were serialised before and leave the answers as bytes (`raw`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from lookalike.runtime.channels import open_channel

EMBED = "/lookalike.v1.EmbedderService/Embed"
SEARCH = "/lookalike.v1.SearchService/Search"
CALL_TIMEOUT_S = 60.0


def rate(call: Callable[[int], object], *, callers: int, window_s: float, items: int = 1) -> float:
    """Items a second that `callers` threads get out of `call`, `items` with each answer. `call` is given a number of its own.

    For `window_s` seconds they call again as soon as they are answered; then they wait for what is under way. All that was
    answered is counted, over the time until the last answer: answers come in bursts, a batch at a time, and a window that
    cut through one would count the batch and not its time, or the other way round.
    """
    ended = threading.Event()
    numbers = itertools.count()
    begun_s = time.perf_counter()

    def loop(_caller: int) -> tuple[int, float]:
        answered = 0
        while not (answered and ended.is_set()):
            call(next(numbers))
            answered += 1
        return answered, time.perf_counter()

    with ThreadPoolExecutor(callers) as threads:
        loops = [threads.submit(loop, caller) for caller in range(callers)]
        ended.wait(window_s)
        ended.set()
        results = [one.result() for one in loops]
    return items * sum(answered for answered, _ in results) / (max(at for _, at in results) - begun_s)


def repeated(call: Callable[[], object], window_s: float, items: int = 1) -> float:
    """Items a second of one caller in this thread, over whole calls, for `window_s` seconds at least."""
    begun_s, calls = time.perf_counter(), 0
    while (spent_s := time.perf_counter() - begun_s) < window_s or not calls:
        call()
        calls += 1
    return items * calls / spent_s


def timed_ms(call: Callable[[], object]) -> float:
    """How long one call takes."""
    begun_s = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun_s)


@contextmanager
def raw(target: str, method: str) -> Iterator[Callable[[bytes], bytes]]:
    """A call of `method` at `target`: serialised request in, serialised answer out."""
    with open_channel(target) as channel:
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        yield lambda request: send(request, timeout=CALL_TIMEOUT_S)
