"""The greedy batcher: many callers' items, one compute function, no timer.

Owns the queue between the RPC threads and the one thread that computes: its two lanes, and what happens to calls that
are over before they were computed (`admission` owns its bounds). The batcher knows nothing of pictures or TensorFlow:
`embedder.serving.service` fills it, `embedder.serving.spaces` computes.

Whenever the compute thread is free it takes what is queued, up to the largest batch, and runs it; under load batches fill by
themselves. A timer would add latency to a quiet service and nothing to a busy one (the approach of Hugging Face's
text-embeddings-inference). A place is taken *before* a caller's pictures are decoded, so overload costs only the refusal.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

from embedder.pictures.waiting import Lane
from embedder.serving.admission import Admission, Door, Limits
from lookalike.errors import Cancelled, DeadlineExceeded, Internal, LookalikeError, Unavailable
from lookalike.runtime.telemetry import logged_defect

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_ITEMS = Histogram(
    "lookalike_embedder_batch_images", "Pictures per batch.", ("lane",), buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_SECONDS = Histogram(
    "lookalike_embedder_queue_seconds",
    "Time that a call's decoded pictures waited until the first of them was computed.",
    ("lane",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
BATCH_SECONDS = Histogram(
    "lookalike_embedder_batch_seconds",
    "Time to compute a batch.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
DROPPED_ITEMS = Counter(
    "lookalike_embedder_dropped_images_total", "Pictures dropped before they were computed, because nobody waited.", ("reason",)
)


_FORGETTING = 1.002
"""Growth per batch of the least time of a picture: a slower model counts in full after some hundred batches."""
INTERACTIVE_RUN = 4
"""Interactive batches in a row while bulk work waits; then one of bulk follows. Interactive latency grows by at most one batch,
and bulk, whose batches are full, keeps most of the time."""


@dataclass(eq=False, slots=True)
class _Call(Generic[Item, Result]):
    """What one caller submitted. `outcomes` fills up batch by batch; `future` is done when it is full, or the call dropped."""

    items: Sequence[Item]
    deadline_s: float
    gone: Callable[[], bool]
    outcomes: list[Result | LookalikeError | None]
    missing: int
    future: Future[list[Result | LookalikeError]] = field(default_factory=Future)
    queued_s: float = field(default_factory=time.perf_counter)

    def set(self, index: int, outcome: Result | LookalikeError) -> None:
        self.outcomes[index] = outcome
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self.future.set_result([outcome for outcome in self.outcomes if outcome is not None])

    def drop(self, error: LookalikeError, reason: str) -> None:
        if not self.future.done():
            DROPPED_ITEMS.labels(reason).inc(self.missing)
            self.future.set_exception(error)

    def is_over(self) -> bool:
        """Whether no caller waits for this call any more. It is dropped here where its time is up or its caller has gone."""
        if not self.future.done():
            if time.monotonic() >= self.deadline_s:
                self.drop(DeadlineExceeded("the caller's time was up before its pictures were embedded"), "deadline")
            elif self.gone():
                self.drop(Cancelled("the caller has gone"), "gone")
        return self.future.done()


class Batcher(Generic[Item, Result]):
    """Runs `compute` (items in; as many results out, a `LookalikeError` standing for an item that failed alone) in a thread of
    its own, from construction until `close`. `size_of` gives an item's bytes, for the bound on a batch. Thread-safe."""

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result | LookalikeError]],
        size_of: Callable[[Item], int],
        limits: Limits,
    ) -> None:
        self._compute, self._size_of, self._limits = compute, size_of, limits
        self._changed = threading.Condition()
        self._queues: dict[Lane, deque[tuple[_Call[Item, Result], int]]] = {lane: deque() for lane in Lane}
        self._admission = Admission(limits)
        self._closing = self._ended = False
        self._interactive_run = 0
        self._item_s = self._least_item_s = 0.01  # a guess, replaced by what is measured
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @contextmanager
    def place(self, lane: Lane, *, items: int, size_bytes: int) -> Iterator[Place[Item, Result]]:
        """Hold a place in the queue for one call of `items` pictures that hold `size_bytes` as sent.

        Raises `Overloaded` at once where there is no room (see `admission`), `Unavailable` where the batcher is closing.
        """
        with self._changed:
            if self._closing:
                raise Unavailable("embedder", "it is stopping")
            self._admission.enter(lane, items, size_bytes, self._item_s, self._least_item_s)
        try:
            yield Place(self, lane)
        finally:
            self._leave(lane, items, size_bytes)

    def _leave(self, lane: Lane, items: int, size_bytes: int) -> None:
        with self._changed:
            self._admission.leave(lane, items, size_bytes)
            if self._closing:
                self._changed.notify_all()

    def watch_door(self, at_the_door: Callable[[], int]) -> None:
        """From now on refuse calls also where a crowd stands at the server's door; `at_the_door` counts the calls that have
        arrived and that no handler has taken in."""
        with self._changed:
            self._admission.door = Door(at_the_door)

    def enqueue(self, lane: Lane, call: _Call[Item, Result]) -> None:
        """Queue the items of `call`. Called by `Place` alone."""
        with self._changed:
            if self._ended:
                raise Unavailable("embedder", "it is stopping")
            self._queues[lane].extend((call, index) for index in range(len(call.items)))
            self._changed.notify_all()

    def close(self, drain_s: float) -> bool:
        """Take no more calls, finish those that have a place, end the thread. After `drain_s` seconds what is still queued
        fails with `Unavailable`; then False."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(drain_s)
        with self._changed:
            self._ended = True
            left = [call for queue in self._queues.values() for call, _ in queue]
            for queue in self._queues.values():
                queue.clear()
            self._changed.notify_all()
        for call in left:
            call.drop(Unavailable("embedder", "it is stopping"), "stopping")
        return not left and not self._thread.is_alive()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            self._run(*taken)
            del taken  # While this thread waits for more it holds no item, and nothing that an item holds.

    def _run(self, lane: Lane, batch: list[tuple[_Call[Item, Result], int]]) -> None:
        started_s = time.perf_counter()
        BATCH_ITEMS.labels(lane.value).observe(len(batch))
        for call, index in batch:
            if index == 0:
                QUEUE_SECONDS.labels(lane.value).observe(started_s - call.queued_s)
        outcomes = self._outcomes([call.items[index] for call, index in batch])
        spent_s = time.perf_counter() - started_s
        BATCH_SECONDS.observe(spent_s)
        item_s = spent_s / len(batch)
        self._item_s += 0.2 * (item_s - self._item_s)
        self._least_item_s = min(item_s, self._least_item_s * _FORGETTING)
        for (call, index), outcome in zip(batch, outcomes, strict=True):
            call.set(index, outcome)

    def _take(self) -> tuple[Lane, list[tuple[_Call[Item, Result], int]]] | None:
        """Wait for work and take a batch of one lane; None once closed and no call has a place any more."""
        with self._changed:
            while not self._ended:
                lane = self._next_lane()
                if lane is None and self._closing and not self._admission.calls:
                    self._ended = True
                elif lane is None:
                    self._changed.wait()
                elif batch := self._batch_of(self._queues[lane]):
                    self._interactive_run = self._interactive_run + 1 if lane is Lane.INTERACTIVE else 0
                    return lane, batch
            return None

    def _next_lane(self) -> Lane | None:
        interactive, bulk = self._queues[Lane.INTERACTIVE], self._queues[Lane.BULK]
        if interactive and not (bulk and self._interactive_run >= INTERACTIVE_RUN):
            return Lane.INTERACTIVE
        return Lane.BULK if bulk else None

    def _batch_of(self, queue: deque[tuple[_Call[Item, Result], int]]) -> list[tuple[_Call[Item, Result], int]]:
        """Items of calls that still wait, up to the largest batch; empty where all of them were dropped."""
        batch: list[tuple[_Call[Item, Result], int]] = []
        size_bytes = 0
        while queue and len(batch) < self._limits.batch_items:
            call, index = queue[0]
            if not call.is_over():
                size_bytes += self._size_of(call.items[index])
                if batch and size_bytes > self._limits.batch_bytes:
                    break
                batch.append((call, index))
            queue.popleft()
        return batch

    def _outcomes(self, items: Sequence[Item]) -> Sequence[Result | LookalikeError]:
        try:
            outcomes = self._compute(items)
            if len(outcomes) != len(items):
                raise Internal(f"{len(outcomes)} results for {len(items)} pictures")
        except Exception as error:  # noqa: BLE001 - the batch worker's edge: the thread must live on
            said = "the embedder failed on a batch; its log has it"
            return [logged_defect(error, "batch failed", said, images=len(items))] * len(items)
        return outcomes


@dataclass(frozen=True, slots=True)
class Place(Generic[Item, Result]):
    """A place in the queue, held while a call is served. Made by `Batcher.place`."""

    batcher: Batcher[Item, Result]
    lane: Lane

    def run(
        self, items: Sequence[Item], *, deadline_s: float, gone: Callable[[], bool] = lambda: False
    ) -> list[Result | LookalikeError]:
        """Queue `items` and wait for their outcomes, in order. `deadline_s` is a time of `time.monotonic`.

        Raises `DeadlineExceeded`, `Cancelled` (the caller has `gone`) or `Unavailable` (stopping) for the call as a whole.
        """
        if not items:
            return []
        call: _Call[Item, Result] = _Call(items, deadline_s, gone, [None] * len(items), len(items))
        self.batcher.enqueue(self.lane, call)
        try:
            return call.future.result(max(0.0, deadline_s - time.monotonic()))
        except TimeoutError:
            raise DeadlineExceeded("the caller's time was up before its pictures were embedded") from None
