"""What a worker does with plans and chunks, and what it does when things go wrong."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.worker import ABANDONED, MANIFEST_UNREADABLE, Worker
from lookalike.errors import DeadlineExceeded, FingerprintMismatch, Internal, NotFound, Overloaded, Unavailable
from lookalike.items import ITEM_INVALID
from lookalike.jobs.leases import Leases, LeaseSettings
from lookalike.jobs.stored_job import source_of
from lookalike.jobs.uploads import Uploads
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL
from lookalike.records.image import StoredImage
from lookalike.records.job import Counts
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource, ManifestSource, UploadItem, UploadSource
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection


class TestJobs:
    def test_a_folder_is_planned_embedded_and_written_to_every_space(self, bench: Bench) -> None:
        ids = bench.fill(600)
        job = bench.run(bench.create())
        assert job.state is JobState.SUCCEEDED
        assert (job.counts, job.chunks_total, job.chunks_done) == (Counts(600, 600), 3, 3)
        assert bench.store.ids() == set(ids)
        assert bench.store.flushes == 1
        image = bench.store.rows["siamese"][ids[0]]
        assert (image.revision, image.uri) == (job.revision, (bench.folder / "data" / "0000.png").as_uri())

    def test_doubled_and_foreign_messages_change_nothing(self, bench: Bench) -> None:
        bench.fill(300)
        job = bench.create()
        bench.queue.sent *= 3
        while bench.queue.sent:
            bench.queue.sent.append(bench.queue.sent[0])
            bench.deliver()
            bench.deliver()
            bench.queue.sent = list(dict.fromkeys(bench.queue.sent))
            if bench.ledger.get(job.id).state.ended:
                break
        bench.worker.ingest_chunk(job.id, 0)
        bench.worker.ingest_chunk(job.id, 99)
        bench.worker.plan(job.id)
        bench.worker.ingest_chunk("no such job", 0)
        assert bench.ledger.get(job.id).counts == Counts(300, 300)
        assert sum(bench.store.writes) == 300

    def test_bad_items_fail_alone_each_with_its_reason(self, bench: Bench, tmp_path: Path) -> None:
        bench.fill(20)
        bench.put("0005.png", b"bad bytes")
        bench.put("0006.png").write_bytes(b"")
        (bench.folder / "data" / "0007.png").unlink()
        (bench.folder / "data" / "0007.png").symlink_to("/etc/hostname")
        job = bench.run(bench.create())
        assert job.counts == Counts(20, 17, 0, 3)
        assert [(failure.position, failure.reason) for failure in bench.failures(job)] == [
            (5, "IMAGE_FORMAT_UNKNOWN"),
            (6, "IMAGE_EMPTY"),
            (7, "SOURCE_FORBIDDEN"),
        ]
        assert bench.failures(job)[0].uri.endswith("/0005.png")

    def test_what_is_left_out_is_counted_by_reason_and_what_is_not_read_fails_by_name(self, bench: Bench) -> None:
        left_out = ("e.gif", "@eaDir/a.png", "#recycle/b.png", ".git/c.png", "x/f.gif", "y/.g.png")
        for name in ("a.png", "b.MPO", "c.dng", "d.psd", *left_out):
            bench.put(name)
        source = FolderSource(str(bench.folder / "data"), exclude=("*.gif",))
        job = bench.run(bench.create(source))
        assert job.source == source
        assert job.counts == Counts(submitted=10, indexed=2, skipped=6, failed=2)
        assert job.skip_reasons == {"system_file": 2, "hidden": 2, "excluded": 2}
        assert [(failure.uri.rpartition("/")[2], failure.reason) for failure in bench.failures(job)] == [
            ("c.dng", "IMAGE_FORMAT_UNKNOWN"),
            ("d.psd", "IMAGE_FORMAT_UNKNOWN"),
        ]

    def test_what_a_client_leaves_out_of_its_upload_is_counted_too(self, bench: Bench) -> None:
        upload = Uploads(bench.artifacts).begin("products")
        upload.add(UploadItem("one", "/home/me/a.png", content=b"good"))
        upload.add(UploadItem(uri="/home/me/.b.png", problem="is hidden", problem_reason="SOURCE_HIDDEN"))
        job = bench.run(bench.create(UploadSource(upload.finish().id)))
        assert (job.counts, job.skip_reasons) == (Counts(2, 1, 1, 0), {"hidden": 1})

    def test_metadata_that_cannot_be_stored_fails_its_own_item_only(self, bench: Bench) -> None:
        for name in "abc":
            bench.put(f"{name}.png")
        deep = "[" * 60 + "]" * 60
        lines = ['{"uri": "a.png", "x": 1}', f'{{"uri": "b.png", "x": {deep}}}', '{"uri": "c.png", "x": -9223372036854775809}']
        manifest = bench.put("m.jsonl", "\n".join(lines).encode())
        job = bench.run(bench.create(ManifestSource(str(manifest))))
        assert (job.state, job.counts) == (JobState.SUCCEEDED, Counts(3, 1, 0, 2))
        assert [(failure.position, failure.reason) for failure in bench.failures(job)] == [(1, ITEM_INVALID), (2, ITEM_INVALID)]

    def test_images_that_the_store_refuses_fail_alone(self, bench: Bench) -> None:
        ids = bench.fill(300)
        bench.store.refused = {ids[7], ids[8], ids[299]}
        job = bench.run(bench.create())
        assert (job.state, job.counts) == (JobState.SUCCEEDED, Counts(300, 297, 0, 3))
        assert [(failure.position, failure.reason) for failure in bench.failures(job)] == [
            (position, "INVALID_ARGUMENT") for position in (7, 8, 299)
        ]
        assert bench.store.ids() == set(ids) - bench.store.refused

    def test_of_equal_ids_the_first_that_can_be_used_wins(self, bench: Bench) -> None:
        for name in "abc":
            bench.put(f"{name}.png")
        manifest = bench.put("m.csv", b"uri,id\n" + b"x" * 3000 + b",one\na.png,one\nb.png,one\nb.png,two\nc.png,one\n")
        job = bench.run(bench.create(ManifestSource(str(manifest))))
        assert job.counts == Counts(5, 2, 2, 1)
        assert job.skip_reasons == {"duplicate": 2}
        assert bench.store.rows["siamese"]["one"].uri.endswith("/a.png")

    def test_uploads_are_read_from_the_artifacts_and_failures_name_the_clients_file(self, bench: Bench) -> None:
        upload = Uploads(bench.artifacts).begin("products")
        upload.add(UploadItem("one", "C:\\one.png", content=b"good", metadata={"x": 1}))
        upload.add(UploadItem("two", "C:\\two.png", content=b"bad"))
        upload.add(UploadItem("three", "C:\\three.png", problem="permission denied"))
        upload.add(UploadItem("four", content=b"no name"))
        job = bench.run(bench.create(UploadSource(upload.finish().id)))
        assert job.counts == Counts(4, 2, 0, 2)
        assert [(f.uri, f.reason) for f in bench.failures(job)] == [
            ("C:\\two.png", "IMAGE_FORMAT_UNKNOWN"),
            ("C:\\three.png", "CLIENT_PROBLEM"),
        ]
        one, four = (bench.store.rows["histogram"][id_] for id_ in ("one", "four"))
        assert one.uri == "C:\\one.png", "where it came from, for people"
        assert four.uri == bench.artifacts.original_uri(four.sha256), "nobody said where it came from"
        assert bench.artifacts.read(bench.artifacts.original_path(one.sha256)) == b"good"

    def test_what_is_uploaded_again_from_the_same_place_is_unchanged(self, bench: Bench) -> None:
        counts = []
        for name in ("a.png", "a.png", "moved.png"):
            upload = Uploads(bench.artifacts).begin("products")
            upload.add(UploadItem("one", f"file:///home/me/{name}", content=b"good"))
            counts.append(bench.run(bench.create(UploadSource(upload.finish().id))).counts)
        assert counts == [Counts(1, 1), Counts(1, 0, 1), Counts(1, 1)]
        assert bench.store.rows["siamese"]["one"].uri == "file:///home/me/moved.png"

    def test_a_source_that_holds_nothing_fails_the_job(self, bench: Bench) -> None:
        bench.put("notes.txt")
        job = bench.run(bench.create())
        assert (job.state, job.counts) == (JobState.FAILED, Counts())
        assert job.error_reason == "SOURCE_EMPTY"
        assert "holds nothing to ingest" in job.error
        assert bench.store.flushes == 0

    @pytest.mark.parametrize(
        ("kind", "name", "content", "reason"),
        [
            ("folder", "none", None, "SOURCE_NOT_FOUND"),
            ("folder", "file.png", b"x", "INVALID_ARGUMENT"),
            ("folder", "../..", None, "SOURCE_FORBIDDEN"),
            ("manifest", "none.csv", None, "SOURCE_NOT_FOUND"),
            ("manifest", "m.csv", b"url\nx\n", "MANIFEST_INVALID"),
            ("upload", "0" * 16, None, "UPLOAD_NOT_FOUND"),
        ],
    )
    def test_a_source_that_cannot_be_read_fails_the_job_with_a_reason(
        self, bench: Bench, kind: str, name: str, content: bytes | None, reason: str
    ) -> None:
        if content is not None:
            bench.put(name, content)
        uri = name if kind == "upload" else str(bench.folder / "data" / name)
        job = bench.run(bench.create(source_of(json.dumps({"kind": kind, "uri": uri, "labels_from_folders": False}))))
        assert job.state is JobState.FAILED
        assert job.error_reason == reason
        assert bench.artifacts.names(f"jobs/{job.id}") == [], "nothing is left of the plan"


class TestCalls:
    def test_no_call_is_larger_than_allowed(self, bench: Bench) -> None:
        bench.fill(70)
        bench.put("0003.png", b"x" * (MAX_CALL_BYTES - 100))
        bench.put("0004.png", b"y" * (MAX_CALL_BYTES + 100))
        job = bench.run(bench.create())
        assert job.counts.indexed == 70
        for call in bench.embedder.calls:
            assert len(call) <= MAX_IMAGES_PER_CALL
            assert sum(map(len, call)) <= MAX_CALL_BYTES or len(call) == 1
        assert len(bench.embedder.calls) <= 6

    @pytest.mark.parametrize("error", [Unavailable("embedder", "away"), Overloaded("full"), DeadlineExceeded("late")])
    def test_what_passes_is_tried_again_and_counts_nothing_twice(self, bench: Bench, error: Unavailable) -> None:
        bench.fill(100)
        bench.embedder.errors = [error, error]
        bench.store.errors = [Unavailable("milvus", "away")]
        job = bench.create()
        until(lambda: bench.run(job).state.ended or bench.worker.advance(job.id), "the job ends")
        assert bench.ledger.get(job.id).counts == Counts(100, 100)
        assert bench.embedder.errors == bench.store.errors == []

    def test_another_fingerprint_fails_the_job_and_the_rest_is_not_attempted(self, bench: Bench) -> None:
        bench.fill(600)
        bench.embedder.errors = [FingerprintMismatch("siamese", "a", "b")]
        job = bench.run(bench.create())
        assert job.state is JobState.FAILED
        assert job.error_reason == "FINGERPRINT_MISMATCH"
        assert job.counts.submitted == job.counts.indexed + job.counts.skipped == 600
        assert job.skip_reasons == {"not_attempted": job.counts.skipped}

    def test_a_model_that_is_not_served_fails_the_job(self, bench: Bench) -> None:
        bench.fill(3)
        bench.embedder.errors = [NotFound("model", "small")]
        job = bench.run(bench.create())
        assert job.error_reason == "MODEL_NOT_FOUND"


class TestOrder:
    def test_what_is_unchanged_is_skipped_and_what_changed_is_written(self, bench: Bench) -> None:
        ids = bench.fill(10)
        first = bench.run(bench.create())
        bench.put("0002.png", b"another picture")
        bench.store.rows["siamese"].pop(ids[3])
        row = bench.store.rows["histogram"][ids[4]]
        bench.store.put(dataclasses.replace(row, metadata={"label": "changed"}))
        job = bench.run(bench.create())
        assert job.counts == Counts(10, 3, 7)
        assert job.skip_reasons == {"unchanged": 7}
        assert bench.store.rows["siamese"][ids[3]].revision == job.revision
        assert bench.store.rows["siamese"][ids[0]].revision == first.revision

    def test_what_a_worker_wrote_before_it_died_counts_as_indexed(self, bench: Bench) -> None:
        bench.fill(300)
        job = bench.create()
        bench.deliver()
        bench.worker.ingest_chunk(job.id, 1)
        record, bench.leases.record = bench.leases.record, lambda *_: False  # type: ignore[method-assign]
        bench.deliver()
        assert sum(bench.store.writes) == 300
        bench.leases.record = record  # type: ignore[method-assign]
        bench.ledger.connection.run("release", job.id, "0", owner(bench, job.id), 0, 0, 0)
        bench.worker.advance(job.id)
        assert bench.run(job).counts == Counts(300, 300)
        assert sum(bench.store.writes) == 300, "nothing is embedded and written twice"

    def test_the_unchanged_are_written_anew_while_an_older_job_could_write_over_them(self, bench: Bench) -> None:
        bench.fill(4)
        bench.run(bench.create())
        bench.create()
        bench.queue.sent.clear()
        assert bench.run(bench.create()).counts == Counts(4, 4)

    def test_what_a_later_job_wrote_is_left_alone(self, bench: Bench) -> None:
        ids = bench.fill(4)
        job = bench.create()
        later = StoredImage(ids[1], "file:///later", {}, "0" * 64, bench.ledger.take_revision("products"), datetime.now(UTC))
        bench.embedder.during = lambda _: bench.store.put(later, ["histogram"])
        done = bench.run(job)
        assert done.counts == Counts(4, 3, 1)
        assert done.skip_reasons == {"superseded": 1}
        assert bench.store.rows["histogram"][ids[1]] == later

    def test_what_was_deleted_meanwhile_stays_deleted(self, bench: Bench) -> None:
        ids = bench.fill(4)
        job = bench.create()
        bench.embedder.during = lambda _: bench.ledger.bury("products", ids[:2], bench.ledger.take_revision("products"))
        done = bench.run(job)
        assert done.skip_reasons == {"superseded": 2}
        assert bench.store.ids() == set(ids[2:])

    @pytest.mark.parametrize("when", ["before", "during"])
    def test_a_job_whose_collection_is_gone_is_cancelled_and_writes_nothing(self, bench: Bench, when: str) -> None:
        bench.fill(4)
        job = bench.create()
        another = {"products": a_collection(uid="another uid")}
        if when == "before":
            bench.catalogue.collections = {}
        else:
            bench.embedder.during = lambda _: setattr(bench.catalogue, "collections", another)
        done = bench.run(job)
        bench.worker.advance(job.id) if not done.state.ended else None
        done = bench.ledger.get(job.id)
        assert done.state is JobState.CANCELLED
        assert bench.store.writes == []
        assert done.counts.skipped == done.counts.submitted


class TestPausing:
    def test_the_chunk_under_way_is_finished_and_no_other_begun(self, bench: Bench) -> None:
        bench.fill(600)
        job = bench.create()
        bench.deliver()
        bench.embedder.during = lambda _: bench.ledger.pause(job.id)
        paused = bench.run(job)
        assert (paused.state, paused.paused, paused.chunks_done) == (JobState.RUNNING, True, 1)
        bench.embedder.during = lambda _: None
        bench.ledger.resume(job.id)
        bench.worker.advance(job.id)
        done = bench.run(job)
        assert (done.state, done.counts) == (JobState.SUCCEEDED, Counts(600, 600))
        assert sum(bench.store.writes) == 600


class TestTrouble:
    def test_a_worker_that_lost_its_lease_writes_and_counts_nothing(self, bench: Bench) -> None:
        bench.fill(4)
        job = bench.create()
        bench.deliver()

        def taken_away(_: int) -> None:
            bench.ledger.connection.run("release", job.id, "0", owner(bench, job.id), 0, 0, 0)

        bench.embedder.during = taken_away
        bench.deliver()
        assert bench.store.writes == []
        assert bench.ledger.get(job.id).chunks_done == 0
        bench.embedder.during = lambda _: None
        bench.worker.advance(job.id)
        assert bench.run(job).counts == Counts(4, 4)

    def test_a_stopping_worker_gives_its_chunk_back_and_takes_no_other(self, bench: Bench) -> None:
        bench.fill(300)
        job = bench.create()
        bench.deliver()
        bench.embedder.during = lambda _: bench.worker.draining.set()
        bench.deliver()
        assert (bench.ledger.get(job.id).chunks_done, bench.store.writes) == (0, [])
        assert bench.queue.sent == [(job.id, "1"), (job.id, "0")], "it is there for others at once"
        bench.worker.ingest_chunk(job.id, 1)
        assert bench.leases.take(job.id, "1") is not None, "it took no other"
        bench.worker.draining.clear()
        bench.embedder.during = lambda _: None
        assert bench.run(job).counts.indexed == 256

    def test_a_chunk_that_workers_die_of_is_given_up_and_its_neighbours_are_not(self, bench: Bench) -> None:
        bench.fill(300)
        job = bench.create()
        bench.deliver()
        dying = Leases(bench.ledger, LeaseSettings(lease_s=0.01))
        for attempt in range(1, 4):
            until(lambda: (lease := dying.take(job.id, "0")) is not None and lease.attempt >= 1, f"attempt {attempt}")
        until(lambda: bench.leases.due(job.id).units or True, "looked")
        until(lambda: bench.worker.ingest_chunk(job.id, 0) or bench.ledger.get(job.id).chunks_done >= 1, "given up")
        bench.queue.sent.append((job.id, "1"))
        done = bench.run(job)
        assert done.counts == Counts(300, 44, 0, 256)
        assert {failure.reason for failure in bench.failures(job)} == {ABANDONED}

    @pytest.mark.parametrize("damage", ["gone", "torn"])
    def test_a_manifest_that_stays_unreadable_ends_the_job(self, bench: Bench, damage: str) -> None:
        bench.fill(300)
        job = bench.create()
        bench.deliver()
        (part,) = (bench.folder / "artifacts" / bench.ledger.get(job.id).manifest).iterdir()
        if damage == "gone":
            part.unlink()
        else:
            part.write_bytes(part.read_bytes()[:-50])
        for _ in range(3):
            with pytest.raises(Internal):
                bench.worker.ingest_chunk(job.id, 0)
            assert not bench.ledger.get(job.id).state.ended
            run_out(bench, job.id)
        bench.queue.sent.clear()
        bench.worker.ingest_chunk(job.id, 0)
        done = bench.ledger.get(job.id)
        assert done.state is JobState.FAILED
        assert done.error_reason == MANIFEST_UNREADABLE
        assert (done.counts, done.skip_reasons) == (Counts(300, 0, 300, 0), {"not_attempted": 300})

    def test_a_chunk_begun_before_is_not_forgotten_when_the_job_fails_of_it(self, bench: Bench) -> None:
        ids = bench.fill(300)
        job = bench.create()
        bench.deliver()
        assert bench.leases.take(job.id, "0") is not None, "a worker dies of it"
        run_out(bench, job.id)
        bench.store.put(StoredImage(ids[0], "", {}, "", job.revision, datetime.now(UTC)), ["histogram"])
        bench.embedder.errors = [FingerprintMismatch("siamese", "a", "b")]
        bench.worker.ingest_chunk(job.id, 0)
        until(lambda: bench.run(job).state.ended or bench.worker.advance(job.id), "the job ends")
        done = bench.ledger.get(job.id)
        assert (done.state, done.counts) == (JobState.FAILED, Counts(300, 256, 44, 0))
        assert bench.store.ids() == set(ids[:256]), "what was half written is whole"

    def test_a_worker_without_a_temporary_folder_leaves_the_plan_to_be_tried_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.fill(2)
        job = bench.create()
        with monkeypatch.context() as broken:
            broken.setattr(tempfile, "tempdir", str(bench.folder / "nowhere"))
            bench.deliver()
        assert not bench.ledger.get(job.id).state.ended
        until(lambda: bench.run(job).state.ended or bench.worker.advance(job.id), "the job ends")
        assert bench.ledger.get(job.id).counts == Counts(2, 2)
        left = [name for name in bench.artifacts.names(f"jobs/{job.id}") if name.startswith("manifest")]
        assert len(left) == 1, "nothing is left of the first plan"

    def test_a_chunk_that_takes_too_long_is_released_and_given_up_after_a_few_attempts(self, bench: Bench) -> None:
        bench.fill(40)
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

    def test_a_defect_leaves_the_chunk_to_be_tried_again(self, bench: Bench) -> None:
        bench.fill(2)
        job = bench.create()
        bench.deliver()

        def defect(_: int) -> None:
            raise ZeroDivisionError

        bench.embedder.during = defect
        with pytest.raises(ZeroDivisionError):
            bench.deliver()
        assert not bench.ledger.get(job.id).state.ended

    def test_a_bad_request_by_celery_is_refused(self, bench: Bench) -> None:
        bench.fill(2)
        request: dict[str, object] = {
            "collection": "products",
            "request_id": "r",
            "source": {"folder": {"uri": str(bench.folder / "data")}},
        }
        job = bench.worker.create(request)
        assert bench.worker.create(request).id == job.id
        assert bench.run(job).counts.indexed == 2
        with pytest.raises(NotFound):
            bench.worker.create({**request, "collection": "nope", "request_id": "r2"})


def run_out(bench: Bench, job_id: str) -> None:
    """Let the lease of chunk 0 end now."""
    with bench.ledger.connection.commands() as client:
        client.zadd(f"lookalike:job:{job_id}:open", {"0": 0})


def owner(bench: Bench, job_id: str) -> str:
    with bench.ledger.connection.commands() as client:
        return str(client.hget(f"lookalike:job:{job_id}:units", "o:0"))
