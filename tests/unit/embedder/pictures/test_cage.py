"""The cage: risky pictures come out as they would in the embedder's own process, and what goes wrong costs one picture."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedder.pictures.cage import CHEAP_WORK, Cage
from embedder.pictures.caged_process import CagedProcess
from embedder.pictures.decode import Decoded, Decoder, TowerInput, Wanted
from embedder.pictures.tasks import DecodeTask, Task, ThumbnailTask
from embedder.pictures.waiting import Lane, Waiting
from lookalike.errors import BadImage, Cancelled, DeadlineExceeded, Unavailable
from tests.pictures.made_pictures import encoded, noise
from tests.servers.crashing_cage import BABBLE, BURN, CRASH, EAT, KILLED, LIE, SLEEP, SPIN

SOON_S = 30.0
BOTH = DecodeTask(Wanted((3,), (TowerInput(224, 1),)))
SEVERAL = Wanted((3, 1), (TowerInput(224, 1), TowerInput(28, 3, "squash"), TowerInput(256, 3)))
COSTLY = encoded(Image.new("L", (2500, 2000)), "TIFF")
"""Its header says more work than a cheap picture's, and less than that of the larger ones below."""
GIF = encoded(Image.fromarray(noise(40, 60, 3)).quantize(16), "GIF")


def cage_of(
    *,
    processes: int = 2,
    module: str = "tests.servers.crashing_cage",
    repaired: Callable[[str], None] = lambda _: None,
) -> Cage:
    return Cage(
        processes=processes,
        memory_bytes=1_200_000_000,
        max_pixels=50_000_000,
        processor_s=10.0,
        start=partial(CagedProcess, module),
        repaired=repaired,
    )


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    cage = cage_of()
    yield cage
    cage.close()


def patient() -> Waiting:
    return Waiting(time.monotonic() + SOON_S, lambda: False)


def submitted(
    cage: Cage, data: bytes, task: Task[Any] = BOTH, *, lane: Lane = Lane.INTERACTIVE, waiting: Waiting | None = None
) -> Future[Any]:
    return cage.submit(task, data, Decoder().header(data), lane, waiting or patient())


def reason(cage: Cage, data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        submitted(cage, data).result(SOON_S)
    return caught.value.reason


def same(one: Decoded, other: Decoded) -> bool:
    ours, theirs = (*one.canvases, *one.towers), (*other.canvases, *other.towers)
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PNG", "WEBP", "JPEG"])
def test_pixels_are_those_of_the_embedders_own_process(cage: Cage, kind: str) -> None:
    data = encoded(Image.fromarray(noise(40, 60, 3)).quantize(16).convert("RGB"), kind)
    for wanted in (SEVERAL, Wanted((1,)), Wanted(towers=(TowerInput(28, 3, "squash"),))):
        assert same(submitted(cage, data, DecodeTask(wanted)).result(SOON_S), Decoder().decode(data, wanted))
    assert submitted(cage, data, ThumbnailTask(32)).result(SOON_S) == Decoder().thumbnail(data, 32)


def test_a_repair_in_a_caged_process_is_reported() -> None:
    repairs: list[str] = []
    cage = cage_of(module="embedder.pictures.caged", repaired=repairs.append)
    try:
        submitted(cage, encoded(noise(40, 60, 3), "JPEG")[:-2]).result(SOON_S)
    finally:
        cage.close()
    assert repairs == ["jpeg end"]


def test_a_reason_crosses_in_its_words(cage: Cage) -> None:
    with pytest.raises(BadImage) as caught:
        submitted(cage, GIF[: len(GIF) // 2]).result(SOON_S)
    with pytest.raises(BadImage) as expected:
        Decoder().decode(GIF[: len(GIF) // 2], BOTH.wanted)
    assert (caught.value.reason, caught.value.problem) == (expected.value.reason, expected.value.problem)


@pytest.mark.parametrize(
    ("deed", "expected", "message"),
    [
        (CRASH, "IMAGE_CRASHED_DECODER", r"^image: crashed its decoder \(SIGSEGV\)$"),
        (KILLED, "IMAGE_CRASHED_DECODER", r"^image: crashed its decoder \(SIGKILL\)$"),
        (LIE, "IMAGE_CRASHED_DECODER", r"^image: crashed its decoder \(its answer made no sense\)$"),
        (BABBLE, "IMAGE_CRASHED_DECODER", r"^image: crashed its decoder \(its answer made no sense\)$"),
        (
            BURN,
            "IMAGE_TOO_COSTLY",
            r"^image: takes longer to decode than its header accounts for \(0\.5 s of processor time\)$",
        ),
        (EAT, "IMAGE_TOO_COSTLY", r"^image: takes more memory to decode than its header accounts for \(1 MB\)$"),
    ],
    ids=["crash", "killed", "lie", "babble", "burn", "eat"],
)
def test_a_crash_or_a_passed_limit_costs_one_picture(cage: Cage, deed: bytes, expected: str, message: str) -> None:
    large = encoded(Image.new("RGB", (3000, 900)), "BMP")
    bad = submitted(cage, (large if deed is EAT else GIF) + deed)
    neighbours = [submitted(cage, GIF) for _ in range(3)]
    with pytest.raises(BadImage, match=message) as caught:
        bad.result(SOON_S)
    assert caught.value.reason == expected
    for one in neighbours:
        assert same(one.result(SOON_S), Decoder().decode(GIF, BOTH.wanted))


def test_lanes_do_not_wait_for_each_other_and_nobody_waits_for_those_who_have_gone() -> None:
    gone, cage = threading.Event(), cage_of()
    try:
        asleep = submitted(cage, GIF + SLEEP, lane=Lane.BULK, waiting=Waiting(time.monotonic() + SOON_S, gone.is_set))
        behind = submitted(cage, GIF, lane=Lane.BULK)
        # Bulk work has one of two processes, and all of it waits; interactive work has the other.
        assert submitted(cage, GIF).result(SOON_S)
        assert not behind.done()
        gone.set()
        with pytest.raises(Cancelled):
            asleep.result(SOON_S)
        assert behind.result(SOON_S)
        late = Waiting(time.monotonic(), lambda: False)
        with pytest.raises(DeadlineExceeded):
            submitted(cage, GIF, waiting=late).result(SOON_S)
    finally:
        cage.close()


def test_small_pictures_go_before_a_large_one_that_waits() -> None:
    gone, cage = threading.Event(), cage_of()
    large = encoded(Image.new("L", (3000, 3000)), "TIFF")
    finished: list[str] = []
    try:
        asleep = submitted(cage, COSTLY + SLEEP, waiting=Waiting(time.monotonic() + SOON_S, gone.is_set))
        waiting = {"large": submitted(cage, large), "small": submitted(cage, COSTLY)}
        for name, one in waiting.items():
            one.add_done_callback(lambda _, name=name: finished.append(name))  # type: ignore[misc]
        gone.set()
        for one in (*waiting.values(), asleep):
            one.exception(SOON_S)
        assert finished == ["small", "large"]
    finally:
        cage.close()


def test_a_cheap_picture_does_not_wait_for_costly_ones() -> None:
    gone, cage = threading.Event(), cage_of()
    try:
        waiting = Waiting(time.monotonic() + SOON_S, gone.is_set)
        costly = [submitted(cage, COSTLY + SLEEP, lane=lane, waiting=waiting) for lane in (*Lane, *Lane)]
        for lane in Lane:
            assert submitted(cage, GIF, lane=lane).result(SOON_S)
        assert not any(one.done() for one in costly)
        gone.set()
        for one in costly:
            with pytest.raises(Cancelled):
                one.result(SOON_S)
    finally:
        cage.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's clock")
def test_nor_for_those_that_only_seem_cheap() -> None:
    gone, running = threading.Event(), threading.Event()

    def start() -> CagedProcess:
        running.set()
        return CagedProcess("tests.servers.crashing_cage")

    cage = Cage(processes=4, memory_bytes=1_200_000_000, max_pixels=50_000_000, processor_s=10.0, start=start)
    # The good picture has more work than those that spin, so that it never goes before one that came earlier.
    seeming = encoded(Image.new("L", (1500, 1200)), "TIFF") + SPIN
    good = encoded(Image.new("L", (1500, 1300)), "TIFF")
    assert Decoder().header(seeming).work < Decoder().header(good).work < CHEAP_WORK
    try:
        waiting = Waiting(time.monotonic() + 2 * SOON_S, gone.is_set)
        spinning = [submitted(cage, seeming, waiting=waiting)]
        assert running.wait(SOON_S)
        # The first goes on among the costly; the second finds no place there, is ended and waits.
        spinning.append(submitted(cage, seeming, waiting=waiting))
        assert submitted(cage, good).result(SOON_S)
        assert not any(one.done() for one in spinning)
        gone.set()
        for one in spinning:
            with pytest.raises(Cancelled):
                one.result(SOON_S)
    finally:
        cage.close()


def test_what_waits_when_the_cage_is_closed_fails_as_unavailable() -> None:
    cage = cage_of()
    asleep = submitted(cage, GIF + SLEEP)
    waits = submitted(cage, GIF)
    cage.close()
    for one in (asleep, waits):
        with pytest.raises(Unavailable):
            one.result(SOON_S)
    with pytest.raises(Unavailable):
        submitted(cage, GIF)


def test_a_process_that_does_not_start_is_no_fault_of_the_picture() -> None:
    cage = cage_of(module="tests.servers.no_such_module")
    try:
        with pytest.raises(Unavailable, match="does not start"):
            submitted(cage, GIF).result(SOON_S)
    finally:
        cage.close()
