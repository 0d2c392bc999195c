"""Files that nothing needs are removed, and nothing that anybody may still ask for is."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indexer.sweeping.roots import Roots
from indexer.sweeping.sweep import Marks, Sweep, Swept
from indexer.sweeping.sweeper import Sweeper
from lookalike.artifacts import Artifacts
from lookalike.errors import Unavailable
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.uploads import Uploads
from lookalike.records.collection import GenerationState, OtherGeneration
from lookalike.records.source import UploadItem, UploadSource
from tests.unit.indexer.conftest import Bench

TWO_DAYS_S = 2 * 86_400.0


def upload(bench: Bench, *pictures: bytes, collection: str = "products") -> str:
    sending = Uploads(bench.artifacts).begin(collection)
    for number, picture in enumerate(pictures):
        sending.add(UploadItem(f"id-{number}-{picture[:8].hex()}", content=picture))
    return sending.finish().id


def ingest(bench: Bench, *pictures: bytes) -> str:
    upload_id = upload(bench, *pictures)
    job = bench.run(bench.create(UploadSource(upload_id)))
    assert job.state.ended
    return upload_id


def sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def original(bench: Bench, picture: bytes) -> Path:
    return bench.folder / "artifacts" / Artifacts.original_path(sha256(picture))


def thumbnail(bench: Bench, picture: bytes) -> Path:
    bench.artifacts.write(Artifacts.thumbnail_path(sha256(picture)), b"jpeg")
    return bench.folder / "artifacts" / Artifacts.thumbnail_path(sha256(picture))


def upload_list(bench: Bench, upload_id: str) -> Path:
    return bench.folder / "artifacts" / "uploads" / upload_id / "items.jsonl"


def age(bench: Bench, seconds: float = TWO_DAYS_S) -> None:
    """Make everything in the artifacts so old."""
    then = time.time() - seconds
    for path in (bench.folder / "artifacts").rglob("*"):
        os.utime(path, (then, then))


def roots(bench: Bench) -> Roots:
    outcomes = Outcomes(bench.ledger, bench.artifacts)
    return Roots(bench.ledger, bench.artifacts, Uploads(bench.artifacts), outcomes, bench.catalogue, bench.store)


def sweep(bench: Bench) -> Swept:
    return Sweep(bench.artifacts, Uploads(bench.artifacts), roots(bench)).run()


def delete(bench: Bench, *pictures: bytes) -> None:
    for space in bench.store.rows.values():
        for image_id in [id_ for id_, row in space.items() if row.sha256 in map(sha256, pictures)]:
            del space[image_id]


def test_a_deleted_picture_goes_from_the_disk_and_the_others_stay(bench: Bench) -> None:
    upload_id = ingest(bench, b"coat", b"boot")
    thumbnails = [thumbnail(bench, picture) for picture in (b"coat", b"boot")]
    delete(bench, b"coat")
    age(bench)
    swept = sweep(bench)
    assert swept.removed == {"upload": 1, "original": 1, "thumbnail": 1}
    assert not original(bench, b"coat").exists()
    assert original(bench, b"boot").read_bytes() == b"boot"
    assert [path.exists() for path in thumbnails] == [False, True]
    assert not upload_list(bench, upload_id).exists()


def test_what_was_deleted_today_goes_when_it_is_a_day_old(bench: Bench) -> None:
    ingest(bench, b"coat")
    delete(bench, b"coat")
    assert sweep(bench).some_too_young
    assert original(bench, b"coat").exists()
    age(bench)
    assert not sweep(bench).some_too_young
    assert not original(bench, b"coat").exists()


def test_a_collection_takes_everything_with_it(bench: Bench) -> None:
    used, waiting = ingest(bench, b"coat"), upload(bench, b"boot")
    bench.catalogue.collections.clear()
    bench.store.rows["histogram"].clear()
    assert sweep(bench).removed == {"upload": 2}, "lists go at once"
    assert not upload_list(bench, used).exists()
    assert not upload_list(bench, waiting).exists()
    age(bench)
    assert sweep(bench).removed == {"original": 2}


def test_a_row_in_any_space_keeps_its_picture(bench: Bench) -> None:
    ingest(bench, b"coat")
    bench.store.rows["siamese"].clear()  # a killed delete has left the other space's row
    age(bench)
    sweep(bench)
    assert original(bench, b"coat").exists()


def test_the_generation_that_a_rollback_needs_keeps_its_pictures(bench: Bench) -> None:
    ingest(bench, b"coat")
    collection = bench.catalogue.collections["products"]
    rows = dict(bench.store.rows["histogram"])
    earlier = replace(collection.spaces[1], fingerprint="e" * 16)
    other = OtherGeneration(1, GenerationState.PREVIOUS, (collection.spaces[0], earlier), "0" * 16)
    bench.catalogue.collections["products"] = replace(collection, other=other)
    bench.store.of(earlier).update(rows)
    bench.store.rows["histogram"].clear()
    bench.store.rows["siamese"].clear()
    age(bench)
    sweep(bench)
    assert original(bench, b"coat").exists()


def test_an_upload_waits_a_day_for_its_job(bench: Bench) -> None:
    upload_id = upload(bench, b"coat")
    age(bench, 80_000.0)
    assert not sweep(bench).removed
    assert [item.uri for item in Uploads(bench.artifacts).items(upload_id)] == [Artifacts.original_uri(sha256(b"coat"))]
    age(bench)
    assert sweep(bench).removed == {"upload": 1, "original": 1}


def test_a_job_that_has_yet_to_read_its_pictures_keeps_them(bench: Bench) -> None:
    upload_id = upload(bench, b"coat")
    job = bench.create(UploadSource(upload_id))
    age(bench)
    sweep(bench)
    assert upload_list(bench, upload_id).exists(), "it is not planned yet"
    bench.deliver()
    age(bench)
    sweep(bench)
    assert original(bench, b"coat").exists(), "it is planned and not done"
    assert bench.run(job).counts.indexed == 1


def test_what_failed_can_be_retried_as_long_as_its_job_is_kept(bench: Bench) -> None:
    ingest(bench, b"bad picture", b"boot")
    age(bench)
    sweep(bench)
    assert original(bench, b"bad picture").exists()
    bench.catalogue.collections.clear()  # then nothing can be retried
    sweep(bench)
    assert not original(bench, b"bad picture").exists()


def test_an_upload_under_way_loses_nothing(bench: Bench) -> None:
    old = upload(bench, b"coat")
    age(bench)
    sending = Uploads(bench.artifacts).begin("products")
    sending.add(UploadItem("again", content=b"coat"))  # it lies there, and is about to be removed
    sending.add(UploadItem("new", content=b"boot"))
    assert sweep(bench).removed == {"upload": 1}
    assert not upload_list(bench, old).exists()
    upload_id = sending.finish().id
    assert bench.run(bench.create(UploadSource(upload_id))).counts.indexed == 2


def test_a_file_that_is_written_again_just_now_stays(bench: Bench) -> None:
    upload(bench, b"coat")
    age(bench)
    path = Artifacts.original_path(sha256(b"coat"))
    bench.artifacts.keep_original(b"coat")
    assert not bench.artifacts.delete_unless_newer(path, datetime.now(UTC) - timedelta(days=1))
    assert bench.artifacts.read(path) == b"coat"
    assert [entry.name for entry in bench.artifacts.entries(path.rpartition("/")[0])] == [sha256(b"coat")]


def test_what_killed_writers_left_is_removed(bench: Bench) -> None:
    kept = original(bench, b"coat")
    kept.parent.mkdir(parents=True)
    (kept.parent / f".{kept.name}.0123abcd.part").write_bytes(b"half")
    age(bench)
    assert sweep(bench).removed == {"original": 1}


def test_a_sweep_that_is_stopped_has_removed_nothing_that_is_needed(bench: Bench) -> None:
    ingest(bench, b"coat", b"boot")
    age(bench)
    looks = iter([True] * 3)
    with pytest.raises(Unavailable):
        Sweep(bench.artifacts, Uploads(bench.artifacts), roots(bench), lambda: next(looks, False)).run()
    assert original(bench, b"coat").exists()
    assert sweep(bench).removed == {}


def test_one_worker_sweeps_and_only_where_something_has_changed(bench: Bench) -> None:
    swept: list[int] = []

    def once(go_on: object) -> Swept:
        swept.append(len(swept))
        assert not others.round(), "the lock is held"
        return sweep(bench)

    sweeper, others = (Sweeper(bench.ledger, once, roots(bench).state, every_s=0.0) for _ in range(2))
    ingest(bench, b"coat")
    age(bench)
    assert sweeper.round()
    assert sweeper.round(), "the list of the upload has gone, which is a change"
    assert not sweeper.round()
    bench.ledger.take_revision("products")
    assert sweeper.round()
    assert len(swept) == 3
    late = Sweeper(bench.ledger, once, roots(bench).state, every_s=3600.0)
    bench.ledger.take_revision("products")
    assert not late.round()


def test_marks_know_all_that_was_added_and_hardly_anything_else() -> None:
    marks = Marks()
    known = [sha256(str(number).encode()) for number in range(2000)]
    for one in known:
        marks.add(one)
    assert all(one in marks for one in known)
    assert sum(sha256(f"other {number}".encode()) in marks for number in range(2000)) == 0
