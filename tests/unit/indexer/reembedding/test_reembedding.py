"""A re-embedding, step by step: what ends in the new generation, what does not, and that a switch is whole or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from indexer.reconciler import Reconciler
from lookalike.errors import NotFound, Unavailable
from lookalike.names import id_from_uri
from lookalike.records.collection import Collection, GenerationState
from lookalike.records.image import StoredImage
from lookalike.records.job import Comparison, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource, FolderSource
from lookalike.runtime.call import Deadline
from lookalike.spaces import Metric, ModelSettings, Space
from lookalike.store.generations import begun, rolled_back, switched
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import SPACES, vector_of

HISTOGRAM, OLD = SPACES
NEW = Space("siamese", 6, Metric.COSINE, "e" * 16, ModelSettings("larger"))
GRACE = timedelta(seconds=60)


def fill(bench: Bench, count: int = 3) -> Job:
    """Ingest `count` pictures, labelled by folder."""
    for number in range(count):
        bench.put(f"class{number % 2}/{number:03d}.png")
    return bench.run(bench.create(FolderSource(str(bench.folder / "data"), labels_from_folders=True)))


def id_of(bench: Bench, name: str) -> str:
    return id_from_uri((bench.folder / "data" / name).as_uri())


def reembed(bench: Bench, *, model: str = "larger", **options: Any) -> Job:
    bench.embedder.models = {"larger": NEW, **bench.embedder.models}
    generation = bench.catalogue.get("products").generation + 1
    return bench.create(CollectionSource(generation), options=JobOptions(model=model, grace=GRACE, **options))


def collection(bench: Bench) -> Collection:
    return bench.catalogue.get("products")


def ended(bench: Bench, job: Job) -> Job:
    until(lambda: bench.run(job).state.ended or bench.worker.advance(job.id), "the job ends")
    return bench.ledger.get(job.id)


def step(bench: Bench, steps: int) -> None:
    """Deliver `steps` tasks: first the plan, then the chunks, then the last unit."""
    for _ in range(steps):
        assert bench.deliver()


def adds_up(job: Job) -> bool:
    return job.counts.submitted == job.counts.indexed + job.counts.skipped + job.counts.failed


def test_every_image_gets_a_vector_of_the_new_model_and_keeps_all_else(bench: Bench) -> None:
    ingested = fill(bench, 300)
    before = dict(bench.store.of(OLD))
    job = bench.run(reembed(bench, force=True))
    assert job.state is JobState.SUCCEEDED
    assert (job.counts.submitted, job.counts.indexed, job.chunks_total) == (300, 300, 2)
    now = collection(bench)
    assert (now.generation, now.spaces) == (2, (HISTOGRAM, NEW))
    assert now.other is not None
    assert (now.other.generation, now.other.spaces, now.other.state) == (1, SPACES, GenerationState.PREVIOUS)
    assert now.other.drop_time is not None
    assert timedelta(0) < now.other.drop_time - datetime.now(UTC) <= GRACE
    assert bench.store.of(NEW).keys() == before.keys()
    for image_id, image in bench.store.of(NEW).items():
        content = (bench.folder / "data" / image.uri.split("/data/")[1]).read_bytes()
        assert image.vectors["siamese"].tolist() == vector_of(content, NEW).tolist()
        assert replace(image, vectors={}) == replace(before[image_id], vectors={})
        assert image.revision == ingested.revision
    assert all(len(call) <= 32 for call in bench.embedder.calls)


def test_the_two_generations_are_compared_before_the_switch(bench: Bench) -> None:
    fill(bench, 30)
    compared = bench.run(reembed(bench, force=True)).comparison
    assert compared is not None
    assert (compared.queries, compared.k) == (30, 10)
    assert 0 < compared.overlap < 1, "random vectors of 30 images have some neighbours in common, and not all"
    assert compared.precision_before is not None
    assert compared.precision_after is not None
    assert 0.2 < compared.precision_after < 0.8, "two classes, and vectors that know nothing of them"


def fill_well(bench: Bench, count: int) -> None:
    """Pictures whose old vectors know their label, as those of the fake's new model do not."""
    fill(bench, count)
    rows = bench.store.of(OLD)
    for place, (image_id, row) in enumerate(rows.items()):
        about = f"{row.metadata['label']}+{'x' * (place % 20)}".encode()
        rows[image_id] = replace(row, vectors={**row.vectors, "siamese": vector_of(about, OLD)})


def test_a_generation_that_measured_itself_worse_is_held_and_switched_when_a_person_says_so(bench: Bench) -> None:
    fill_well(bench, 40)
    job = bench.run(reembed(bench))
    assert (job.state, job.paused, job.counts.indexed) == (JobState.RUNNING, True, 40)
    assert job.comparison is not None
    assert job.comparison.worse
    assert "measured itself worse" in job.held
    assert "resume the job to switch nevertheless" in job.held
    assert collection(bench).generation == 1
    embedded = len(bench.embedder.calls)
    bench.worker.advance(job.id)
    assert bench.queue.sent == [], "it waits"

    bench.ledger.resume(job.id)
    job = ended(bench, job)
    assert (job.state, job.held, collection(bench).generation) == (JobState.SUCCEEDED, "", 2)
    assert len(bench.embedder.calls) == embedded, "nothing is embedded again"


def test_a_held_generation_goes_when_its_job_is_cancelled(bench: Bench) -> None:
    fill_well(bench, 40)
    job = bench.run(reembed(bench))
    bench.ledger.request_cancel(job.id)
    job = ended(bench, job)
    assert (job.state, job.held, collection(bench).generation) == (JobState.CANCELLED, "", 1)
    bench.worker.tidy()
    assert collection(bench).other is None


def test_what_is_worse_is_switched_to_by_force(bench: Bench) -> None:
    fill_well(bench, 40)
    assert bench.run(reembed(bench, force=True)).state is JobState.SUCCEEDED
    assert collection(bench).generation == 2


@pytest.mark.parametrize(
    ("labelled", "before", "after", "worse"),
    [
        (200, 0.90, 0.87, True), (200, 0.90, 0.885, False), (200, 0.80, 0.95, False),
        (19, 0.90, 0.10, False), (20, 0.90, 0.10, True), (0, None, None, False),
    ],
)  # fmt: skip
def test_worse_is_a_lower_precision_by_more_than_chance_of_enough_labels(
    labelled: int, before: float | None, after: float | None, worse: bool
) -> None:
    assert Comparison(200, 10, 0.01, before, after, labelled, 0.005).worse is worse
    assert not Comparison(200, 10, 0.01, 0.90, 0.80, 200, 0.04).worse, "three standard errors are more"


def test_progress_is_reported_within_a_chunk_and_not_counted_twice(bench: Bench) -> None:
    for number in range(100):
        bench.put(f"{number:03d}.png")
    job = bench.create()
    step(bench, 1)
    seen: list[int] = []

    def during(_call: int) -> None:
        until(lambda: bench.ledger.get(job.id).worked or len(bench.embedder.calls) < 4, "the heartbeat reports it")
        now = bench.ledger.get(job.id)
        seen.append(now.worked)
        assert now.counts.indexed + now.worked <= 100

    bench.embedder.during = during
    bench.leases.settings = replace(bench.leases.settings, heartbeat_s=0.02)
    bench.run(job)
    assert 0 < max(seen) < 100
    now = bench.ledger.get(job.id)
    assert (now.counts.indexed, now.worked, now.state) == (100, 0, JobState.SUCCEEDED)


def test_only_spaces_whose_fingerprint_changes_are_filled(bench: Bench) -> None:
    fill(bench)
    counted_anew = replace(HISTOGRAM, fingerprint="a" * 16)
    bench.embedder.models, bench.embedder.maths = {"small": OLD}, counted_anew.fingerprint
    before = dict(bench.store.of(OLD))
    assert bench.run(reembed(bench, model="")).state is JobState.SUCCEEDED
    assert collection(bench).spaces == (counted_anew, OLD)
    assert bench.store.of(counted_anew).keys() == before.keys()
    assert bench.store.of(OLD) == before


def test_an_empty_collection_is_switched_too(bench: Bench) -> None:
    job = bench.run(reembed(bench))
    assert (job.state, job.counts.submitted, job.comparison) == (JobState.SUCCEEDED, 0, None)
    assert collection(bench).generation == 2


def test_what_is_deleted_or_written_meanwhile_is_left_as_it_is(bench: Bench) -> None:
    fill(bench)
    bench.embedder.calls.clear()
    job = reembed(bench)
    step(bench, 1)
    gone, rewritten = id_of(bench, "class0/000.png"), id_of(bench, "class1/001.png")

    def during(call: int) -> None:
        if call == 1:
            bench.store.delete(collection(bench), [gone], Deadline.after(1))
            vectors = {space.name: vector_of(b"later", space) for space in (HISTOGRAM, OLD)}
            later = replace(
                bench.store.of(OLD)[rewritten],
                revision=bench.ledger.take_revision("products"),
                sha256="9" * 64,
                vectors=vectors,
                other_vectors={"siamese": vector_of(b"later", NEW)},
            )
            bench.store.upsert(collection(bench), [later])

    bench.embedder.during = during
    job = ended(bench, job)
    assert job.state is JobState.SUCCEEDED
    assert job.skip_reasons == {"superseded": 2}
    assert adds_up(job)
    assert all(gone not in bench.store.of(space) for space in (HISTOGRAM, OLD, NEW))
    assert {bench.store.of(space)[rewritten].sha256 for space in (HISTOGRAM, OLD, NEW)} == {"9" * 64}
    assert bench.store.of(NEW)[rewritten].vectors["siamese"].tolist() == vector_of(b"later", NEW).tolist()


def test_metadata_that_changes_while_the_picture_is_embedded_is_the_one_that_stays(bench: Bench) -> None:
    fill(bench)
    job = reembed(bench)
    step(bench, 1)
    image_id = id_of(bench, "class0/000.png")

    def during(call: int) -> None:
        for space in SPACES:
            image = bench.store.of(space)[image_id]
            bench.store.of(space)[image_id] = replace(image, metadata={"n": 2**53 + 1}, revision=image.revision + 1)

    bench.embedder.during = during
    assert ended(bench, job).counts.indexed == 3
    assert bench.store.of(NEW)[image_id].metadata == {"n": 9007199254740993}
    assert bench.store.of(NEW)[image_id].revision == bench.store.of(OLD)[image_id].revision


def test_an_ingest_job_in_the_middle_of_a_reembedding_ends_in_both_generations(bench: Bench) -> None:
    fill(bench, 40)
    bench.embedder.calls.clear()
    job = reembed(bench, force=True)
    step(bench, 1)
    ingest = bench.create()

    def during(call: int) -> None:
        if call == 1:
            for number in range(20, 60):
                bench.put(f"class{number % 2}/{number:03d}.png", f"new {number}".encode())
            assert bench.run(ingest).counts.indexed == 60, "all changed: 40 in their bytes, 20 have lost their label"

    bench.embedder.during = during
    job = ended(bench, job)
    assert job.state is JobState.SUCCEEDED, "what could not be embedded again was written by the other job"
    assert job.counts.indexed == 0
    assert adds_up(job)
    assert collection(bench).generation == 2
    for space in (HISTOGRAM, OLD, NEW):
        assert {image.revision for image in bench.store.of(space).values()} == {ingest.revision}
        assert len(bench.store.of(space)) == 60
        for image in bench.store.of(space).values():
            content = (bench.folder / "data" / image.uri.split("/data/")[1]).read_bytes()
            assert image.sha256 == sha256_of(content)
            assert image.vectors[space.name].tolist() == vector_of(content, space).tolist()


def test_an_ingest_job_skips_the_unchanged_while_its_collection_is_re_embedded(bench: Bench) -> None:
    fill(bench)
    job = reembed(bench)
    step(bench, 2)
    assert bench.ledger.get(job.id).counts.indexed == 3
    again = bench.create(FolderSource(str(bench.folder / "data"), labels_from_folders=True))
    bench.worker.plan(again.id)
    bench.worker.ingest_chunk(again.id, 0)
    assert bench.ledger.get(again.id).skip_reasons == {"unchanged": 3}


def test_an_upload_is_read_by_its_hash_wherever_it_came_from(bench: Bench) -> None:
    fill(bench)
    image_id = id_of(bench, "class0/000.png")
    content = b"what was uploaded"
    image = replace(bench.store.of(OLD)[image_id], sha256=sha256_of(content), uri="file:///elsewhere/000.png")
    bench.store.put(image)
    bench.artifacts.write(bench.artifacts.original_path(image.sha256), content)
    assert bench.run(reembed(bench)).counts.indexed == 3
    assert bench.store.of(NEW)[image_id].vectors["siamese"].tolist() == vector_of(content, NEW).tolist()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("vanish", "SOURCE_NOT_FOUND"),
        ("change", "SOURCE_CHANGED"),
        ("no uri", "SOURCE_NOT_FOUND"),
        ("refuse", "INVALID_ARGUMENT"),
    ],
)
def test_an_image_that_cannot_be_embedded_again_keeps_the_collection_as_it_was(bench: Bench, change: str, reason: str) -> None:
    fill(bench)
    before = collection(bench)
    image_id = break_one(bench, change)
    job = bench.run(reembed(bench))
    assert job.state is JobState.FAILED
    assert job.error_reason == "REEMBED_INCOMPLETE"
    assert image_id in job.error
    assert adds_up(job)
    assert [(failure.id, failure.reason) for failure in bench.failures(job)] == [(image_id, reason)]
    assert collection(bench) == before
    assert len(bench.store.ids()) == 3


def break_one(bench: Bench, change: str = "vanish") -> str:
    image_id = id_of(bench, "class0/000.png")
    path = bench.folder / "data" / "class0" / "000.png"
    if change == "vanish":
        path.unlink()
    elif change == "change":
        path.write_bytes(b"another picture")
    elif change == "no uri":
        bench.store.put(replace(bench.store.of(OLD)[image_id], uri=""))
    else:
        bench.store.refused.add(image_id)
    return image_id


def test_where_images_may_be_missing_they_are_no_longer_in_the_collection(bench: Bench) -> None:
    fill(bench)
    image_id = break_one(bench)
    job = bench.run(reembed(bench, allow_missing=True))
    assert job.state is JobState.SUCCEEDED
    assert (job.counts.indexed, job.counts.failed) == (2, 1)
    assert collection(bench).generation == 2
    assert all(image_id not in bench.store.of(space) for space in (HISTOGRAM, OLD, NEW)), "also not in the space they share"
    assert len(bench.store.of(NEW)) == 2


def test_a_failed_image_that_was_written_or_deleted_since_is_not_missing(bench: Bench) -> None:
    fill(bench)
    image_id = break_one(bench)
    job = reembed(bench)
    step(bench, 2)
    assert bench.ledger.get(job.id).counts.failed == 1
    bench.store.delete(collection(bench), [image_id], Deadline.after(1))
    assert ended(bench, job).state is JobState.SUCCEEDED


def test_what_a_killed_delete_has_left_does_not_come_back_with_the_switch(bench: Bench) -> None:
    fill(bench)
    job = reembed(bench)
    step(bench, 2)
    image_id = id_of(bench, "class0/000.png")
    del bench.store.of(OLD)[image_id]  # Deletes begin there.
    assert ended(bench, job).state is JobState.SUCCEEDED
    assert all(image_id not in bench.store.of(space) for space in (HISTOGRAM, OLD, NEW))


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_cancelled_reembedding_leaves_the_collection_as_it_was(bench: Bench, steps: int) -> None:
    fill(bench, 300)
    before = collection(bench)
    job = reembed(bench)
    step(bench, steps)
    assert (collection(bench).other is None) == (steps == 0)
    bench.ledger.request_cancel(job.id)
    job = ended(bench, job)
    assert job.state is JobState.CANCELLED
    assert adds_up(job)
    round_of(bench)
    assert collection(bench) == before


def test_a_last_unit_that_was_begun_does_not_switch_once_its_job_is_cancelled(bench: Bench) -> None:
    fill(bench)
    before = collection(bench)
    job = reembed(bench)
    step(bench, 2)
    bench.store.errors = [Unavailable("milvus", "away")]
    bench.store.flush = fail_once(bench)  # type: ignore[method-assign]
    step(bench, 1)
    bench.ledger.request_cancel(job.id)
    assert ended(bench, job).state is JobState.CANCELLED
    assert collection(bench) == before


def fail_once(bench: Bench):  # type: ignore[no-untyped-def]
    flush = bench.store.flush

    def failing(collection: Collection) -> None:
        bench.store.flush = flush  # type: ignore[method-assign]
        raise bench.store.errors.pop()

    return failing


def test_a_worker_that_dies_at_any_step_is_followed_by_one_that_ends_the_same(bench: Bench) -> None:
    fill(bench)
    job = reembed(bench)
    dying = bench.leases
    for unit, work in (("plan", bench.worker.plan), ("0", lambda id_: bench.worker.ingest_chunk(id_, 0))):
        # The worker does everything, and dies before it can record that.
        record, recorded = ("planned", dying.planned) if unit == "plan" else ("record", dying.record)
        setattr(dying, record, lambda *_, **__: False)
        work(job.id)
        setattr(dying, record, recorded)
        let_go(bench, job, unit)
        bench.queue.sent.clear()
        work(job.id)
    finished = dying.finished
    dying.finished = lambda *_, **__: False  # type: ignore[method-assign]
    step(bench, 1)
    switched_to = collection(bench)
    assert switched_to.generation == 2
    dying.finished = finished  # type: ignore[method-assign]
    let_go(bench, job, "finish")
    bench.worker.finish(job.id)
    job = ended(bench, job)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, 3)
    assert collection(bench) == switched_to
    assert bench.catalogue.changes == 2


def let_go(bench: Bench, job: Job, unit: str) -> None:
    """Let the lease of a unit end now."""
    with bench.ledger.connection.commands() as client:
        client.zadd(f"lookalike:job:{job.id}:open", {unit: 0})


def test_a_rollback_before_the_switch_is_recorded_is_not_undone(bench: Bench) -> None:
    fill(bench)
    job = reembed(bench)
    step(bench, 2)
    finished = bench.leases.finished
    bench.leases.finished = lambda *_, **__: False  # type: ignore[method-assign]
    step(bench, 1)
    bench.leases.finished = finished  # type: ignore[method-assign]
    back = bench.catalogue.change("products", lambda now: rolled_back(now, datetime.now(UTC)))
    let_go(bench, job, "finish")
    assert ended(bench, job).state is JobState.SUCCEEDED
    assert collection(bench) == back


def test_a_second_reembedding_of_one_collection_fails_and_leaves_the_first_alone(bench: Bench) -> None:
    fill(bench)
    first = reembed(bench)
    step(bench, 1)
    second = reembed(bench)
    bench.worker.plan(second.id)
    refused = bench.ledger.get(second.id)
    assert (refused.state, refused.error_reason) == (JobState.FAILED, "REEMBED_UNDER_WAY")
    assert ended(bench, first).state is JobState.SUCCEEDED


def test_a_model_that_does_not_exist_fails_the_job_before_anything_is_made(bench: Bench) -> None:
    fill(bench)
    job = bench.run(reembed(bench, model="nobody"))
    assert (job.state, job.error_reason) == (JobState.FAILED, "MODEL_NOT_FOUND")
    assert bench.catalogue.changes == 0


class TestTidying:
    def test_a_generation_whose_job_nobody_knows_goes(self, bench: Bench) -> None:
        before = collection(bench)
        bench.catalogue.change("products", lambda now: begun(now, "lost job", (HISTOGRAM, NEW)))
        round_of(bench)
        assert collection(bench) == before

    def test_a_generation_that_is_being_filled_stays(self, bench: Bench) -> None:
        fill(bench)
        reembed(bench)
        step(bench, 1)
        round_of(bench)
        assert collection(bench).other is not None

    @pytest.mark.parametrize(("grace", "stays"), [(timedelta(hours=1), True), (timedelta(0), False)])
    def test_the_generation_before_goes_when_its_grace_is_over(self, bench: Bench, grace: timedelta, stays: bool) -> None:
        until_ = datetime.now(UTC) + grace
        bench.catalogue.change("products", lambda now: begun(now, "job", (HISTOGRAM, NEW)))
        bench.catalogue.change("products", lambda now: switched(now, "job", until_))
        round_of(bench)
        assert (collection(bench).other is not None) == stays
        assert collection(bench).generation == 2

    def test_what_killed_changes_have_left_goes(self, bench: Bench) -> None:
        bench.catalogue.leave(NEW)
        assert bench.catalogue.with_leftovers() == ["products"]
        round_of(bench)
        assert bench.catalogue.with_leftovers() == []


def round_of(bench: Bench) -> None:
    assert Reconciler(bench.ledger, bench.artifacts, bench.worker, tick_s=0.01).round()


def test_a_chunk_that_finds_a_generation_dropped_is_done_again_and_its_job_is_not_cancelled(bench: Bench) -> None:
    bench.put("a.png")
    bench.catalogue.change("products", lambda now: begun(now, "other", (HISTOGRAM, NEW)))
    upsert = bench.store.upsert

    def dropped(there: Collection, images: list[StoredImage], _: object) -> None:
        bench.catalogue.change("products", lambda now: replace(now, other=None))
        bench.store.upsert = upsert  # type: ignore[method-assign]
        raise NotFound("collection", there.name)

    bench.store.upsert = dropped  # type: ignore[assignment, method-assign]
    job = ended(bench, bench.create())
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, 1)
