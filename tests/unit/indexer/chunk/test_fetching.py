"""How the pictures of a chunk are read: in order, side by side, ahead but not far, and whatever hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from indexer.chunk import fetching
from indexer.chunk.fetching import Content, Fetcher
from indexer.chunk.stages import Stages
from indexer.interruption import Draining, Interruption
from lookalike.errors import LookalikeError, NotFound, Unavailable
from lookalike.items import Item
from lookalike.jobs.leases import Lease
from tests.servers.processes import until

FAR, NEAR = "https://host/{}", "file:///data/{}"


@dataclass
class FakeReader:
    """Reads what `answer` makes of a URI's number, and counts."""

    answer: Callable[[int], bytes]
    begun: int = 0
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, uri: str, *, offset: int, size_bytes: int) -> bytes:
        with self.lock:
            self.begun += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.answer(int(uri.rpartition("/")[2]))
        finally:
            with self.lock:
                self.now -= 1


def items(place: str, count: int) -> list[Item]:
    return [Item(number, str(number), place.format(number)) for number in range(count)]


def fetcher(reader: FakeReader, *, threads: int = 4, timeout_s: float = 20.0) -> Fetcher:
    return Fetcher(cast("Any", reader), threads=threads, timeout_s=timeout_s)


def working() -> Interruption:
    return Interruption(threading.Event(), Lease("job", "0", "owner", 1))


def fetch(fetcher: Fetcher, wanted: Sequence[Item], interruption: Interruption | None = None) -> list[Content]:
    found = list(fetcher.fetch(wanted, interruption or working(), Stages()))
    assert [item for item, _ in found] == list(wanted)
    return [content for _, content in found]


def reason(content: Content) -> str:
    assert isinstance(content, LookalikeError)
    return content.reason


@pytest.mark.parametrize("place", [FAR, NEAR, "tar://a::s3://bucket/{}", "artifact://originals/{}"])
def test_items_come_in_order_and_what_cannot_be_read_is_a_value(place: str) -> None:
    def answer(number: int) -> bytes:
        if number % 10 == 7:
            raise NotFound("source", str(number))
        if number % 10 == 8:
            raise Unavailable("host", "away", reason="SOURCE_UNAVAILABLE")
        return b"%d" % number

    for count in (0, 1, 200):
        contents = fetch(fetcher(FakeReader(answer)), items(place, count))
        for number, content in enumerate(contents):
            bad = {7: "SOURCE_NOT_FOUND", 8: "SOURCE_UNAVAILABLE"}.get(number % 10)
            assert reason(content) == bad if bad else content == b"%d" % number


def test_what_is_far_away_is_read_side_by_side() -> None:
    four = threading.Barrier(4, timeout=20)

    def answer(number: int) -> bytes:
        if number >= 4:  # The size of the first ones is not known, so that fewer are begun.
            four.wait()
        return b"x"

    reader = FakeReader(answer)
    assert fetch(fetcher(reader), items(FAR, 12)) == [b"x"] * 12
    assert reader.most == 4


def test_files_are_read_one_by_one_while_they_come_quickly_and_side_by_side_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_QUICK_S", 20)
    reader = FakeReader(lambda _: b"x")
    quick = fetcher(reader)
    fetch(quick, items(NEAR, 300))
    assert reader.most == 1
    monkeypatch.setattr(fetching, "_QUICK_S", 0)
    two = threading.Barrier(2, timeout=20)
    fetch(quick, items(NEAR, 10))

    def answer(number: int) -> bytes:
        if number in (50, 60):
            two.wait()
        return b"x"

    reader.answer = answer
    fetch(quick, items(NEAR, 100))
    assert reader.most >= 2


def test_no_more_is_read_ahead_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_AHEAD_BYTES", 1000)
    for place in (FAR, NEAR):
        reader = FakeReader(lambda _: b"x" * 300)
        for taken, _ in enumerate(fetcher(reader).fetch(items(place, 100), working(), Stages())):
            assert reader.begun - taken <= 3, "three of them are 900 bytes"
        assert reader.begun == 100


@pytest.mark.parametrize("place", [FAR, NEAR])
def test_a_read_that_hangs_fails_its_own_item_alone(place: str) -> None:
    released = threading.Event()

    def answer(number: int) -> bytes:
        if number in (5, 20):
            released.wait(60)
        return b"%d" % number

    one = fetcher(FakeReader(answer), timeout_s=0.1)
    contents = fetch(one, items(place, 40))
    assert [reason(contents[number]) for number in (5, 20)] == ["SOURCE_TIMEOUT"] * 2
    assert [content for number, content in enumerate(contents) if number not in (5, 20)] == [
        b"%d" % number for number in range(40) if number not in (5, 20)
    ]
    released.set()
    until(lambda: one.hanging == 0, "the threads come back")


def test_where_everything_hangs_the_chunk_is_given_back_and_threads_do_not_pile_up() -> None:
    released = threading.Event()
    one = fetcher(FakeReader(lambda _: b"x" * (1 + released.wait(60))), threads=2, timeout_s=0.05)
    before = threading.active_count()
    with pytest.raises(Unavailable, match="all 2 threads that read it hang"):
        fetch(one, items(FAR, 10))
    for _ in range(20):
        with pytest.raises(Unavailable, match="hang"):
            fetch(one, items(FAR, 10))
    assert threading.active_count() - before <= 4 * 2 + 2
    released.set()
    until(lambda: one.hanging == 0, "the threads come back")
    assert fetch(one, items(FAR, 10)) == [b"xx"] * 10


def test_what_is_not_about_an_item_is_raised() -> None:
    def answer(number: int) -> bytes:
        if number == 3:
            raise Unavailable("artifacts", "away")
        return b"x"

    with pytest.raises(Unavailable, match="artifacts"):
        fetch(fetcher(FakeReader(answer)), items(NEAR, 10))


def test_a_wait_is_interrupted() -> None:
    released, interruption = threading.Event(), working()

    def answer(number: int) -> bytes:
        interruption.draining.set()
        released.wait(60)
        return b"x"

    with pytest.raises(Draining):
        fetch(fetcher(FakeReader(answer)), items(FAR, 3), interruption)
    released.set()
