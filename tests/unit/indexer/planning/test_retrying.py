"""A job over what failed in an ended one."""

from __future__ import annotations

from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from lookalike.records.source import FailuresSource, ManifestSource
from tests.unit.indexer.conftest import Bench


def test_only_what_failed_is_tried_again_with_its_id_and_metadata(bench: Bench) -> None:
    lines = [f'{{"uri": "{n:04d}.png", "id": "item {n}", "n": {2**53 + n}}}' for n in range(600)]
    lines[40] = "not json"
    bench.fill(600)
    for number in (3, 300, 301):
        bench.put(f"{number:04d}.png", b"bad bytes")
    manifest = bench.put("m.jsonl", "\n".join(lines).encode())
    first = bench.run(bench.create(ManifestSource(str(manifest))))
    assert first.counts == Counts(600, 596, 0, 4)
    for number in (3, 301):
        bench.put(f"{number:04d}.png", b"repaired")
    bench.embedder.calls.clear()
    again = bench.run(bench.create(FailuresSource(first.id)))
    assert (again.state, again.counts) == (JobState.SUCCEEDED, Counts(4, 2, 0, 2))
    assert sum(map(len, bench.embedder.calls)) == 3, "nothing else is read or embedded"
    row = bench.store.rows["siamese"]["item 301"]
    assert (dict(row.metadata), row.revision) == ({"n": 9007199254741293}, again.revision)
    assert [(failure.position, failure.id) for failure in bench.failures(again)] == [(40, ""), (300, "item 300")]
    assert bench.failures(again)[0] == bench.failures(first)[1], "what the source itself had wrong is wrong still"
    third = bench.run(bench.create(FailuresSource(again.id)))
    assert third.counts == Counts(2, 0, 0, 2), "and what failed twice can be tried a third time"


def test_failures_of_a_job_no_longer_kept_fail_the_new_one(bench: Bench) -> None:
    bench.put("a.png", b"bad")
    first = bench.run(bench.create())
    again = bench.create(FailuresSource(first.id))
    with bench.ledger.connection.commands() as client:
        client.delete(f"lookalike:job:{first.id}:recorded:0")
    done = bench.run(again)
    assert done.state is JobState.FAILED
    assert done.error_reason == "INGEST_JOB_NOT_FOUND"
    assert "no longer kept" in done.error
