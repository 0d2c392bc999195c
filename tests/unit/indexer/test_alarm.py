"""A stall is told once, and again only after the job has gone on."""

from __future__ import annotations

from structlog.testing import capture_logs

from indexer.reconciler import Reconciler
from lookalike.jobs.ledger import connect_ledger
from tests.unit.indexer.conftest import Bench


def no_progress(bench: Bench, job_id: str) -> None:
    with bench.ledger.connection.commands() as client:
        client.hset(f"lookalike:job:{job_id}", "progress_ms", 1)


def test_a_stall_is_told_once_and_counted_until_it_is_over(bench: Bench, redis_db: str) -> None:
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
