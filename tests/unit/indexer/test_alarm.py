"""A stall is told once, and again only after the job has gone on."""

from __future__ import annotations

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from indexer.reconciler import Reconciler
from lookalike.jobs.ledger import connect_ledger
from tests.unit.indexer.conftest import Bench


def gauge(name: str) -> float:
    return float(REGISTRY.get_sample_value(f"lookalike_indexer_{name}") or 0.0)


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
    assert (gauge("stalled_jobs"), gauge("oldest_job_seconds") > 0) == (0, True)
    no_progress(bench, job.id)
    assert rounds(3) == [job.id]
    assert gauge("stalled_jobs") == 1
    bench.deliver()
    assert rounds() == []
    assert gauge("stalled_jobs") == 0
    no_progress(bench, job.id)
    assert rounds(2) == [job.id], "it stands still anew"
    assert not other.round()
    assert (gauge("stalled_jobs"), gauge("oldest_job_seconds")) == (0, 0), "who stands by counts nothing"
    bench.run(job)
    assert rounds() == []
    assert gauge("oldest_job_seconds") == 0
