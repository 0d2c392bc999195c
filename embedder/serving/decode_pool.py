"""Decodes a call's pictures side by side: on as many threads as there are cores, or elsewhere (in the cage).

Owns the decode threads. Interactive and bulk work have threads of their own, so that one picture never waits behind a job's
thousands; the system shares the cores between them. A picture that is decoded elsewhere, in the cage, holds no thread of these.
Called by `embedder.serving.service`, which holds a place in the batcher's queue meanwhile: that bounds what can wait here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import Counter, Histogram

from embedder.pictures.waiting import TOO_LATE, Lane, Waiting
from lookalike.errors import DeadlineExceeded, Internal, InvalidArgument, LookalikeError
from lookalike.runtime.telemetry import logged_defect

T = TypeVar("T")

TASK_BYTES = 128 * 1024
"""Encoded bytes that make a task worth handing to another thread: some 2 ms of decoding."""

IMAGES = Counter("lookalike_embedder_images_total", "Pictures, by outcome: decoded, or the reason why not.", ("outcome",))
DECODE_SECONDS = Histogram(
    "lookalike_embedder_decode_seconds",
    "Time to decode one picture.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)

REPAIRED = Counter(
    "lookalike_embedder_repaired_images_total",
    "Pictures that were decoded although something in their file was damaged or left out, by what it was.",
    ("kind",),
)


def count_repair(kind: str) -> None:
    """`kind` is one of `reading.REPAIRS`."""
    REPAIRED.labels(kind).inc()


class DecodePool:
    """`threads` threads for each lane, until `close`. Thread-safe."""

    def __init__(self, threads: int) -> None:
        self._pools = {lane: ThreadPoolExecutor(threads, f"decode-{lane.value}") for lane in Lane}
        self._turns = {lane: threading.BoundedSemaphore(threads) for lane in Lane}

    def map(
        self,
        make: Callable[[bytes], T],
        images: Sequence[bytes],
        lane: Lane,
        waiting: Waiting,
        *,
        elsewhere: Callable[[bytes], Future[T] | None] = lambda _: None,
    ) -> list[T | LookalikeError]:
        """`make` of each of `images`, in order; an image that it fails on gives its error, and only its own. What `elsewhere`
        takes over is made there; an image that it raises on fails as well.

        Raises `DeadlineExceeded` or `Cancelled` where the caller waits no longer, and `Unavailable` where the cage is.
        """
        images = list(images)  # every look at an item of protobuf's own list makes a copy
        begun = [_submitted(elsewhere, image) for image in images]
        left = [image for image, one in zip(images, begun, strict=True) if one is None]
        try:
            here = iter(self._decoded_side_by_side(make, left, lane, waiting) if left else ())
            outcomes: list[T | LookalikeError] = []
            for one in begun:
                if one is None:
                    outcomes.append(next(here))
                else:
                    outcome = _result_elsewhere(one, waiting)
                    outcomes.append(outcome)
            return outcomes
        finally:
            for one in begun:
                if isinstance(one, Future):
                    one.cancel()

    def _decoded_side_by_side(
        self, make: Callable[[bytes], T], images: Sequence[bytes], lane: Lane, waiting: Waiting
    ) -> list[T | LookalikeError]:
        if sum(map(len, images)) < TASK_BYTES:
            return self._decoded_in_this_thread(make, images, lane, waiting)
        tasks = [self._pools[lane].submit(_one_after_the_other, make, group, waiting) for group in _groups(images)]
        try:
            return [outcome for task in tasks for outcome in task.result(waiting.left_s)]
        except TimeoutError:
            raise DeadlineExceeded(TOO_LATE) from None
        finally:
            for task in tasks:
                task.cancel()

    def _decoded_in_this_thread(
        self, make: Callable[[bytes], T], images: Sequence[bytes], lane: Lane, waiting: Waiting
    ) -> list[T | LookalikeError]:
        """Decode in the caller's own thread: to wake another would take longer than to decode so little. A lane has room for as
        many callers as threads, because few bytes may still be many pixels."""
        if not self._turns[lane].acquire(timeout=waiting.left_s):
            raise DeadlineExceeded(TOO_LATE)
        try:
            return _one_after_the_other(make, images, waiting)
        finally:
            self._turns[lane].release()

    def close(self) -> None:
        """End the threads when what they do is done; what has not begun is dropped."""
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)


def _submitted(elsewhere: Callable[[bytes], Future[T] | None], image: bytes) -> Future[T] | LookalikeError | None:
    try:
        return elsewhere(image)
    except InvalidArgument as error:
        return error


def _result_elsewhere(begun: Future[T] | LookalikeError, waiting: Waiting) -> T | LookalikeError:
    """The result or error of an image that is decoded elsewhere. Raises errors that say nothing of the image."""
    outcome: T | LookalikeError
    try:
        outcome = begun if isinstance(begun, LookalikeError) else begun.result(waiting.left_s)
    except TimeoutError:
        raise DeadlineExceeded(TOO_LATE) from None
    except (InvalidArgument, Internal) as error:
        outcome = error
    _count(outcome)
    return outcome


def _count(outcome: object) -> None:
    IMAGES.labels(outcome.reason if isinstance(outcome, LookalikeError) else "decoded").inc()


def _groups(images: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Groups of neighbours that are small together, so that a call of thumbnails is one task and a call of photos is many."""
    start = size_bytes = 0
    for end, image in enumerate(images, 1):
        size_bytes += len(image)
        if size_bytes >= TASK_BYTES or end == len(images):
            yield images[start:end]
            start, size_bytes = end, 0


def _one_after_the_other(make: Callable[[bytes], T], images: Sequence[bytes], waiting: Waiting) -> list[T | LookalikeError]:
    made: list[T | LookalikeError] = []
    for image in images:
        waiting.check()
        with DECODE_SECONDS.time():
            outcome = _outcome_of(make, image)
        _count(outcome)
        made.append(outcome)
    return made


def _outcome_of(make: Callable[[bytes], T], image: bytes) -> T | LookalikeError:
    try:
        return make(image)
    except LookalikeError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a worker's edge: one picture never fails its neighbours
        return logged_defect(error, "decoding failed", "decoding failed; the log has it", size_bytes=len(image))
