"""A picture that the embedder dies of is sent a few times, alone, then refused; good ones are answered, whatever else dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.backends.careful import Careful
from lookalike.errors import CallLost, DeadlineExceeded, Internal, LookalikeError, Unavailable
from lookalike.jobs.ledger import connect_ledger
from lookalike.jobs.suspects import BREAKS_EMBEDDER, KNOWN_GOOD, MOST_DEATHS, Suspects
from tests.unit.gateway.fakes import few_threads


class Embedder:
    """Dies of every picture that starts with `poison`, never answers for those that start with `tar`; is away while `away` is
    set, and answers nobody while `overloaded`."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.deaths = 0
        self.away: LookalikeError | None = None
        self.overloaded = False
        self.hung = 0

    async def __call__(self, images: Sequence[bytes]) -> list[bytes]:
        self.calls.append(list(images))
        await asyncio.sleep(0)
        if self.away:
            raise self.away
        if self.overloaded or any(image.startswith(b"tar") for image in images):
            self.hung += 1
            await asyncio.Event().wait()
        if any(image.startswith(b"poison") for image in images):
            self.deaths += 1
            raise CallLost("embedder", "Socket closed")
        return [b"of " + image for image in images]


def ask(careful: Careful, embedder: Embedder, *images: bytes, times: int = 1) -> list[object]:
    """What became of the pictures, the last time; the error where the whole call ended in one."""

    async def run() -> list[object]:
        ends: list[object] = []
        for _ in range(times):
            try:
                ends = list(await careful.made(images, embedder))
            except LookalikeError as error:
                ends = [error]
        return ends

    return asyncio.run(run())


def test_a_picture_that_kills_the_embedder_is_refused_after_a_few_times_and_its_company_is_answered() -> None:
    careful, embedder = Careful(apart_s=0), Embedder()
    good, refused, other = ask(careful, embedder, b"good", b"poison", b"other", times=20)
    assert (good, other) == (b"of good", b"of other")
    assert isinstance(refused, LookalikeError)
    assert refused.reason == BREAKS_EMBEDDER
    assert embedder.deaths == 1 + MOST_DEATHS
    assert ask(careful, embedder, b"good") == [b"of good"]


def test_nothing_more_is_sent_while_nothing_is_suspected() -> None:
    careful, embedder = Careful(apart_s=0), Embedder()
    ask(careful, embedder, b"a", b"b", times=3)
    assert embedder.calls == [[b"a", b"b"]] * 3


def test_a_good_picture_that_was_there_when_it_died_is_acquitted_by_one_answer() -> None:
    careful, embedder = Careful(apart_s=0), Embedder()
    embedder.away = CallLost("embedder", "Socket closed")
    ask(careful, embedder, b"good", times=5)
    embedder.away = None
    assert ask(careful, embedder, b"good", times=2) == [b"of good"]
    assert embedder.calls[-3:] == [[KNOWN_GOOD], [b"good"], [b"good"]]


@pytest.mark.parametrize(
    "error", [Unavailable("embedder", "refused"), DeadlineExceeded("late"), CallLost("embedder", "closed")]
)
def test_an_embedder_that_fails_whatever_it_is_given_makes_no_picture_refused(error: LookalikeError) -> None:
    careful, embedder = Careful(apart_s=0), Embedder()
    ask(careful, embedder, b"poison")
    embedder.away = error
    ends = ask(careful, embedder, b"poison", times=10)
    assert isinstance(ends[0], Unavailable | DeadlineExceeded)
    embedder.away = None
    ask(careful, embedder, b"poison", times=10)
    assert embedder.deaths == 1 + MOST_DEATHS, "these count only"


def test_a_picture_is_tried_again_when_it_has_been_forgotten() -> None:
    careful, embedder = Careful(apart_s=0, kept_s=0), Embedder()
    ask(careful, embedder, b"poison", times=10)
    assert embedder.deaths == 10


def test_two_suspects_are_never_with_the_embedder_together() -> None:
    careful, embedder = Careful(apart_s=0), Embedder()
    ask(careful, embedder, b"poison", b"good 1", b"good 2")

    async def at_once() -> list[list[bytes | LookalikeError]]:
        return await asyncio.gather(*(careful.made([image], embedder) for image in (b"good 1", b"poison", b"good 2")))

    (first,), (poison,), (second,) = asyncio.run(at_once())
    assert (first, second) == (b"of good 1", b"of good 2")
    assert isinstance(poison, CallLost)


def test_a_defect_that_one_picture_meets_fails_no_other_of_its_call() -> None:
    calls: list[list[bytes]] = []

    async def call(images: Sequence[bytes]) -> list[bytes]:
        calls.append(list(images))
        if b"odd" in images:
            raise Internal("incident 1")
        return [b"of " + image for image in images]

    first, odd, last = asyncio.run(Careful().made([b"a", b"odd", b"b"], call))
    assert (first, last) == (b"of a", b"of b")
    assert isinstance(odd, Internal)
    assert calls == [[b"a", b"odd", b"b"], [b"a"], [b"odd"], [b"b"]]


class TestHangs:
    """Callers give up after `patience_s`, as those of `query_embeddings` do."""

    HANG_S = 0.05

    def end(self, careful: Careful, embedder: Embedder, image: bytes, *, times: int, patience_s: float = 0.2) -> object:
        """What became of the picture, the last time; TimeoutError where its caller waited no longer."""

        async def run() -> object:
            end: object = None
            for _ in range(times):
                try:
                    async with asyncio.timeout(patience_s):
                        (end,) = await careful.made([image], embedder)
                except (LookalikeError, TimeoutError) as error:
                    end = error
            while careful._trials:
                await asyncio.sleep(0.001)
            return end

        return asyncio.run(run())

    def careful(self, soon_s: float = 0.05) -> Careful:
        return Careful(apart_s=0, hang_s=self.HANG_S, soon_s=soon_s)

    def test_a_picture_that_the_embedder_hangs_over_is_refused_after_a_few_times(self) -> None:
        careful, embedder = self.careful(), Embedder()
        refused = self.end(careful, embedder, b"tar", times=20, patience_s=10 * self.HANG_S)
        assert isinstance(refused, LookalikeError)
        assert refused.reason == BREAKS_EMBEDDER
        assert embedder.hung == 1 + MOST_DEATHS
        assert self.end(careful, embedder, b"good", times=1) == b"of good"

    def test_a_hang_is_found_though_no_later_caller_waits_long_enough(self) -> None:
        careful, embedder = self.careful(), Embedder()
        self.end(careful, embedder, b"tar", times=1)
        for _ in range(10):
            end = self.end(careful, embedder, b"tar", times=1, patience_s=self.HANG_S / 5)
        assert isinstance(end, LookalikeError)
        assert (end.reason, embedder.hung) == (BREAKS_EMBEDDER, 1 + MOST_DEATHS)

    def test_a_caller_that_leaves_early_makes_nothing_suspected(self) -> None:
        careful, embedder = Careful(hang_s=60), Embedder()
        assert isinstance(self.end(careful, embedder, b"tar", times=3, patience_s=0.01), TimeoutError)
        assert not careful._known

    def test_an_overloaded_embedder_condemns_nobody(self) -> None:
        careful, embedder = self.careful(), Embedder()
        embedder.overloaded = True
        ends = [self.end(careful, embedder, b"good %d" % (n % 2), times=1) for n in range(10)]
        assert isinstance(ends[-1], Unavailable)
        assert [suspect.deaths for suspect in careful._known.values()] == [0, 0]
        embedder.overloaded = False
        assert self.end(careful, embedder, b"good 0", times=1) == b"of good 0"

    def test_an_overload_that_begins_after_the_good_picture_condemns_nobody(self) -> None:
        careful, embedder = self.careful(), Embedder()
        embedder.overloaded = True
        self.end(careful, embedder, b"good", times=1)

        async def call(images: Sequence[bytes]) -> list[bytes]:
            embedder.overloaded = embedder.overloaded or images == [b"good"]
            return await embedder(images)

        async def run() -> None:
            for _ in range(2 * MOST_DEATHS):
                embedder.overloaded = False
                (end,) = await careful.made([b"good"], call)
                assert isinstance(end, Unavailable)

        asyncio.run(run())
        assert [suspect.deaths for suspect in careful._known.values()] == [0]


class TestSharing:
    def test_what_one_gateway_or_worker_knows_the_others_learn(self, redis_db: str) -> None:
        ledger = connect_ledger(redis_db)
        embedder, threads = Embedder(), few_threads()
        first, second, third = (Careful(Suspects(ledger.connection), threads, apart_s=0) for _ in range(3))
        ask(first, embedder, b"poison", times=10)
        ask(second, embedder, b"poison", times=10)
        assert embedder.deaths == 1 + MOST_DEATHS + 1, "it asks when it has seen one itself"

        async def watched() -> object:
            watching = asyncio.create_task(third.watch(60))
            while not third._known:
                await asyncio.sleep(0.001)
            watching.cancel()
            return (await third.made([b"poison"], embedder))[0]

        refused = asyncio.run(watched())
        assert isinstance(refused, LookalikeError)
        assert (refused.reason, embedder.deaths) == (BREAKS_EMBEDDER, 1 + MOST_DEATHS + 1)
        threads.close()
        ledger.close()

    def test_searches_go_on_without_redis(self) -> None:
        careful, embedder = Careful(Suspects(_Away()), few_threads(), apart_s=0), Embedder()  # type: ignore[arg-type]
        (refused,) = ask(careful, embedder, b"poison", times=10)
        assert isinstance(refused, LookalikeError)
        assert (refused.reason, embedder.deaths) == (BREAKS_EMBEDDER, 1 + MOST_DEATHS)
        assert ask(careful, embedder, b"good") == [b"of good"]


class _Away:
    def run(self, *_: object) -> object:
        raise Unavailable("redis", "refused")
