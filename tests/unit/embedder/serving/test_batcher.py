"""The batcher is greedy, fair and bounded, and nothing that goes wrong in one place is felt in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from embedder.pictures.waiting import Lane
from embedder.serving.admission import LONGEST_RETRY_S, SHORTEST_RETRY_S, Limits
from embedder.serving.batcher import Batcher
from lookalike.errors import BadImage, Cancelled, DeadlineExceeded, Internal, LookalikeError, Overloaded, Unavailable

SOON_S = 10.0

Outcomes = list[int | LookalikeError]


class Bench:
    """A batcher whose compute multiplies by ten, one batch for each `release`; -1 breaks the batch, -2 only itself."""

    def __init__(self, **limits: int) -> None:
        self.batches: list[list[int]] = []
        self.permits = threading.Semaphore(0)
        self.batcher: Batcher[int, int] = Batcher(self.compute, abs, Limits(**limits))
        self.callers = ThreadPoolExecutor(32)

    def compute(self, items: Sequence[int]) -> Sequence[int | LookalikeError]:
        self.batches.append(list(items))
        assert self.permits.acquire(timeout=SOON_S)
        if -1 in items:
            raise ValueError("the secret of item -1")
        if -3 in items:
            return [1]
        return [BadImage("is bad") if item == -2 else item * 10 for item in items]

    def call(
        self,
        *items: int,
        lane: Lane = Lane.INTERACTIVE,
        size_bytes: int = 0,
        deadline_s: float = SOON_S,
        gone: Callable[[], bool] = lambda: False,
    ) -> Future[Outcomes]:
        """Submit from a thread of its own; returns once the items are queued (or the call has ended)."""
        before = self.queued(lane)

        def run() -> Outcomes:
            with self.batcher.place(lane, items=len(items), size_bytes=size_bytes) as place:
                return place.run(items, deadline_s=time.monotonic() + deadline_s, gone=gone)

        future = self.callers.submit(run)
        self.until(lambda: self.queued(lane) >= before + len(items) or future.done())
        return future

    def queued(self, lane: Lane) -> int:
        return len(self.batcher._queues[lane])

    def until(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + SOON_S
        while not holds():
            assert time.monotonic() < deadline_s, "did not happen in time"
            threading.Event().wait(0.001)

    def occupy(self) -> Future[Outcomes]:
        """Have the compute thread busy with a batch of its own, so that what follows is queued."""
        first = self.callers.submit(lambda: self.run_now(99))
        self.until(lambda: self.batches == [[99]])
        return first

    def run_now(self, item: int) -> Outcomes:
        with self.batcher.place(Lane.INTERACTIVE, items=1, size_bytes=0) as place:
            return place.run([item], deadline_s=time.monotonic() + SOON_S)

    def release(self, batches: int = 100) -> None:
        self.permits.release(batches)


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def build(**limits: int) -> Bench:
        benches.append(Bench(**limits))
        return benches[-1]

    yield build
    for bench in benches:
        bench.release()
        bench.batcher.close(SOON_S)
        bench.callers.shutdown()


def test_what_is_queued_becomes_one_batch(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    calls = [bench.call(n) for n in (1, 2, 3)]
    bench.release()
    assert [call.result(SOON_S) for call in calls] == [[10], [20], [30]]
    assert bench.batches[1:] == [[1, 2, 3]]


def test_a_call_larger_than_a_batch_is_split_and_comes_back_in_order(make: Callable[..., Bench]) -> None:
    bench = make(batch_items=4)
    bench.occupy()
    call = bench.call(*range(1, 11))
    bench.release()
    assert call.result(SOON_S) == [10 * n for n in range(1, 11)]
    assert [len(batch) for batch in bench.batches[1:]] == [4, 4, 2]


def test_a_batch_is_bounded_in_bytes_and_a_large_item_runs_alone(make: Callable[..., Bench]) -> None:
    bench = make(batch_bytes=100)
    bench.occupy()
    call = bench.call(60, 40, 1, 500, 7)
    bench.release()
    call.result(SOON_S)
    assert bench.batches[1:] == [[60, 40], [1], [500], [7]]


def test_interactive_work_goes_first(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    calls = [bench.call(1, 2, lane=Lane.BULK), bench.call(3)]
    bench.release()
    for call in calls:
        call.result(SOON_S)
    assert bench.batches[1:] == [[3], [1, 2]]


def test_bulk_work_is_not_starved(make: Callable[..., Bench]) -> None:
    bench = make(batch_items=1)
    bench.occupy()
    calls = [bench.call(1000, lane=Lane.BULK), *(bench.call(n) for n in range(1, 13))]
    bench.release()
    for call in calls:
        call.result(SOON_S)
    assert bench.batches.index([1000]) <= 4  # the fifth batch at the latest


def test_a_full_lane_refuses_at_once_and_the_other_does_not(make: Callable[..., Bench]) -> None:
    bench = make(queue_items=4)
    bench.occupy()
    held = bench.call(1, 2, 3, 4, lane=Lane.BULK)
    with pytest.raises(Overloaded) as refused:
        bench.call(5, lane=Lane.BULK).result(SOON_S)
    assert refused.value.retry_after_s == SHORTEST_RETRY_S  # four pictures are done in less
    interactive = bench.call(6)
    bench.release()
    assert held.result(SOON_S) == [10, 20, 30, 40]
    assert interactive.result(SOON_S) == [60]
    assert bench.call(7, lane=Lane.BULK).result(SOON_S) == [70]  # the room is free again


def test_refused_callers_are_asked_to_come_back_one_after_the_other(make: Callable[..., Bench]) -> None:
    bench = make(queue_items=4)
    bench.occupy()
    bench.call(1, 2, 3, 4, lane=Lane.BULK)

    def refused() -> float:
        with pytest.raises(Overloaded) as raised, bench.batcher.place(Lane.BULK, items=1, size_bytes=1):
            pass
        assert raised.value.retry_after_s is not None
        return raised.value.retry_after_s

    advice = [refused() for _ in range(2000)]
    assert advice[0] == SHORTEST_RETRY_S
    assert advice[0] < advice[100] < advice[400] < LONGEST_RETRY_S
    assert max(advice) == LONGEST_RETRY_S
    bench.release()


@pytest.mark.parametrize("limits", [{"queue_bytes": 100}, {"queue_calls": 1}])
def test_a_lane_is_bounded_in_bytes_and_calls(make: Callable[..., Bench], limits: dict[str, int]) -> None:
    bench = make(**limits)
    bench.release()
    with bench.batcher.place(Lane.BULK, items=1, size_bytes=60):
        with pytest.raises(Overloaded), bench.batcher.place(Lane.BULK, items=1, size_bytes=60):
            pass
        with bench.batcher.place(Lane.INTERACTIVE, items=1, size_bytes=60):
            pass
    with bench.batcher.place(Lane.BULK, items=1, size_bytes=60):
        pass


def test_late_and_abandoned_work_is_dropped_before_it_is_computed(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    gone = threading.Event()
    late = bench.call(1, 2, deadline_s=0.0)
    abandoned, kept = bench.call(3, gone=gone.is_set), bench.call(4)
    gone.set()
    with pytest.raises(DeadlineExceeded):
        late.result(SOON_S)
    bench.release()
    with pytest.raises(Cancelled):
        abandoned.result(SOON_S)
    assert kept.result(SOON_S) == [40]
    assert bench.batches[1:] == [[4]]


def test_a_caller_waits_no_longer_than_its_deadline(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    with pytest.raises(DeadlineExceeded):
        bench.call(1, deadline_s=0.05).result(SOON_S)  # while the compute thread is held up


def test_a_bad_item_fails_alone(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.release()
    good, bad, fine = bench.run_now(1), bench.run_now(-2), bench.call(2, -2, 3).result(SOON_S)
    assert good == [10]
    assert isinstance(bad[0], BadImage)
    assert (fine[0], type(fine[1]), fine[2]) == (20, BadImage, 30)


@pytest.mark.parametrize("breaking", [-1, -3], ids=["an exception", "too few results"])
def test_a_failing_batch_fails_only_itself(make: Callable[..., Bench], breaking: int) -> None:
    bench = make(batch_items=2)
    bench.occupy()
    call = bench.call(1, 2, breaking, 4, 5, 6)
    bench.release()
    outcomes = call.result(SOON_S)
    assert [outcomes[n] for n in (0, 1, 4, 5)] == [10, 20, 50, 60]
    for outcome in outcomes[2:4]:
        assert isinstance(outcome, Internal)
        assert outcome.metadata["incident"] in outcome.message
        assert "secret" not in outcome.message
    assert bench.run_now(7) == [70]


def test_closing_finishes_admitted_calls_and_refuses_new_ones(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    queued = bench.call(1)
    with bench.batcher.place(Lane.BULK, items=1, size_bytes=0) as decoding:
        closed = bench.callers.submit(bench.batcher.close, SOON_S)
        bench.until(lambda: bench.batcher._closing)
        bench.release()
        with pytest.raises(Unavailable):
            bench.run_now(2)
        assert queued.result(SOON_S) == [10]
        assert decoding.run([3], deadline_s=time.monotonic() + SOON_S) == [30]
        assert not closed.done()
    assert closed.result(SOON_S) is True


def test_what_is_still_queued_after_the_drain_fails_as_unavailable(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.occupy()
    queued = bench.call(1)
    assert bench.batcher.close(0.01) is False
    with pytest.raises(Unavailable):
        queued.result(SOON_S)


def test_many_callers_get_their_own_results(make: Callable[..., Bench]) -> None:
    bench = make(batch_items=5)
    bench.release(10_000)
    lanes = (Lane.INTERACTIVE, Lane.BULK)

    def run(n: int) -> Outcomes:
        with bench.batcher.place(lanes[n % 2], items=3, size_bytes=0) as place:
            return place.run([n, n + 1, n + 2], deadline_s=time.monotonic() + SOON_S)

    results = list(bench.callers.map(run, range(200)))
    assert results == [[10 * n, 10 * n + 10, 10 * n + 20] for n in range(200)]
    assert max(map(len, bench.batches)) <= 5


def test_how_long_calls_wait_and_how_many_go_together_is_counted(make: Callable[..., Bench]) -> None:
    def counted(name: str) -> float:
        return REGISTRY.get_sample_value(f"lookalike_embedder_{name}", {"lane": "bulk"}) or 0.0

    bench = make()
    waits, waited_s, images = counted("queue_seconds_count"), counted("queue_seconds_sum"), counted("batch_images_sum")
    bench.occupy()
    call = bench.call(1, 2, 3, lane=Lane.BULK)
    time.sleep(0.05)
    bench.release()
    call.result(SOON_S)
    assert counted("queue_seconds_count") == waits + 1, "one call, however many pictures it has"
    assert counted("queue_seconds_sum") >= waited_s + 0.05
    assert counted("batch_images_sum") == images + 3
