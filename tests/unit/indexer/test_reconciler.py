"""Jobs go on whatever was lost, and a stall is reported once, and again only after the job has gone on."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from indexer.reconciler import Reconciler
from lookalike.errors import Unavailable
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource, ManifestSource
from tests.unit.indexer.conftest import Bench


def no_progress(bench: Bench, job_id: str) -> None:
    with bench.ledger.connection.commands() as client:
        client.hset(f"lookalike:job:{job_id}", "progress_ms", 1)


def test_a_stall_is_reported_once_and_counted_until_it_is_over(bench: Bench, redis_db: str) -> None:
    for number in range(300):
        bench.put(f"{number:04d}.png")
    job = bench.create()
    reconciler = Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01)
    other = Reconciler(connect_ledger(redis_db), bench.artifacts, bench.worker, tick_s=0.01)

    def rounds(count: int = 1) -> list[str]:
        with capture_logs() as logged:
            for _ in range(count):
                reconciler.round()
        return [line["job"] for line in logged if line["event"] == "ingest job stands still"]

    assert rounds() == []
    no_progress(bench, job.id)
    assert rounds(3) == [job.id]
    bench.deliver()
    assert rounds() == []
    no_progress(bench, job.id)
    assert rounds(2) == [job.id], "it stands still anew"
    assert not other.round()
    bench.run(job)
    assert rounds() == []


def test_a_single_worker_does_the_rounds_and_another_takes_over(bench: Bench) -> None:
    first = Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01)
    second = Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01)
    assert first.round()
    assert not second.round()
    first.start()
    first.stop()
    assert second.round()


def test_a_job_whose_messages_were_all_lost_is_finished(bench: Bench) -> None:
    bench.fill(3)
    job, _ = bench.ledger.create("products", "uid 1", FolderSource(str(bench.folder / "data")), "r", send_grace_s=0)
    reconciler = Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01)
    reconciler.round()
    assert bench.run(job).state is JobState.SUCCEEDED


def test_a_job_whose_close_was_lost_is_closed_and_one_that_cannot_go_on_holds_up_no_other(bench: Bench) -> None:
    bench.fill(3)
    job = bench.create()
    flush, bench.store.flush = bench.store.flush, lambda *_, **__: (_ for _ in ()).throw(Unavailable("milvus", "away"))  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        bench.run(job)
    other = bench.create(ManifestSource(str(bench.put("m.csv", b'uri\n"x\n'))))
    bench.queue.sent.clear()
    bench.worker.plan(other.id)
    advance, bench.worker.advance = bench.worker.advance, lambda job_id: None  # type: ignore[method-assign]
    bench.worker.ingest_chunk(other.id, 0)
    bench.worker.advance = advance  # type: ignore[method-assign]
    reconciler = Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01)
    reconciler.round()
    assert bench.ledger.get(job.id).state is JobState.RUNNING
    assert bench.ledger.get(other.id).state is JobState.SUCCEEDED
    bench.store.flush = flush  # type: ignore[method-assign]
    reconciler.round()
    assert bench.ledger.get(job.id).state is JobState.SUCCEEDED


def test_files_of_jobs_no_longer_kept_are_deleted(bench: Bench) -> None:
    bench.fill(2)
    job = bench.run(bench.create())
    assert bench.artifacts.names(f"jobs/{job.id}")
    with bench.ledger.connection.commands() as client:
        client.delete(f"lookalike:job:{job.id}")
    Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01).round()
    assert bench.artifacts.names(f"jobs/{job.id}") == []
    assert Ledger(bench.ledger.connection).list(None, 10, "") == ([], "")
