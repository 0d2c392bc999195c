"""Many pictures to the embedder: full calls, a few of them under way at a time. Used by `pipeline` and `reembedding`."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from indexer.stages import Stages
from indexer.work import Fetched
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL

R = TypeVar("R")


class Calls:
    """Owns the threads that wait for the embedder. Thread-safe."""

    def __init__(self, *, concurrency: int, in_flight: int) -> None:
        self._in_flight = in_flight
        self._threads = ThreadPoolExecutor(concurrency * in_flight, thread_name_prefix="embed")

    def results(
        self, fetched: Iterable[Fetched], call: Callable[[Sequence[bytes]], Sequence[R]], stages: Stages
    ) -> Iterator[tuple[Fetched, R]]:
        """Every picture, in order, with what `call` gave for it; at most a few calls' worth of pictures are in memory.

        Raises what `call` raises.
        """
        under_way: deque[tuple[list[Fetched], Future[Sequence[R]]]] = deque()
        try:
            for batch in _batches(fetched):
                if len(under_way) >= self._in_flight:
                    yield from _collected(*under_way.popleft(), stages)
                contents = [one.content for one in batch]
                # Within the chunk's trace.
                under_way.append((batch, self._threads.submit(contextvars.copy_context().run, call, contents)))
            while under_way:
                yield from _collected(*under_way.popleft(), stages)
        finally:
            for _, result in under_way:
                result.cancel()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _collected(batch: Sequence[Fetched], result: Future[Sequence[R]], stages: Stages) -> list[tuple[Fetched, R]]:
    with stages.of("embed"):
        return list(zip(batch, result.result(), strict=True))


def _batches(items: Iterable[Fetched]) -> Iterator[list[Fetched]]:
    """Full calls: up to 32 pictures and 16 MiB, or one larger picture alone."""
    batch: list[Fetched] = []
    size_bytes = 0
    for fetched in items:
        if batch and (len(batch) == MAX_IMAGES_PER_CALL or size_bytes + len(fetched.content) > MAX_CALL_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(fetched)
        size_bytes += len(fetched.content)
    if batch:
        yield batch
