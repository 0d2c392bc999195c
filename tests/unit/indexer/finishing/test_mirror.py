"""Jobs that mirror their source: what the source does not have is deleted at the end, and nothing else."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, cast

import pytest

from indexer.finishing import mirror as mirroring
from indexer.finishing.mirror import Mirror
from indexer.interruption import Interruption
from lookalike.errors import LeaseLost, Unavailable
from lookalike.jobs.leases import FINISH
from lookalike.names import id_from_uri
from lookalike.records.job import Counts, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource, ManifestSource
from lookalike.sources import Reader
from lookalike.writes import Writes
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection

MIRROR = JobOptions(mirror=True)


def id_of(bench: Bench, name: str) -> str:
    return id_from_uri((bench.folder / "data" / name).as_uri())


def fill(bench: Bench, *names: str) -> None:
    for name in names:
        bench.put(name)


def test_what_a_folder_no_longer_has_is_deleted_and_what_lies_elsewhere_stays(bench: Bench) -> None:
    fill(bench, "shop/a.png", "shop/b.png", "shop/deep/c.png", "shopping/d.png", "e.png")
    bench.run(bench.create())
    (bench.folder / "data/shop/b.png").unlink()
    (bench.folder / "data/shop/deep/c.png").unlink()
    (bench.folder / "data/e.png").unlink()
    fill(bench, "shop/new.png")
    job = bench.run(bench.create(FolderSource(str(bench.folder / "data/shop")), options=MIRROR))
    assert (job.state, job.counts, job.deleted) == (JobState.SUCCEEDED, Counts(2, 1, 1), 2)
    assert bench.store.ids() == {id_of(bench, name) for name in ("shop/a.png", "shop/new.png", "shopping/d.png", "e.png")}


def test_a_manifest_is_all_that_the_collection_keeps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirroring, "_AT_ONCE", 2)
    fill(bench, *"abcdefg")
    manifest = bench.put("all.csv", b"uri,id\n" + b"".join(f"{name},{name}\n".encode() for name in "abcdefg"))
    bench.run(bench.create(ManifestSource(str(manifest))))
    fewer = bench.put("fewer.csv", b"uri,id\nb,b\nf,f\n")
    job = bench.run(bench.create(ManifestSource(str(fewer)), options=MIRROR))
    assert (job.deleted, bench.store.ids()) == (5, {"b", "f"})


def test_an_item_that_fails_is_in_the_source_all_the_same(bench: Bench) -> None:
    fill(bench, "a.png", "b.png", "c.png")
    bench.run(bench.create())
    bench.put("b.png", b"bad bytes")
    (bench.folder / "data/c.png").unlink()
    job = bench.run(bench.create(options=MIRROR))
    assert (job.counts, job.deleted) == (Counts(2, 0, 1, 1), 1)
    assert bench.store.ids() == {id_of(bench, "a.png"), id_of(bench, "b.png")}


def test_a_source_that_could_not_be_listed_whole_deletes_nothing(bench: Bench) -> None:
    fill(bench, *"abc")
    manifest = bench.put("all.csv", b"uri,id\na,a\nb,b\nc,c\n")
    bench.run(bench.create(ManifestSource(str(manifest))))
    broken = bench.put("broken.jsonl", b'{"uri": "a", "id": "a"}\nnot json\n')
    job = bench.run(bench.create(ManifestSource(str(broken)), options=MIRROR))
    assert (job.state, job.counts, job.deleted) == (JobState.FAILED, Counts(2, 0, 1, 1), 0)
    assert job.error_reason == "MIRROR_INCOMPLETE"
    assert "1 of 2 items" in job.error
    assert job.id in job.error
    assert bench.store.ids() == {"a", "b", "c"}
    tried = bench.run(bench.create(ManifestSource(str(broken)), options=JobOptions(mirror=True, dry_run=True)))
    assert tried.error_reason == "MIRROR_INCOMPLETE"
    assert "would end as failed" in tried.error
    assert tried.id not in tried.error, "it has no failures to look at"


def test_a_source_that_is_empty_or_cancelled_deletes_nothing(bench: Bench) -> None:
    fill(bench, "shop/a.png")
    bench.run(bench.create())
    (bench.folder / "data/shop/a.png").unlink()
    job = bench.run(bench.create(options=MIRROR))
    assert (job.state, job.deleted) == (JobState.FAILED, 0)
    fill(bench, "shop/b.png")
    job = bench.create(options=MIRROR)
    bench.deliver()
    bench.ledger.request_cancel(job.id)
    assert bench.run(job).state in (JobState.CANCELLED, JobState.CANCELLING)
    assert len(bench.store.ids()) == 1


def test_a_worker_whose_lease_went_to_another_deletes_nothing(bench: Bench) -> None:
    fill(bench, "a.png", "b.png")
    bench.run(bench.create())
    (bench.folder / "data/b.png").unlink()
    job = bench.create(options=MIRROR)
    while bench.queue.sent[0][1] != FINISH:
        bench.deliver()
    stale = bench.leases.take(job.id, FINISH)
    assert stale is not None
    bench.leases.give_back(stale)
    assert bench.leases.take(job.id, FINISH) is not None
    mirror = Mirror(
        bench.ledger,
        bench.leases,
        Writes(bench.ledger, cast("Any", bench.catalogue), cast("Any", bench.store), bench.leases),
        cast("Any", bench.store),
        Reader(bench.artifacts, [bench.folder / "data"]),
        store_timeout_s=20,
    )
    interruption = Interruption(threading.Event(), stale)
    with pytest.raises(LeaseLost, match=job.id):
        mirror.run(bench.ledger.get(job.id), bench.catalogue.get("products"), stale, interruption)
    assert len(bench.store.ids()) == 2


def test_what_is_written_or_deleted_later_is_left_alone(bench: Bench) -> None:
    fill(bench, "a.png", "b.png", "c.png")
    bench.run(bench.create())
    (bench.folder / "data/b.png").unlink()
    (bench.folder / "data/c.png").unlink()
    job = bench.create(options=MIRROR)
    while bench.queue.sent[0][1] != FINISH:
        bench.deliver()
    b, c = id_of(bench, "b.png"), id_of(bench, "c.png")
    later = bench.ledger.take_revision("products")
    bench.store.put(dataclasses.replace(bench.store.rows["siamese"][b], revision=later))
    job = bench.run(job)
    assert (job.deleted, bench.store.ids()) == (1, {id_of(bench, "a.png"), b})
    assert c not in bench.store.ids()


def test_a_job_begun_before_ends_first_so_that_it_brings_nothing_back(bench: Bench) -> None:
    fill(bench, "shop/a.png", "old/b.png")
    older = bench.create(FolderSource(str(bench.folder / "data/old")))
    mirror = bench.create(FolderSource(str(bench.folder / "data/shop")), options=MIRROR)
    held = bench.queue.sent.pop(0)
    bench.run(mirror)
    assert bench.ledger.get(mirror.id).state is JobState.RUNNING, "its last unit waits for the older job"
    bench.queue.sent.append(held)
    bench.run(older)
    leases = bench.leases
    while not bench.ledger.get(mirror.id).state.ended:
        for unit in leases.due(mirror.id).units:
            bench.queue.sent.append((mirror.id, unit))
        bench.run(mirror)
    assert bench.ledger.get(mirror.id).state is JobState.SUCCEEDED
    assert bench.store.ids() == {id_of(bench, "shop/a.png"), id_of(bench, "old/b.png")}, "another folder is not its own"


def test_a_collection_that_was_made_anew_meanwhile_loses_nothing(bench: Bench) -> None:
    fill(bench, "a.png", "b.png")
    bench.run(bench.create())
    (bench.folder / "data/b.png").unlink()
    job = bench.create(options=MIRROR)
    while bench.queue.sent[0][1] != FINISH:
        bench.deliver()
    bench.catalogue.collections["products"] = a_collection(uid="uid 2")
    job = bench.run(job)
    assert job.deleted == 0
    assert id_of(bench, "b.png") in bench.store.ids()


def test_a_store_that_is_away_makes_the_last_unit_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench, "a.png", "b.png")
    bench.run(bench.create())
    (bench.folder / "data/b.png").unlink()
    job = bench.create(options=MIRROR)
    while bench.queue.sent[0][1] != FINISH:
        bench.deliver()

    def away(*_: object, **__: object) -> list[str]:
        raise Unavailable("milvus", "is away")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "matching_ids", away)
        bench.deliver()
    assert bench.ledger.get(job.id).state is JobState.RUNNING
    while not bench.ledger.get(job.id).state.ended:
        bench.worker.advance(job.id)
        bench.run(job)
    assert bench.ledger.get(job.id).deleted == 1
