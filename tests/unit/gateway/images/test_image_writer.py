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
    Unavailable,
)
from lookalike.records.collection import Collection
from lookalike.records.image import Deletion, ImageUpdate, StoredImage, UpdateResult
from lookalike.records.job_state import JobState
from lookalike.runtime.call import Deadline
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit import stores
from tests.unit.gateway.fakes import (
    COLLECTION,
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


def delete(core: Images, ids: Sequence[str] = (), filter_text: str = "", deadline: Deadline | None = None) -> Deletion:
    return asyncio.run(core.delete("things", ids, filter_text, a_call(deadline)))


def update(core: Images, *updates: ImageUpdate) -> UpdateResult:
    return asyncio.run(core.update("things", updates, a_call()))


def test_a_delete_by_filter_goes_in_turns_under_one_revision_and_spares_what_is_newer() -> None:
    backends, ledger = MemoryBackends([*many(2300), image("later", metadata={"a": 1}, revision=10)]), FakeLedger()
    assert delete(images_of(backends, ledger), filter_text="a = 1") == Deletion(2300, 9)
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
        delete(core, filter_text="a = 1", deadline=Ending(soon().at_s))
    assert len(backends.images) == 500
    assert delete(core, filter_text="a = 1") == Deletion(500, 9)


def test_a_collection_that_is_replaced_between_two_turns_is_left_alone() -> None:
    class Replacing(MemoryVectors):
        def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
            backends.collections["things"] = replace(COLLECTION, uid="another")
            return super().delete(collection, ids, deadline)

    backends = MemoryBackends(many(1500), make_vectors=Replacing)
    core = Images(backends, FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    with pytest.raises(NotFound, match="another has taken its name"):
        delete(core, filter_text="a = 1")
    assert len(backends.images) == 500


@pytest.mark.parametrize(
    ("ids", "filter_text", "error", "field"),
    [
        ([], "", InvalidArgument, "ids"),
        (["a"], "b = 1", InvalidArgument, "filter"),
        ([], "  ", BadFilter, "filter"),
        ([], "b =", BadFilter, "filter"),
    ],
)
def test_what_to_delete_is_said_in_one_way(ids: list[str], filter_text: str, error: type[LookalikeError], field: str) -> None:
    backends = MemoryBackends(many(3))
    with pytest.raises(error) as raised:
        delete(images_of(backends), ids, filter_text)
    assert raised.value.field == field
    assert len(backends.images) == 3


def undo(ledger: FakeLedger, backends: MemoryBackends) -> Deletion:
    core = Ingest(backends, ledger, NOTHING, NOTHING, NOTHING, NOTHING, few_threads())
    return asyncio.run(core.undo("0123456789abcdef", a_call()))


def test_undoing_a_job_deletes_what_it_wrote_last() -> None:
    backends = MemoryBackends([image("old", revision=4), image("its", revision=5), image("newer", revision=6)])
    ledger = FakeLedger(job(JobState.CANCELLED))
    assert undo(ledger, backends) == Deletion(1, 9)
    assert ledger.undone == [(job(JobState.CANCELLED).id, 1)], "the job says so from then on"
    assert set(backends.images) == {"old", "newer"}


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


def test_an_update_whose_lock_was_lost_changes_nothing() -> None:
    backends, ledger = MemoryBackends([image("a")]), FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable):
        update(images_of(backends, ledger), ImageUpdate("a", {"x": 1}))
    assert backends.images["a"].metadata == {}
