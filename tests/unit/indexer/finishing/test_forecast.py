"""Dry runs: the whole source is listed, some of it is tried, and nothing is written."""

from __future__ import annotations

from datetime import timedelta

from lookalike.records.job import Counts, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import ManifestSource
from tests.unit.indexer.conftest import Bench

DRY_RUN = JobOptions(dry_run=True)


def test_nothing_is_written_and_every_item_is_accounted_for(bench: Bench) -> None:
    for number in range(600):
        bench.put(f"{number:04d}.png")
    job = bench.run(bench.create(options=DRY_RUN))
    assert (job.state, job.counts, job.skip_reasons) == (JobState.SUCCEEDED, Counts(600, 0, 600), {"dry_run": 600})
    assert job.forecast is not None
    assert (job.forecast.sampled, job.forecast.failed, job.forecast.deleted) == (100, 0, 0)
    assert job.forecast.duration > timedelta()
    assert bench.store.ids() == set()
    assert sum(map(len, bench.embedder.calls)) == 100


def test_the_sample_is_spread_over_the_source_and_stands_for_all_of_it(bench: Bench) -> None:
    rows = []
    for number in range(1000):
        bench.put(f"{number:04d}.png", b"bad" if number % 10 == 3 else b"")
        rows.append(f"{number:04d}.png,{number}")
    rows[500:500] = ["x" * 3000 + ",long"] * 40 + ["0001.png,1"] * 60
    manifest = bench.put("m.csv", ("uri,id\n" + "\n".join(rows)).encode())
    job = bench.run(bench.create(ManifestSource(str(manifest)), options=DRY_RUN))
    forecast = job.forecast
    assert forecast is not None
    assert job.counts == Counts(1100, 0, 1100)
    assert job.skip_reasons == {"dry_run": 1040, "duplicate": 60}
    assert forecast.broken == 40
    assert forecast.reasons["ITEM_INVALID"] == 40
    assert forecast.reasons["IMAGE_FORMAT_UNKNOWN"] == forecast.sample_failed
    assert 90 <= forecast.sampled <= 100
    assert abs(forecast.failed - 140) <= 60, "a tenth of a thousand, within four standard errors of a sample of 100, and 40"
    assert (job.state, bench.failures(job)) == (JobState.SUCCEEDED, [])


def test_what_is_stored_already_takes_no_room(bench: Bench) -> None:
    for number in range(40):
        bench.put(f"{number:04d}.png")
    new = bench.run(bench.create(options=DRY_RUN)).forecast
    bench.run(bench.create())
    known = bench.run(bench.create(options=DRY_RUN)).forecast
    assert new is not None
    assert known is not None
    vectors = 40 * 4 * (8 + 4)
    assert new.memory_bytes > vectors
    assert new.disk_bytes == new.memory_bytes + vectors
    assert new.passing_disk_bytes > new.disk_bytes
    assert (known.unchanged, known.memory_bytes, known.disk_bytes, known.passing_disk_bytes) == (40, 0, 0, 0)


def test_a_forecast_says_what_a_mirror_would_delete(bench: Bench) -> None:
    for name in "abc":
        bench.put(f"{name}.png")
    bench.run(bench.create())
    (bench.folder / "data/b.png").unlink()
    job = bench.run(bench.create(options=JobOptions(dry_run=True, mirror=True)))
    assert job.forecast is not None
    assert (job.forecast.deleted, job.deleted, len(bench.store.ids())) == (1, 0, 3)


def test_other_jobs_do_not_mind_a_dry_run(bench: Bench) -> None:
    bench.put("a.png")
    bench.run(bench.create())
    waiting = bench.create(options=DRY_RUN)
    held = bench.queue.sent.pop()
    job = bench.run(bench.create())
    assert job.skip_reasons == {"unchanged": 1}, "an older job that could write would have kept it from being skipped"
    bench.queue.sent.append(held)
    assert bench.run(waiting).state is JobState.SUCCEEDED
