"""Deleting by filter and by job, and new metadata, on the whole system: nothing is embedded again, and searches see it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lookalike.client import Client, Consistency, ImageUpdate
from lookalike.errors import InvalidArgument, NotFound, RevisionMismatch
from lookalike.runtime.channels import open_channel
from tests.contract.gateway_collections import fill, image_id, ingest, label, picture, stubs
from tests.servers.stack import Stack

COLLECTION = "gateway_changes"
COUNT = 40


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    fill(stack.target, COLLECTION, COUNT)
    with stack.client() as client:
        yield client


def ids(client: Client, filter_text: str = "") -> list[str]:
    return [image.id for image in client.list_images(COLLECTION, filter=filter_text, consistency=Consistency.STRONG)]


def test_new_metadata_is_searched_with_the_old_vectors(client: Client) -> None:
    before = client.get_image(COLLECTION, image_id(3), view="full")
    done = client.update_images(
        COLLECTION,
        [
            ImageUpdate(image_id(3), {"season": "winter", "number": None}, merge=True),
            ImageUpdate(image_id(4), {"season": "winter"}),
            ImageUpdate("nobody", {"season": "winter"}),
        ],
    )
    assert (done.updated, done.missing_ids) == (2, ("nobody",))
    after = client.get_image(COLLECTION, image_id(3), view="full", consistency=Consistency.STRONG)
    assert after.metadata == {"label": label(3), "season": "winter"}
    assert (after.sha256, after.uri, after.revision) == (before.sha256, before.uri, done.revision)
    for space, vector in before.vectors.items():
        assert (after.vectors[space] == vector).all()
    for space in ("histogram", "siamese"):
        found = client.search(
            COLLECTION, image=picture(4), spaces=[space], filter='season = "winter"', consistency=Consistency.STRONG
        )
        assert [hit.image.id for hit in found.neighbours] == [image_id(4), image_id(3)]


def test_what_a_filter_names_is_gone_from_every_space(client: Client) -> None:
    doomed = ids(client, "number < 3")
    assert doomed == [image_id(n) for n in range(3)]
    would = client.delete_images(COLLECTION, filter="number < 3", validate_only=True)
    assert (would.deleted, would.revision, would.sample_ids) == (3, 0, tuple(doomed))
    assert client.count_images(COLLECTION, filter="number < 3", consistency=Consistency.STRONG) == 3
    assert client.delete_images(COLLECTION, filter="number < 3").deleted == 3
    assert client.delete_images(COLLECTION, filter="number < 3").deleted == 0
    for space in ("histogram", "siamese"):
        found = client.search(COLLECTION, image=picture(0), spaces=[space], top_k=COUNT, consistency=Consistency.STRONG)
        assert sorted(hit.image.id for hit in found.neighbours) == [image_id(n) for n in range(3, COUNT)]


def test_what_a_search_leaves_open_the_collection_says_once_it_is_set(client: Client) -> None:
    before = client.get_collection(COLLECTION)
    made = client.update_collection(COLLECTION, spaces=["histogram", "siamese"], weights={"siamese": 3.0}, ef=96)
    assert made == replace(before, defaults=made.defaults)
    assert made == client.get_collection(COLLECTION)
    found = client.search(COLLECTION, image_id=image_id(5))
    assert ([space.name for space in found.spaces], found.ef) == (["histogram", "siamese"], 96)
    again = client.search(COLLECTION, image_id=image_id(5), spaces=["histogram", "siamese"], weights={"siamese": 3.0}, ef=96)
    assert [(hit.image.id, hit.similarity) for hit in again.neighbours] == [
        (hit.image.id, hit.similarity) for hit in found.neighbours
    ]
    assert client.update_collection(COLLECTION, spaces=(), weights={}, ef=0) == before
    with pytest.raises(NotFound) as refused:
        client.update_collection(COLLECTION, spaces=["colour"])
    assert refused.value.field == "collection.defaults.spaces[0]"
    with pytest.raises(InvalidArgument) as unchanged:
        client.update_collection(COLLECTION)
    assert unchanged.value.field == "update_mask"


def test_undoing_a_job_leaves_what_others_wrote_since(client: Client, stack: Stack) -> None:
    with open_channel(stack.target) as channel:
        more = ((f"undone/{n}", picture(100 + n), {"number": 100 + n}) for n in range(5))
        job = ingest(stubs(channel), COLLECTION, more)
    kept = client.update_images(COLLECTION, [ImageUpdate("undone/2", {"keep": True}, merge=True)])
    assert client.get_job(job.id).undo is None
    assert (done := client.undo_job(job.id)).deleted == 4
    assert done.before is None
    undone = client.get_job(job.id)
    assert undone.undo is not None
    assert (undone.undo.deleted, undone.standing) == (4, "succeeded, undone")
    assert undone.undo.undo_time is not None
    assert undone.create_time is not None
    assert undone.undo.undo_time > undone.create_time
    assert ids(client, "number >= 100") == ["undone/2"]
    assert client.get_image(COLLECTION, "undone/2", consistency=Consistency.STRONG).revision == kept.revision
    second = client.undo_job(job.id)
    assert (second.deleted, second.before) == (0, undone.undo)
    again = client.get_job(job.id).undo
    assert again is not None
    assert (again.deleted, again.undo_time > undone.undo.undo_time) == (4, True), "over all calls"


def test_of_callers_that_have_read_one_revision_one_writes_and_the_others_get_both_revisions(client: Client) -> None:
    read = client.get_image(COLLECTION, image_id(9), consistency=Consistency.STRONG)

    def write(number: int) -> int | RevisionMismatch:
        update = ImageUpdate(read.id, {"by": number}, merge=True, expected_revision=read.revision)
        try:
            return client.update_images(COLLECTION, [update]).revision
        except RevisionMismatch as mismatch:
            return mismatch

    with ThreadPoolExecutor(8) as callers:
        outcomes = list(callers.map(write, range(8)))
    (written,) = (outcome for outcome in outcomes if isinstance(outcome, int))
    refused = [outcome.metadata for outcome in outcomes if isinstance(outcome, RevisionMismatch)]
    assert refused == [{"id": read.id, "expected": str(read.revision), "actual": str(written)}] * 7
    with pytest.raises(RevisionMismatch):
        client.delete_images(COLLECTION, read.id, expected_revision=read.revision)
    now = client.get_image(COLLECTION, read.id, consistency=Consistency.STRONG)
    assert (now.revision, now.metadata["by"]) == (written, outcomes.index(written))
    assert client.delete_images(COLLECTION, read.id, expected_revision=written).deleted == 1


def test_a_job_that_never_was_cannot_be_undone(client: Client) -> None:
    with pytest.raises(NotFound):
        client.undo_job("no-such-job")
