"""A picture that the embedder dies of, hangs over or breaks down over fails alone; nothing else does."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable

import pytest

from lookalike.errors import BadImage, CallLost, DeadlineExceeded, Internal, LookalikeError, Unavailable
from lookalike.jobs.retrying import retry_failures
from lookalike.jobs.suspects import BREAKS_EMBEDDER, KNOWN_GOOD, MOST_DEATHS, Suspects
from lookalike.records.job import Counts, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource, ManifestSource
from lookalike.spaces import Metric, ModelSettings, Space
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection

POISON = b"poison"
DIED = CallLost("embedder", "Socket closed")


def fill(bench: Bench, count: int, poison: tuple[int, ...] = (), content: bytes = POISON) -> None:
    for number in range(count):
        bench.put(f"{number:04d}.png", content + b" %d" % number if number in poison else b"")


def ended(bench: Bench, job: Job) -> Job:
    def has_ended() -> bool:
        bench.worker.advance(job.id)
        return bench.run(job).state.ended

    until(has_ended, "the job ends")
    return bench.ledger.get(job.id)


def fails_at(bench: Bench, error: LookalikeError = DIED, start: bytes = POISON) -> Counter[bytes]:
    """Have the embedder end in `error` at every call with such a picture; how often it did, by picture."""
    deaths: Counter[bytes] = Counter()

    def during(_: int) -> None:
        if found := [image for image in bench.embedder.calls[-1] if image.startswith(start)]:
            deaths.update(found)
            raise error

    bench.embedder.during = during
    return deaths


@pytest.mark.parametrize("error", [DIED, DeadlineExceeded("embedder did not answer in time"), Internal("incident 1")])
def test_the_picture_fails_with_a_reason_after_a_few_tries_and_the_rest_goes_through(
    bench: Bench, error: LookalikeError
) -> None:
    fill(bench, 300, poison=(7,))
    deaths = fails_at(bench, error)
    job = ended(bench, bench.create())
    assert (job.state, job.counts) == (JobState.SUCCEEDED, Counts(300, 299, 0, 1))
    (failure,) = bench.failures(job)
    assert (failure.position, failure.reason) == (7, BREAKS_EMBEDDER)
    assert failure.message == (
        "image: the embedder died or did not answer each of the 3 times that it was given this picture alone; "
        "it is not tried again for 60 minutes"
    )
    assert len(bench.store.ids()) == 299
    assert deaths.total() == 1 + MOST_DEATHS, "once with its neighbours, then alone"


def test_the_rest_is_written_before_the_picture_is_tried_alone(bench: Bench) -> None:
    fill(bench, 40, poison=(7,))
    deaths, written = fails_at(bench), list[int]()

    def during(number: int, fail: Callable[[int], object] = bench.embedder.during) -> None:
        if deaths and POISON + b" 7" in bench.embedder.calls[-1]:
            written.append(len(bench.store.rows["siamese"]))
        fail(number)

    bench.embedder.during = during
    assert ended(bench, bench.create()).counts == Counts(40, 39, 0, 1)
    assert written[0] >= 8, "what was in another call"
    assert written[-1] == 39


def test_several_of_one_chunk_and_copies_of_one_cost_each_content_its_tries_once(bench: Bench) -> None:
    for number in range(300):
        contents = {5: b"poison 1", 6: b"poison 1", 100: b"poison 2", 290: b"poison 1", 299: b"poison 3"}
        bench.put(f"{number:04d}.png", contents.get(number, b""))
    deaths = fails_at(bench)
    job = ended(bench, bench.create())
    assert job.counts == Counts(300, 295, 0, 5)
    assert [failure.position for failure in bench.failures(job)] == [5, 6, 100, 290, 299]
    assert all(count <= 2 + MOST_DEATHS + 1 for count in deaths.values()), deaths


def test_the_next_job_does_not_send_it_again_until_it_is_forgotten(bench: Bench) -> None:
    fill(bench, 40, poison=(7,))
    deaths = fails_at(bench)
    job = ended(bench, bench.create())
    deaths.clear()

    def retried(number: int) -> Job:
        return ended(bench, retry_failures(bench.ledger, a_collection, bench.queue, job.id, f"retry-{number}"))  # type: ignore[arg-type]

    again = retried(1)
    assert (again.counts, deaths.total()) == (Counts(1, 0, 0, 1), 0)
    assert [failure.reason for failure in bench.failures(again)] == [BREAKS_EMBEDDER]
    with bench.ledger.connection.commands() as client:
        client.delete("lookalike:suspects", "lookalike:suspects:seen")
    bench.embedder.during = lambda _: None
    assert retried(2).counts == Counts(1, 1), "the embedder has been repaired"


@pytest.mark.parametrize(
    "error",
    [Unavailable("embedder", "refused"), Unavailable("embedder", "it is still warming up"), DIED, DeadlineExceeded("late")],
)
def test_an_embedder_that_fails_whatever_it_is_given_fails_no_picture(bench: Bench, error: LookalikeError) -> None:
    fill(bench, 40)
    fails_at(bench, error, start=b"")
    job = bench.create()

    def tried() -> bool:
        bench.run(job)
        bench.worker.advance(job.id)
        return len(bench.embedder.calls) > 20

    until(tried, "it was tried again and again")
    assert not bench.ledger.get(job.id).state.ended
    bench.embedder.during = lambda _: None
    assert ended(bench, job).counts == Counts(40, 40)


def test_an_embedder_that_is_killed_again_and_again_fails_no_good_picture(bench: Bench) -> None:
    fill(bench, 300, poison=(7, 8, 260))
    fails_at(bench)
    chance, poisonous = random.Random(1), bench.embedder.during

    def during(number: int) -> None:
        poisonous(number)
        if chance.random() < 0.01:
            raise DIED

    bench.embedder.during = during
    job = ended(bench, bench.create())
    assert job.counts == Counts(300, 297, 0, 3)
    assert [failure.position for failure in bench.failures(job)] == [7, 8, 260]


def test_a_picture_that_was_with_it_when_the_embedder_died_is_acquitted_by_one_answer(bench: Bench) -> None:
    fill(bench, 10)
    bench.embedder.errors = [DIED]
    assert ended(bench, bench.create()).counts == Counts(10, 10)
    assert [len(call) for call in bench.embedder.calls] == [10, *[1] * 20], "each alone, after a good one"
    hashes = [hashlib.sha256(b"picture %04d.png" % number).hexdigest() for number in range(10)]
    assert Suspects(bench.ledger.connection).deaths(hashes) == [None] * 10


def test_others_are_worked_on_while_somebody_tries_a_suspect(bench: Bench) -> None:
    fill(bench, 40, poison=(7,))
    fails_at(bench)
    job = bench.create()
    bench.deliver()
    bench.deliver()
    with Suspects(bench.ledger.connection).alone(timeout_s=1):
        bench.worker.ingest_chunk(job.id, 0)  # Returns, though it cannot have its turn.
        bench.put("other/1.png")
        other = bench.put("other/m.csv", b"uri\n1.png\n")
        assert bench.ledger.get(job.id).chunks_done == 0
        assert ended(bench, bench.create(ManifestSource(str(other)))).counts == Counts(1, 1)
    assert ended(bench, job).counts.failed == 1


def test_a_dry_run_counts_it_among_those_that_would_fail(bench: Bench) -> None:
    fill(bench, 40, poison=(7,))
    fails_at(bench)
    job = ended(bench, bench.create(options=JobOptions(dry_run=True)))
    assert job.forecast is not None
    assert job.forecast.reasons == {BREAKS_EMBEDDER: 1}


def test_a_re_embedding_goes_on_without_it(bench: Bench) -> None:
    fill(bench, 40, poison=(7,))
    bench.run(bench.create())
    fails_at(bench)
    bench.embedder.models = {"larger": Space("siamese", 6, Metric.COSINE, "e" * 16, ModelSettings("larger"))}
    job = ended(bench, bench.create(CollectionSource(2), options=JobOptions(model="larger", allow_missing=True)))
    assert (job.state, job.counts) == (JobState.SUCCEEDED, Counts(40, 39, 0, 1))
    assert [failure.reason for failure in bench.failures(job)] == [BREAKS_EMBEDDER]


class TestSuspects:
    HASHES = tuple(hashlib.sha256(name).hexdigest() for name in (b"a", b"b", b"c"))

    def test_deaths_are_counted_by_content_and_kind_and_shared(self, bench: Bench) -> None:
        mine, theirs = Suspects(bench.ledger.connection), Suspects(bench.ledger.connection)
        thumbnails = Suspects(bench.ledger.connection, "thumbnail")
        a, b, c = self.HASHES
        mine.add([a, b])
        assert theirs.deaths([a, b, c]) == [0, 0, None]
        assert [theirs.died(a), mine.died(a)] == [1, 2]
        mine.add([a, b])
        assert theirs.deaths([c, b, a]) == [None, 0, 2], "to be suspected anew takes nothing back"
        assert thumbnails.deaths([a]) == [None]
        theirs.acquit(a)
        assert mine.deaths([a, b]) == [None, 0]
        assert mine.deaths([]) == []

    def test_they_are_forgotten_after_a_while_and_bounded(self, bench: Bench) -> None:
        a, b, _ = self.HASHES
        suspects = Suspects(bench.ledger.connection)
        suspects.add([a])
        with bench.ledger.connection.commands() as client:
            client.zadd("lookalike:suspects:seen", {f"embed:{a[:32]}": 1})
        assert suspects.deaths([a]) == [None]
        suspects.add([b])
        with bench.ledger.connection.commands() as client:
            assert client.hkeys("lookalike:suspects") == [f"embed:{b[:32]}"]
            assert 0 < client.pttl("lookalike:suspects") <= 3_600_000
            client.zincrby("lookalike:suspects:seen", -1000, f"embed:{b[:32]}")
        bench.ledger.connection.run("suspect", 3_600_000, 1, 0, "another")
        assert suspects.deaths([b]) == [None], "the oldest goes"

    def test_a_single_chunk_at_a_time_has_a_suspect_with_an_embedder(self, bench: Bench) -> None:
        with (
            Suspects(bench.ledger.connection).alone(timeout_s=1),
            pytest.raises(Unavailable),
            Suspects(bench.ledger.connection, "thumbnail").alone(timeout_s=0),
        ):
            pass


def test_the_known_good_picture_is_one() -> None:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(KNOWN_GOOD)) as picture:
        picture.load()
        assert (picture.format, picture.size, picture.mode) == ("PNG", (8, 8), "L")
    assert BadImage("x", reason=BREAKS_EMBEDDER).reason.startswith("IMAGE_"), "a client gets a BadImage back"
