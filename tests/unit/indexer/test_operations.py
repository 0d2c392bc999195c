"""Operations on jobs, as a worker carries them out: pausing, trying again what failed."""

from __future__ import annotations

import threading

from indexer.worker import ABANDONED, Worker
from lookalike.records.collection import Collection
from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from lookalike.records.source import FailuresSource, ManifestSource
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection


def fill(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.put(f"{number:04d}.png")


class TestPausing:
    def test_the_chunk_under_way_is_finished_and_no_other_begun(self, bench: Bench) -> None:
        fill(bench, 600)
        job = bench.create()
        bench.deliver()
        bench.embedder.during = lambda _: bench.ledger.pause(job.id) and None
        paused = bench.run(job)
        assert (paused.state, paused.paused, paused.chunks_done) == (JobState.RUNNING, True, 1)
        bench.embedder.during = lambda _: None
        bench.ledger.resume(job.id)
        bench.worker.advance(job.id)
        done = bench.run(job)
        assert (done.state, done.counts) == (JobState.SUCCEEDED, Counts(600, 600))
        assert sum(bench.store.writes) == 600


class TestRetrying:
    def test_only_what_failed_is_tried_again_with_its_id_and_metadata(self, bench: Bench) -> None:
        lines = [f'{{"uri": "{n:04d}.png", "id": "item {n}", "n": {n}}}' for n in range(600)]
        lines[40] = "not json"
        fill(bench, 600)
        for number in (3, 300, 301):
            bench.put(f"{number:04d}.png", b"bad bytes")
        manifest = bench.put("m.jsonl", "\n".join(lines).encode())
        first = bench.run(bench.create(ManifestSource(str(manifest))))
        assert first.counts == Counts(600, 596, 0, 4)
        for number in (3, 301):
            bench.put(f"{number:04d}.png", b"mended")
        bench.embedder.calls.clear()
        again = bench.run(bench.create(FailuresSource(first.id)))
        assert (again.state, again.counts) == (JobState.SUCCEEDED, Counts(4, 2, 0, 2))
        assert sum(map(len, bench.embedder.calls)) == 3, "nothing else is read or embedded"
        row = bench.store.rows["siamese"]["item 301"]
        assert (dict(row.metadata), row.revision) == ({"n": 301}, again.revision)
        assert [(failure.position, failure.id) for failure in bench.failures(again)] == [(40, ""), (300, "item 300")]
        assert bench.failures(again)[0] == bench.failures(first)[1], "what the source itself had wrong is wrong still"
        third = bench.run(bench.create(FailuresSource(again.id)))
        assert third.counts == Counts(2, 0, 0, 2), "and what failed twice can be tried a third time"

    def test_failures_of_a_job_no_longer_kept_fail_the_new_one(self, bench: Bench) -> None:
        bench.put("a.png", b"bad")
        first = bench.run(bench.create())
        again = bench.create(FailuresSource(first.id))
        with bench.ledger.connection.commands() as client:
            client.delete(f"lookalike:job:{first.id}:recorded:0")
        done = bench.run(again)
        assert done.state is JobState.FAILED
        assert done.error_reason == "INGEST_JOB_NOT_FOUND"
        assert "no longer kept" in done.error


class TestTurns:
    def test_one_plan_at_a_time_and_the_other_waits_without_an_attempt(self, bench: Bench) -> None:
        fill(bench, 3)
        first, second = bench.create(), bench.create()
        listing, go_on = threading.Event(), threading.Event()

        def wait(*_: object, **__: object) -> Collection:
            listing.set()
            go_on.wait(10)
            return a_collection()

        get, bench.catalogue.get = bench.catalogue.get, wait  # type: ignore[assignment]
        planner = threading.Thread(target=bench.worker.plan, args=(first.id,))
        planner.start()
        assert listing.wait(10)
        bench.catalogue.get = get  # type: ignore[method-assign]
        bench.worker.plan(second.id)
        assert bench.ledger.get(second.id).state is JobState.PENDING, "its thread is free for chunks"
        go_on.set()
        planner.join()
        bench.queue.sent.clear()
        until(lambda: bench.worker.advance(second.id) or bench.queue.sent, "the other plan is sent again")
        assert bench.run(second).state is JobState.SUCCEEDED

    def test_a_chunk_that_takes_too_long_is_laid_down_and_given_up_after_a_few_attempts(self, bench: Bench) -> None:
        fill(bench, 40)
        job = bench.create()
        bench.deliver()
        hasty = Worker(bench.worker._parts, max_attempts=2, chunk_deadline_s=0.0)
        for attempt in (1, 2, 3):
            until(lambda: bench.leases.due(job.id).units or bench.queue.sent, f"attempt {attempt}")
            bench.queue.sent.clear()
            hasty.ingest_chunk(job.id, 0)
        done = bench.ledger.get(job.id)
        assert (done.counts, bench.store.writes) == (Counts(40, 0, 0, 40), [])
        assert {(one.reason, "ran out of time" in one.message) for one in bench.failures(job)} == {(ABANDONED, True)}
