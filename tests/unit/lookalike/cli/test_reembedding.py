"""`collections reembed`, `rollback`, `drop-previous`, and how `show` and a watched job show a re-embedding."""

from __future__ import annotations

import json

import pytest

from lookalike import errors
from lookalike.cli import exits
from lookalike.client import Client, CollectionSource, Comparison, GenerationState
from lookalike.v1 import ingest_service_pb2
from tests.unit.lookalike.cli.command import Lookalike, lookalike
from tests.unit.lookalike.fake_gateway import FakeGateway, a_job, gateway

__all__ = ["gateway", "lookalike"]

RUNNING, SUCCEEDED = ingest_service_pb2.INGEST_JOB_STATE_RUNNING, ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED


@pytest.fixture(autouse=True)
def shoes(gateway: FakeGateway, lookalike: Lookalike) -> None:
    assert lookalike("collections", "create", "shoes").code == exits.OK
    gateway.seen.clear()


def compared(job: ingest_service_pb2.IngestJob) -> ingest_service_pb2.IngestJob:
    job.source.collection.generation = 2
    job.comparison.queries, job.comparison.k, job.comparison.overlap = 200, 10, 0.841
    job.comparison.precision_before, job.comparison.precision_after = 0.912, 0.934
    return job


def test_a_reembedding_is_begun_and_its_job_printed(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(RUNNING, submitted=9, indexed=4)]
    said = lookalike("collections", "reembed", "shoes", "--model", "photo", "--allow-missing", "--grace", "2")
    assert (said.code, said.out) == (exits.OK, "job-1\n")
    request = gateway.seen[0]
    assert (request.name, request.model, request.allow_missing, request.grace.seconds) == ("shoes", "photo", True, 7200)
    assert request.request_id


def test_watched_to_its_end_it_shows_how_the_answers_compare(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(RUNNING, submitted=9), compared(a_job(SUCCEEDED, submitted=9, indexed=9))]
    said = lookalike("collections", "reembed", "shoes", "--watch")
    assert said.code == exits.OK
    assert "200 images searched for: 84.1% of their 10 nearest are the same" in said.out
    assert "91.2% before, 93.4% after" in said.out


def test_a_job_that_is_held_ends_the_watching_and_says_what_can_be_done(gateway: FakeGateway, lookalike: Lookalike) -> None:
    held = compared(a_job(RUNNING, submitted=9, indexed=9))
    held.paused, held.held = True, "the new generation measured itself worse"
    gateway.jobs["job-1"] = [a_job(RUNNING, submitted=9), held]
    said = lookalike("collections", "reembed", "shoes", "--force", "--watch")
    assert said.code == exits.WRONG_STATE
    assert gateway.seen[0].force
    assert "job job-1 running, held; 9 items" in said.out
    assert "held: the new generation measured itself worse" in said.out
    assert "`lookalike jobs resume job-1` or `lookalike jobs cancel job-1`" in said.out


def test_a_job_that_was_undone_says_so_wherever_it_is_shown(gateway: FakeGateway, lookalike: Lookalike) -> None:
    job = a_job(SUCCEEDED, submitted=9, indexed=9)
    job.undo.deleted = 7
    job.undo.undo_time.FromSeconds(1_700_000_100)
    gateway.jobs["job-1"] = [job]
    shown = lookalike("jobs", "show", "job-1").out
    assert "job job-1 succeeded, undone; 9 items" in shown
    assert "undone 2023-11-14 2" in shown
    assert ": 7 images deleted" in shown
    assert "succeeded, undone" in lookalike("jobs", "list").out
    undo = json.loads(lookalike("jobs", "show", "job-1", "--json").out)["undo"]
    assert undo == {"deleted": 7, "undo_time": "2023-11-14T22:15:00+00:00"}


def test_what_a_chunk_under_way_has_done_counts_as_progress(gateway: FakeGateway, lookalike: Lookalike, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("lookalike.cli.progress._LINE_EVERY_S", -1.0)
    running = a_job(RUNNING, submitted=900, indexed=256)
    running.worked = 100
    gateway.jobs["job-1"] = [running, a_job(SUCCEEDED, submitted=900, indexed=900)]
    said = lookalike("jobs", "watch", "job-1")
    assert "running: 356 of 900" in said.err


def test_show_says_how_far_it_is_and_then_how_long_a_rollback_is_possible(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(RUNNING, submitted=9, indexed=4)]
    lookalike("collections", "reembed", "shoes", "--model", "photo")
    said = lookalike("collections", "show", "shoes")
    assert "being re-embedded: generation 2, job job-1 (running, 4 of 9 images)" in said.out
    said = lookalike("collections", "rollback", "shoes")
    assert "previous: generation 2, kept until 2023-11-1" in said.out
    said = lookalike("collections", "drop-previous", "shoes", "--yes")
    assert said.code == exits.OK
    assert "generation" not in said.out


def test_nothing_is_dropped_unasked(gateway: FakeGateway, lookalike: Lookalike) -> None:
    assert lookalike("collections", "drop-previous", "shoes").code == exits.INVALID
    assert gateway.seen == []


def test_a_job_that_is_no_longer_known_does_not_keep_its_collection_from_being_shown(
    gateway: FakeGateway, lookalike: Lookalike
) -> None:
    with Client(gateway.target) as client:
        client.reembed_collection("shoes", model="photo")
    said = lookalike("collections", "show", "shoes")
    assert said.code == exits.OK
    assert "being re-embedded: generation 2, job job-1\n" in said.out


def test_the_other_generation_is_in_the_json_too(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [compared(a_job(SUCCEEDED, submitted=9, indexed=9))]
    said = lookalike("collections", "reembed", "shoes", "--json", "--watch")
    assert json.loads(said.out)["comparison"]["overlap"] == 0.841
    other = json.loads(lookalike("collections", "show", "shoes", "--json").out)["other"]
    assert (other["generation"], other["state"], other["drop_time"]) == (2, "filling", None)


def test_the_client_gives_records(gateway: FakeGateway) -> None:
    gateway.jobs["job-1"] = [compared(a_job(SUCCEEDED, submitted=9, indexed=9))]
    gateway.fail = [errors.Unavailable("milvus", "starting")]
    with Client(gateway.target) as client:
        job = client.get_job(client.reembed_collection("shoes", model="photo", request_id="r"))
        assert [request.request_id for request in gateway.seen[:2]] == ["r", "r"], "tried again: it names its request"
        assert job.source == CollectionSource(2)
        assert job.comparison == Comparison(200, 10, 0.841, 0.912, 0.934)
        back = client.rollback_collection("shoes").other
        assert back is not None
        assert (back.state, [space.model for space in back.spaces]) == (GenerationState.PREVIOUS, ["", "photo"])
        assert back.drop_time is not None
        assert client.drop_previous_generation("shoes").other is None
