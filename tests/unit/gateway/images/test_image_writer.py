"""Deletes by filter and by job, and new metadata: one revision, the lock in turns, nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.images.images import Images
from gateway.jobs.ingest import Ingest
from lookalike.errors import (
    BadFilter,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LookalikeError,
    NotFound,
    RevisionMismatch,
    Unavailable,
)
from lookalike.metadata import UNKNOWN_VALUE
from lookalike.records.collection import Collection
from lookalike.records.image import Delete, Deletion, ImageUpdate, StoredImage, UpdateResult
from lookalike.records.job import Undo, Undone
from lookalike.records.job_state import JobState
from lookalike.runtime.call import Deadline
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit import stores
from tests.unit.gateway.fakes import (
    COLLECTION,
    MOMENT,
    NOTHING,
    FakeLedger,
    MemoryBackends,
    a_call,
    few_threads,
    image,
    job,
    soon,
)


def images_of(backends: MemoryBackends, ledger: FakeLedger | None = None) -> Images:
    return Images(backends, ledger or FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())


def many(count: int, **fields: Any) -> list[StoredImage]:
    return [image(f"{number:05d}", metadata={"a": 1}, **fields) for number in range(count)]


def delete(core: Images, *ids: str, deadline: Deadline | None = None, **asked: Any) -> Deletion:
    return asyncio.run(core.delete("things", Delete(ids, **asked), a_call(deadline)))


def update(core: Images, *updates: ImageUpdate) -> UpdateResult:
    return asyncio.run(core.update("things", updates, a_call()))


def test_a_delete_by_filter_goes_in_turns_under_one_revision_and_spares_what_is_newer() -> None:
    backends, ledger = MemoryBackends([*many(2300), image("later", metadata={"a": 1}, revision=10)]), FakeLedger()
    assert delete(images_of(backends, ledger), filter="a = 1") == Deletion(2300, 9)
    assert set(backends.images) == {"later"}
    assert ledger.log[0] == "revision"
    assert [entry.split()[0] for entry in ledger.log[1:]] == ["lock", "bury", "unlock"] * 3
    assert {entry.split()[-1] for entry in ledger.log if entry.startswith("bury")} == {"9"}


def test_a_delete_whose_time_ends_is_finished_by_the_same_call_again() -> None:
    class Slow(MemoryVectors):
        def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
            done = super().delete(collection, ids, deadline)
            deadlines.append(Deadline(0.0))
            return done

    class Ending(Deadline):
        """Over as soon as something was deleted."""

        def remaining_s(self) -> float:
            return deadlines[-1].remaining_s()

    deadlines = [soon()]
    backends = MemoryBackends(many(1500), make_vectors=Slow)
    core = images_of(backends)
    with pytest.raises(DeadlineExceeded):
        delete(core, filter="a = 1", deadline=Ending(soon().at_s))
    assert len(backends.images) == 500
    assert delete(core, filter="a = 1") == Deletion(500, 9)


def test_a_collection_that_is_replaced_between_two_turns_is_left_alone() -> None:
    class Replacing(MemoryVectors):
        def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
            backends.collections["things"] = replace(COLLECTION, uid="another")
            return super().delete(collection, ids, deadline)

    backends = MemoryBackends(many(1500), make_vectors=Replacing)
    core = Images(backends, FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    with pytest.raises(NotFound, match="another has taken its name"):
        delete(core, filter="a = 1")
    assert len(backends.images) == 500


@pytest.mark.parametrize(
    ("ids", "asked", "error", "field"),
    [
        ("", {}, InvalidArgument, "ids"),
        ("a", {"filter": "b = 1"}, InvalidArgument, "filter"),
        ("", {"filter": "  "}, BadFilter, "filter"),
        ("", {"filter": "b ="}, BadFilter, "filter"),
        ("ab", {"expected_revision": 1}, InvalidArgument, "expected_revision"),
        ("", {"filter": "a = 1", "expected_revision": 1}, InvalidArgument, "expected_revision"),
        ("a", {"expected_revision": 0}, InvalidArgument, "expected_revision"),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
def test_what_to_delete_is_said_in_one_way(
    ids: str, asked: dict[str, Any], error: type[LookalikeError], field: str, *, validate_only: bool
) -> None:
    backends = MemoryBackends(many(3))
    with pytest.raises(error) as raised:
        delete(images_of(backends), *ids, **asked, validate_only=validate_only)
    assert raised.value.field == field
    assert len(backends.images) == 3


@pytest.mark.parametrize(
    ("ids", "asked", "count"), [((), {"filter": "a = 1"}, 30), (("00001", "00000", "nobody", "00001"), {}, 2)]
)
def test_a_delete_that_is_only_validated_counts_names_some_and_takes_no_revision(
    ids: Sequence[str], asked: dict[str, Any], count: int
) -> None:
    backends, ledger = MemoryBackends([*many(30), image("other")]), FakeLedger()
    would = delete(images_of(backends, ledger), *ids, **asked, validate_only=True)
    assert would == Deletion(count, 0, tuple(f"{number:05d}" for number in range(min(count, 10))))
    assert (len(backends.images), ledger.log) == (31, [])


@pytest.mark.parametrize(("image_id", "actual"), [("a", "5"), ("nobody", "0")])
@pytest.mark.parametrize("validate_only", [False, True])
def test_a_delete_of_an_image_that_was_written_since_names_both_revisions(
    image_id: str, actual: str, *, validate_only: bool
) -> None:
    backends = MemoryBackends([image("a", revision=5)])
    with pytest.raises(RevisionMismatch) as raised:
        delete(images_of(backends), image_id, expected_revision=4, validate_only=validate_only)
    assert raised.value.field == "expected_revision"
    assert raised.value.metadata == {"id": image_id, "expected": "4", "actual": actual}
    assert set(backends.images) == {"a"}


def test_a_delete_of_an_image_as_it_was_read_is_done() -> None:
    backends = MemoryBackends([image("a", revision=5)])
    assert delete(images_of(backends), "a", expected_revision=5) == Deletion(1, 9)


def test_the_latest_write_counts_also_where_it_has_reached_one_space_only() -> None:
    backends = MemoryBackends([image("a", revision=5)])
    stores.put(backends.tables, COLLECTION, [image("a", revision=6)], [COLLECTION.spaces[0]])
    with pytest.raises(RevisionMismatch, match="revision 6 now"):
        delete(images_of(backends), "a", expected_revision=5)


def undo(ledger: FakeLedger, backends: MemoryBackends) -> Undone:
    core = Ingest(backends, ledger, NOTHING, NOTHING, NOTHING, NOTHING, few_threads())
    return asyncio.run(core.undo("0123456789abcdef", a_call()))


def test_undoing_a_job_deletes_what_it_wrote_last() -> None:
    backends = MemoryBackends([image("old", revision=4), image("its", revision=5), image("newer", revision=6)])
    ledger = FakeLedger(job(JobState.CANCELLED))
    assert undo(ledger, backends) == Undone(1, 9)
    assert ledger.undone == [(job(JobState.CANCELLED).id, 1)], "the job says so from then on"
    assert set(backends.images) == {"old", "newer"}
    earlier = Undo(1, MOMENT)
    again = FakeLedger(replace(job(JobState.CANCELLED), undo=earlier))
    assert undo(again, backends) == Undone(0, 9, earlier), "a second undo says what the first has done"


def test_a_job_that_may_still_write_is_not_undone() -> None:
    backends = MemoryBackends([image("its", revision=5)])
    with pytest.raises(FailedPrecondition) as raised:
        undo(FakeLedger(job(JobState.CANCELLING)), backends)
    assert raised.value.reason == "JOB_NOT_ENDED"
    backends.collections["things"] = replace(COLLECTION, uid="another")
    with pytest.raises(NotFound):
        undo(FakeLedger(job(JobState.SUCCEEDED)), backends)
    assert set(backends.images) == {"its"}


def test_metadata_is_replaced_or_merged_and_what_is_missing_is_named() -> None:
    backends = MemoryBackends([image(i, metadata={"label": "Coat", "year": 2019}) for i in "abc"])
    ledger = FakeLedger()
    done = update(
        images_of(backends, ledger),
        ImageUpdate("a", {"size": 3}),
        ImageUpdate("nobody", {}),
        ImageUpdate("b", {"year": None, "size": 3}, merge=True),
        ImageUpdate("c", {"year": None}),
    )
    assert (done.updated, done.missing_ids, done.revision) == (3, ("nobody",), 9)
    assert ledger.log == ["lock things", "revision", "unlock"]
    assert {one.id: (dict(one.metadata), one.revision) for one in backends.images.values()} == {
        "a": ({"size": 3}, 9),
        "b": ({"label": "Coat", "size": 3}, 9),
        "c": ({"year": None}, 9),
    }


LARGE = {"text": "x" * 10_000}


@pytest.mark.parametrize(
    ("updates", "field"),
    [
        ([], "updates"),
        ([ImageUpdate(str(n), {}) for n in range(1001)], "updates"),
        ([ImageUpdate("a", {}), ImageUpdate("", {})], "updates[1].id"),
        ([ImageUpdate("a", {}), ImageUpdate("a", {})], "updates[1].id"),
        ([ImageUpdate("a", {"text": "x" * 20_000})], "updates[0].metadata"),
        ([ImageUpdate("a", {"n": [1, float("nan")]})], "updates[0].metadata.n[1]"),
        ([ImageUpdate("a", {"n": UNKNOWN_VALUE}, merge=True)], "updates[0].metadata.n"),
        ([ImageUpdate("a", {}, expected_revision=0)], "updates[0].expected_revision"),
        ([ImageUpdate("b", {}), ImageUpdate("a", {"more": "x" * 10_000}, merge=True)], "updates[1].metadata"),
    ],
)
def test_an_update_that_cannot_be_stored_changes_nothing(updates: list[ImageUpdate], field: str) -> None:
    backends = MemoryBackends([image("a", metadata=LARGE), image("b")])
    with pytest.raises(InvalidArgument) as raised:
        update(images_of(backends), *updates)
    assert raised.value.field == field
    assert backends.images["a"].metadata == LARGE
    assert "rewrite" not in backends.vectors.calls


def test_a_picture_that_is_half_replaced_is_not_updated() -> None:
    backends = MemoryBackends([image("a")])
    stores.put(backends.tables, COLLECTION, [image("a", sha256="d" * 64)], [COLLECTION.spaces[0]])
    with pytest.raises(Unavailable, match="half-way"):
        update(images_of(backends), ImageUpdate("a", {"x": 1}))
    assert backends.images["a"].metadata == {}


def test_one_image_that_was_written_since_keeps_all_updates_from_being_made() -> None:
    backends = MemoryBackends([image(image_id, revision=5) for image_id in "ab"])
    asked = [ImageUpdate("a", {"x": 1}, expected_revision=5), ImageUpdate("b", {"x": 1}, expected_revision=4)]
    with pytest.raises(RevisionMismatch) as raised:
        update(images_of(backends), *asked)
    assert (raised.value.field, raised.value.metadata["actual"]) == ("updates[1].expected_revision", "5")
    assert "rewrite" not in backends.vectors.calls
    assert update(images_of(backends), asked[0]).updated == 1
    with pytest.raises(RevisionMismatch, match="revision 9 now"):
        update(images_of(backends), asked[0])
    with pytest.raises(RevisionMismatch, match="is not there any more"):
        update(images_of(backends), ImageUpdate("nobody", {}, expected_revision=1))


def test_an_update_whose_lock_was_lost_changes_nothing() -> None:
    backends, ledger = MemoryBackends([image("a")]), FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable):
        update(images_of(backends, ledger), ImageUpdate("a", {"x": 1}))
    assert backends.images["a"].metadata == {}
