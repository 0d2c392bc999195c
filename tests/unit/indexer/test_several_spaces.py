"""Collections of three spaces and of one: ingested, and re-embedded in the spaces that are made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lookalike.records.collection import Collection
from lookalike.records.job import Job, JobOptions, NearDuplicatePolicy
from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource, FolderSource
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import a_collection, vector_of

TONES = HistogramSettings(bins=8).space("tones")
PHOTO = Space("photo", 4, Metric.COSINE, "1" * 16, ModelSettings("photo"))
FASHION = Space("fashion", 5, Metric.COSINE, "2" * 16, ModelSettings("fashion"))
MINE = Space("photo", 6, Metric.COSINE, "3" * 16, ModelSettings("mine"))
NEWER = replace(FASHION, fingerprint="4" * 16)
THREE = (TONES, PHOTO, FASHION)


def filled(bench: Bench, *spaces: Space, count: int = 3) -> Job:
    """The ingest job of `count` pictures into a collection of `spaces`."""
    bench.catalogue.collections = {"products": replace(a_collection(), spaces=spaces)}
    bench.embedder.models = {"photo": PHOTO, "fashion": FASHION, "mine": MINE}
    for number in range(count):
        bench.put(f"class{number % 2}/{number:03d}.png")
    return bench.run(bench.create(FolderSource(str(bench.folder / "data"), labels_from_folders=True)))


def reembedded(bench: Bench, **options: Any) -> Job:
    bench.embedder.calls.clear()
    source = CollectionSource(now(bench).generation + 1)
    return bench.run(bench.create(source, options=JobOptions(grace=timedelta(seconds=60), **options)))


def now(bench: Bench) -> Collection:
    return bench.catalogue.get("products", fresh=True)


def check(bench: Bench, *spaces: Space, count: int = 3) -> None:
    """The collection has these spaces, and `count` images in each, with their vectors."""
    assert now(bench).spaces == spaces
    ids = set(bench.store.of(spaces[0]))
    assert len(ids) == count
    for space in spaces:
        rows = bench.store.of(space)
        assert set(rows) == ids
        for row in rows.values():
            content = (bench.folder / "data" / row.uri.split("/data/")[1]).read_bytes()
            assert row.vectors[space.name].tolist() == vector_of(content, space).tolist()


def test_every_space_is_written_and_one_call_of_the_embedder_makes_them_all(bench: Bench) -> None:
    assert filled(bench, *THREE).counts.indexed == 3
    check(bench, *THREE)
    assert len(bench.embedder.calls) == 1


def test_near_duplicates_are_looked_for_in_the_first_space_of_a_model(bench: Bench) -> None:
    filled(bench, *THREE)
    for name, content in (("a.png", b"coat+1"), ("b.png", b"coat+22")):
        bench.put(name, content)
    job = bench.run(bench.create(options=JobOptions(NearDuplicatePolicy.SKIP, threshold=0.99)))
    assert (job.counts.indexed, job.skip_reasons["near_duplicate"]) == (4, 1)
    assert set(bench.store.searched) == {"photo"}


def test_a_space_in_the_middle_is_made_anew_and_the_others_are_shared(bench: Bench) -> None:
    filled(bench, *THREE, count=30)
    before = {space: dict(bench.store.of(space)) for space in (TONES, FASHION)}
    job = reembedded(bench, space="photo", model="mine", force=True)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, 30)
    assert job.comparison is not None
    assert job.comparison.space == "photo"
    check(bench, TONES, MINE, FASHION, count=30)
    assert {space: dict(bench.store.of(space)) for space in (TONES, FASHION)} == before
    # From now on the space that was made anew is written last, and says which images there are.
    bench.put("class0/new.png")
    filled_up = bench.run(bench.create(FolderSource(str(bench.folder / "data"), labels_from_folders=True)))
    assert (filled_up.counts.indexed, filled_up.skip_reasons) == (1, {"unchanged": 30})
    check(bench, TONES, MINE, FASHION, count=31)
    assert len(bench.store.of(PHOTO)) == 31, "and so is the generation before, for as long as it is kept"


@pytest.mark.parametrize(
    ("options", "maths"), [({"space": "photo", "model": "mine"}, ""), ({"space": "tones"}, "5" * 16)], ids=["photo", "tones"]
)
def test_an_image_that_is_missing_in_the_new_space_alone_keeps_the_collection_as_it_was(
    bench: Bench, options: dict[str, str], maths: str
) -> None:
    filled(bench, *THREE)
    (bench.folder / "data" / "class0" / "000.png").rename(bench.folder / "gone.png")
    bench.embedder.maths = maths
    job = reembedded(bench, **options)
    assert (job.state, job.error_reason) == (JobState.FAILED, "REEMBED_INCOMPLETE")
    assert (now(bench).spaces, now(bench).other) == (THREE, None)


def test_an_image_that_may_be_missing_is_gone_from_every_space(bench: Bench) -> None:
    filled(bench, *THREE)
    (bench.folder / "data" / "class0" / "000.png").rename(bench.folder / "gone.png")
    assert reembedded(bench, space="photo", model="mine", allow_missing=True).state is JobState.SUCCEEDED
    check(bench, TONES, MINE, FASHION, count=2)


def test_without_a_space_every_model_gets_its_newest_version_and_the_worst_is_what_is_compared(bench: Bench) -> None:
    filled(bench, *THREE, count=40)
    well = {space: bench.store.of(space) for space in (PHOTO, FASHION)}
    for space, rows in well.items():
        for place, (image_id, row) in enumerate(rows.items()):
            # The vectors of `fashion` know the label, as those of no new model of the fake do.
            about = row.metadata["label"] if space == FASHION else image_id
            vector = vector_of(f"{about}+{'x' * (place % 20)}".encode(), space)
            rows[image_id] = replace(row, vectors={space.name: vector})
    bench.embedder.models = {"photo": replace(MINE, kind=PHOTO.kind), "fashion": NEWER}
    job = reembedded(bench)
    assert job.comparison is not None
    assert (job.comparison.space, job.comparison.worse) == ("fashion", True)
    assert "in fashion" in job.held
    bench.ledger.resume(job.id)
    bench.worker.advance(job.id)
    assert bench.run(job).state is JobState.SUCCEEDED
    check(bench, TONES, replace(MINE, kind=PHOTO.kind), NEWER, count=40)


@pytest.mark.parametrize("space", [TONES, PHOTO], ids=["a histogram", "a model"])
def test_a_collection_of_one_space_is_ingested_mirrored_and_re_embedded(bench: Bench, space: Space) -> None:
    assert filled(bench, space).counts.indexed == 3
    check(bench, space)
    (bench.folder / "data" / "class0" / "000.png").unlink()
    mirrored = bench.run(
        bench.create(FolderSource(str(bench.folder / "data"), labels_from_folders=True), options=JobOptions(mirror=True))
    )
    assert (mirrored.deleted, mirrored.skip_reasons) == (1, {"unchanged": 2})
    check(bench, space, count=2)
    assert reembedded(bench).error_reason == "REEMBED_NOT_NEEDED"
    bench.embedder.maths, bench.embedder.models = "6" * 16, {"photo": replace(PHOTO, fingerprint="6" * 16)}
    assert reembedded(bench, force=True).state is JobState.SUCCEEDED
    check(bench, replace(space, fingerprint="6" * 16), count=2)
