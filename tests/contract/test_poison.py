"""A picture that kills the embedder, with an embedder that does get killed: a real process, started again each time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.backends.careful import Careful
from gateway.backends.embedder import Embedder as GatewayEmbedder
from indexer.chunk.embedder import Embedder
from lookalike.errors import BadImage, CallLost, LookalikeError, Unavailable
from lookalike.jobs.suspects import BREAKS_EMBEDDER, MOST_DEATHS
from lookalike.records.job import Counts, Job
from lookalike.records.source import FolderSource
from lookalike.runtime.call import Deadline
from lookalike.runtime.channels import open_aio_channel, open_channel
from lookalike.store.memory.tables import Tables
from tests.servers.dying_embedder import DyingEmbedder, dying_embedder
from tests.servers.processes import free_port, until
from tests.unit.indexer.conftest import Bench, made_bench
from tests.unit.indexer.fakes import SPACES, WorkerCatalogue, WorkerVectors


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingEmbedder]:
    with dying_embedder(tmp_path_factory.mktemp("dying")) as embedder:
        yield embedder


@pytest.fixture
def bench(redis_db: str, tmp_path: Path, dying: DyingEmbedder) -> Iterator[Bench]:
    """A worker whose embedder is that process."""
    with open_channel(dying.target) as channel:
        embedder = Embedder(channel, timeout_s=10.0)
        tables = Tables()
        with made_bench(redis_db, tmp_path, WorkerCatalogue(tables), WorkerVectors(tables), embedder) as made:
            yield made


def ended(bench: Bench, job: Job) -> Job:
    def has_ended() -> bool:
        bench.worker.advance(job.id)
        return bench.run(job).state.ended

    until(has_ended, "the job ends")
    return bench.ledger.get(job.id)


class Deaths:
    """Those since it was made."""

    def __init__(self, dying: DyingEmbedder) -> None:
        self._dying, self._before = dying, dying.deaths

    def once_there_are(self, times: int) -> int:
        """The number of deaths, once there are at least `times`: a caller knows of one before the embedder's parent does."""
        until(lambda: self._dying.deaths - self._before >= times, f"{times} deaths")
        return self._dying.deaths - self._before


def test_a_job_goes_through_without_the_pictures_that_kill_the_embedder(bench: Bench, dying: DyingEmbedder) -> None:
    deaths = Deaths(dying)
    for number in range(300):
        bench.put(f"pictures/{number:04d}.png", {70: b"poison 1", 71: b"poison 2", 290: b"poison 1"}.get(number, b""))
        bench.put(f"others/{number:04d}.png", b"other %d" % number)
    job = bench.create(FolderSource(str(bench.folder / "data" / "pictures")))
    other = bench.create(FolderSource(str(bench.folder / "data" / "others")))
    job, other = ended(bench, job), ended(bench, other)
    assert (job.counts, other.counts) == (Counts(300, 297, 0, 3), Counts(300, 300))
    assert [(failure.position, failure.reason) for failure in bench.failures(job)] == [
        (position, BREAKS_EMBEDDER) for position in (70, 71, 290)
    ]
    # Each alone; and in company once at least, at most as often as there are calls with one of them.
    assert deaths.once_there_are(1 + 2 * MOST_DEATHS) <= 3 + 2 * MOST_DEATHS


def test_searches_and_thumbnails_send_it_a_few_times_only(dying: DyingEmbedder) -> None:
    deaths = Deaths(dying)

    async def run() -> None:
        async with open_aio_channel(dying.target) as channel:
            embedder = GatewayEmbedder(channel, searches=Careful(apart_s=0), thumbnails=Careful(apart_s=0))

            async def search(image: bytes) -> object:
                (found,) = await embedder.embed([image], SPACES, Deadline.after(10))
                if isinstance(found, LookalikeError):
                    raise found
                return found

            async def thumbnail(image: bytes) -> object:
                return await embedder.thumbnail(image, Deadline.after(10))

            for number, ask in enumerate((search, thumbnail), start=1):
                refused = await patiently(ask, b"poison")
                assert isinstance(refused, BadImage)
                assert refused.reason == BREAKS_EMBEDDER
                assert deaths.once_there_are(number * (1 + MOST_DEATHS)) == number * (1 + MOST_DEATHS)
                assert not isinstance(await patiently(ask, b"good"), LookalikeError)
                assert isinstance(await patiently(ask, b"poison"), BadImage)
            assert deaths.once_there_are(0) == 2 * (1 + MOST_DEATHS)

    asyncio.run(run())


async def patiently(ask: Callable[[bytes], Awaitable[object]], image: bytes) -> object:
    """What becomes of it in the end, for a caller that asks again while the embedder is away."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask(image)
            except Unavailable:
                await asyncio.sleep(0.005)
            except BadImage as refused:
                return refused


def test_a_call_that_died_differs_from_a_call_that_was_never_sent(dying: DyingEmbedder) -> None:
    async def asked(target: str) -> LookalikeError:
        async with open_aio_channel(target) as channel:
            with pytest.raises(Unavailable) as raised:
                await GatewayEmbedder(channel).thumbnail(b"poison", Deadline.after(10))
            return raised.value

    until(lambda: isinstance(asyncio.run(asked(dying.target)), CallLost), "it is there, and dies")
    nobody = f"127.0.0.1:{free_port()}"
    for target in (nobody, f"ipv4:{nobody},{nobody}", "dns:///nobody.invalid:1"):
        assert type(asyncio.run(asked(target))) is Unavailable
