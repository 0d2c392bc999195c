"""Ingest jobs into a collection that is being re-embedded: every write reaches both generations, whatever changes meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lookalike.errors import FingerprintMismatch
from lookalike.records.collection import Collection
from lookalike.records.job_state import JobState
from lookalike.spaces import Metric, ModelSettings, Space
from lookalike.store.generations import begun, switched, without_filled_by
from tests.servers.processes import until
from tests.unit.indexer.conftest import Bench
from tests.unit.indexer.fakes import SPACES, vector_of

NEW = Space("siamese", 6, Metric.COSINE, "e" * 16, ModelSettings("larger"))


def begin(bench: Bench) -> Collection:
    """Let job `other` fill a second generation."""
    return bench.catalogue.change("products", lambda now: begun(now, "other", (SPACES[0], NEW)))


def test_every_image_is_written_to_both_generations_with_the_vectors_of_each(bench: Bench) -> None:
    bench.put("a.png")
    begin(bench)
    job = bench.run(bench.create())
    assert job.counts.indexed == 1
    (image_id,) = bench.store.ids()
    for space in (*SPACES, NEW):
        stored = bench.store.of(space)[image_id]
        assert stored.revision == job.revision
        assert stored.vectors[space.name].tolist() == vector_of(b"picture a.png", space).tolist()


def test_an_image_that_the_other_generation_does_not_have_is_not_unchanged(bench: Bench) -> None:
    bench.put("a.png")
    bench.run(bench.create())
    begin(bench)
    assert bench.run(bench.create()).counts.indexed == 1
    assert bench.run(bench.create()).skip_reasons == {"unchanged": 1}
    bench.store.of(NEW).clear()
    assert bench.run(bench.create()).counts.indexed == 1


def test_a_picture_that_only_one_model_can_use_fails_alone(bench: Bench) -> None:
    bench.put("a.png")
    bench.put("b.png", b"bad")
    begin(bench)
    job = bench.run(bench.create())
    assert (job.counts.indexed, job.counts.failed) == (1, 1)


@pytest.mark.parametrize("when", ["begun", "switched", "dropped"])
def test_a_chunk_is_done_again_where_the_generations_change_while_it_is_embedded(bench: Bench, when: str) -> None:
    changes = {
        "begun": lambda now: begun(now, "other", (SPACES[0], NEW)),
        "switched": lambda now: switched(now, "other", datetime.now(UTC) + timedelta(days=1)),
        "dropped": lambda now: without_filled_by(now, "other"),
    }
    bench.put("a.png")
    if when != "begun":
        begin(bench)

    def during(call: int) -> None:
        if call == 1:
            bench.catalogue.change("products", changes[when])

    bench.embedder.during = during
    job = bench.create()
    bench.deliver()
    bench.deliver()
    assert bench.store.writes == [], "what was embedded for other generations is not written"
    until(lambda: bench.run(job).state.ended or bench.worker.advance(job.id), "the job ends")
    assert bench.ledger.get(job.id).counts.indexed == 1
    collection = bench.catalogue.get("products")
    assert all(len(bench.store.of(space)) == 1 for space in collection.written)
    assert len(bench.store.of(NEW)) == (0 if when == "dropped" else 1)


def test_a_model_of_the_other_generation_that_is_not_served_fails_the_job_and_says_what_to_do(bench: Bench) -> None:
    bench.put("a.png")
    begin(bench)
    embed = bench.embedder.embed

    def refuse(spaces, images, interruption, *, stages=None):  # type: ignore[no-untyped-def]
        if NEW in spaces:
            raise FingerprintMismatch("siamese", NEW.fingerprint, "none")
        return embed(spaces, images, interruption)

    bench.embedder.embed = refuse  # type: ignore[method-assign]
    job = bench.run(bench.create())
    assert job.state is JobState.FAILED
    assert job.error_reason == "OTHER_GENERATION_NOT_SERVED"
    assert "drop-previous" in job.error
    assert bench.store.writes == []


def test_a_later_write_in_the_other_generation_only_wins_too(bench: Bench) -> None:
    """As a killed writer of a later revision leaves it: its chunk is done again, and must not find an older one there."""
    bench.put("a.png")
    begin(bench)
    bench.run(bench.create())
    (image_id,) = bench.store.ids()
    job = bench.create()
    later = bench.ledger.take_revision("products")
    bench.store.of(NEW)[image_id] = replace(bench.store.of(NEW)[image_id], revision=later, sha256="0" * 64)
    assert bench.run(job).skip_reasons == {"superseded": 1}
