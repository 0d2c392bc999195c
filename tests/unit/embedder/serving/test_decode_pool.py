"""Pictures are decoded side by side, in order, and each fails for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from embedder.pictures.waiting import Lane, Waiting
from embedder.serving.decode_pool import TASK_BYTES, DecodePool
from lookalike.errors import BadImage, Cancelled, DeadlineExceeded, Internal, Unavailable

SOON_S = 10.0


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(2)
    yield pool
    pool.close()


def patient() -> Waiting:
    return Waiting(time.monotonic() + SOON_S, lambda: False)


def make(image: bytes) -> int:
    if image == b"bad":
        raise BadImage("is bad")
    if image == b"defect":
        raise KeyError("secret")
    return len(image)


def test_outcomes_come_in_order_and_errors_stay_with_their_picture(pool: DecodePool) -> None:
    outcomes = pool.map(make, [b"1", b"bad", b"333", b"defect", b"55555"], Lane.BULK, patient())
    assert [outcomes[n] for n in (0, 2, 4)] == [1, 3, 5]
    assert isinstance(outcomes[1], BadImage)
    assert isinstance(outcomes[3], Internal)
    assert "secret" not in outcomes[3].message


def test_small_pictures_share_a_task_and_large_ones_run_side_by_side(pool: DecodePool) -> None:
    both = threading.Barrier(2, timeout=SOON_S)  # passed only if two threads are at it at once

    def meet(image: bytes) -> str:
        both.wait()
        return threading.current_thread().name

    assert len(set(pool.map(meet, [bytes(TASK_BYTES)] * 2, Lane.BULK, patient()))) == 2
    names = pool.map(lambda image: threading.current_thread().name, [b"small"] * 32, Lane.BULK, patient())
    assert len(set(names)) == 1


def test_interactive_work_does_not_wait_behind_bulk(pool: DecodePool) -> None:
    held, busy = threading.Event(), threading.Semaphore(0)

    def hold(image: bytes) -> bool:
        busy.release()
        return held.wait(SOON_S)

    bulk = threading.Thread(target=pool.map, args=(hold, [bytes(TASK_BYTES)] * 2, Lane.BULK, patient()))
    bulk.start()
    try:
        assert all(busy.acquire(timeout=SOON_S) for _ in range(2))  # both bulk threads
        assert pool.map(make, [b"now"], Lane.INTERACTIVE, patient()) == [3]
    finally:
        held.set()
        bulk.join()


def test_nothing_is_decoded_for_nobody(pool: DecodePool) -> None:
    decoded: list[bytes] = []
    with pytest.raises(DeadlineExceeded):
        pool.map(decoded.append, [b"a"], Lane.BULK, Waiting(time.monotonic(), lambda: False))
    with pytest.raises(Cancelled):
        pool.map(decoded.append, [b"a"], Lane.BULK, Waiting(time.monotonic() + SOON_S, lambda: True))
    assert decoded == []


def test_what_is_made_elsewhere_holds_no_thread_and_comes_in_its_place(pool: DecodePool) -> None:
    begun: dict[bytes, Future[object]] = {}

    def elsewhere(image: bytes) -> Future[object] | None:
        if image == b"refused":
            raise BadImage("is refused")
        return begun.setdefault(image, Future()) if image.startswith(b"far") else None

    outcomes: list[object] = []
    images = [b"near", b"far", b"refused", b"far too bad", b"bad"]
    caller = threading.Thread(
        target=lambda: outcomes.extend(pool.map(make, images, Lane.BULK, patient(), elsewhere=elsewhere)), daemon=True
    )
    caller.start()
    # Others of the lane are served meanwhile, however many wait for what is elsewhere.
    assert pool.map(make, [bytes(TASK_BYTES)] * 4, Lane.BULK, patient()) == [TASK_BYTES] * 4
    while len(begun) < 2:
        assert caller.is_alive()
    begun[b"far"].set_result(7)
    begun[b"far too bad"].set_exception(BadImage("is too bad"))
    caller.join(SOON_S)
    assert outcomes[:2] == [4, 7]
    assert [getattr(one, "problem", None) for one in outcomes[2:]] == ["is refused", "is too bad", "is bad"]


def test_where_what_is_elsewhere_is_unavailable_the_call_fails_and_leaves_nothing_behind(pool: DecodePool) -> None:
    away: Future[int] = Future()
    away.set_exception(Unavailable("embedder", "it is stopping"))
    waits: Future[int] = Future()
    taken = iter([away, waits])
    with pytest.raises(Unavailable):
        pool.map(make, [b"1", b"2"], Lane.BULK, patient(), elsewhere=lambda _: next(taken))
    assert waits.cancelled()
