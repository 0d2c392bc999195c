"""Every kind of picture that asks for much is refused from its header, or decoded within the memory that its header says."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.pictures.cage import Cage, allowance_bytes, largest_bytes
from embedder.pictures.caged_process import CagedProcess
from embedder.pictures.decode import Decoder, TowerInput, Wanted
from embedder.pictures.formats import is_quick
from embedder.pictures.headers.header import Header
from embedder.pictures.tasks import DecodeTask
from embedder.pictures.waiting import Lane, Waiting
from lookalike.errors import BadImage
from tests.pictures.hostile_pictures import KINDS

TASK = DecodeTask(Wanted((3,), (TowerInput(224, 3),)))
MEMORY_BYTES = 1_200_000_000
SMALL_WORK = 60_000_000
"""What is more takes a second and more to decode, and is left to the long test."""
REASONS = {"decoded", "IMAGE_UNREADABLE", "IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_COSTLY", "IMAGE_FORMAT_UNKNOWN"}


class Watched:
    """A cage of which every process is known."""

    def __init__(self) -> None:
        self.processes: list[CagedProcess] = []
        self.cage = Cage(
            processes=2, memory_bytes=MEMORY_BYTES, max_pixels=50_000_000, processor_s=10.0, start=self._start
        )  # fmt: skip

    def _start(self) -> CagedProcess:
        self.processes.append(CagedProcess())
        return self.processes[-1]

    def outcome(self, data: bytes, header: Header) -> tuple[str, int]:
        """What became of a picture, and how much more memory its process held than before, at most."""
        process = next((one for one in self.processes if one.alive), None)
        before = 0
        if process is not None:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")  # forgets the peak (proc(5))
            before = held_bytes(process.pid, "VmRSS")
        try:
            self.cage.submit(TASK, data, header, Lane.BULK, Waiting(time.monotonic() + 60.0, lambda: False)).result(60.0)
            outcome = "decoded"
        except BadImage as error:
            outcome = error.reason
        alive = process is not None and process.alive
        return outcome, held_bytes(process.pid, "VmHWM") - before if process is not None and alive else 0


def held_bytes(pid: int, what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.cage.close()


def tried(watched: Watched, name: str, number: int, most_work: int) -> None:
    data = KINDS[name](number)
    decoder = Decoder(max_memory_bytes=largest_bytes(MEMORY_BYTES))
    try:
        header = decoder.header(data)
    except BadImage as error:
        assert error.reason in REASONS  # noqa: PT017 - a reason is one of two right answers
        return
    if header.work > most_work:
        assert not is_quick(header, TASK.least)
        return
    outcome, held = watched.outcome(data, header)
    assert outcome in REASONS
    assert held <= allowance_bytes(header.memory_bytes, len(data)), (name, number, held, header)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_picture_takes_what_its_header_says_or_nothing(watched: Watched, name: str) -> None:
    tried(watched, name, 1, SMALL_WORK)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_so_does_every_variant(watched: Watched, name: str) -> None:
    for number in range(12):
        tried(watched, name, number, 1 << 62)
