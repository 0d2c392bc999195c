"""Writes to images, one request at a time: delete by id, filter or job; new metadata; images with vectors.

Called by `Images` and `Ingest`. Every write takes a revision and is done in a session of `lookalike.writes`, as the workers'
writes are, so that the later revision wins whatever comes in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from gateway.backends.milvus import Backends, find_collection
from gateway.images.given_vectors import checked
from lookalike.errors import BadFilter, InvalidArgument, RevisionMismatch, Unavailable
from lookalike.filters.parsing import parse
from lookalike.jobs.ledger import Ledger
from lookalike.metadata import check_metadata
from lookalike.names import check_id
from lookalike.records.filter import Condition, Selection
from lookalike.records.image import Delete, Deletion, GivenImage, ImageUpdate, StoredImage, UpdateResult
from lookalike.runtime.call import Deadline
from lookalike.spaces import Space
from lookalike.writes import Session

MAX_IDS_PER_WRITE = 1000
MAX_SAMPLE_IDS = 10
_DELETED_AT_ONCE = 1000
"""Images deleted per turn under the lock: a turn takes about a second, so that jobs that write meanwhile wait no longer."""


class ImageWriter:
    """Blocks; called in the gateway's threads. Raises `Unavailable` where the lock is held by others or lost."""

    def __init__(self, backends: Backends, ledger: Ledger) -> None:
        self._backends, self._ledger = backends, ledger

    def would_delete(self, name: str, asked: Delete, condition: Condition | None, deadline: Deadline) -> Deletion:
        """What a delete would delete now: how many images, and the first of their ids. Raises `RevisionMismatch`."""
        collection, vectors = find_collection(self._backends, name), self._backends.vectors
        if condition is None:
            there = vectors.get_everywhere(collection, asked.ids, timeout_s=deadline.remaining_s())
            _check_revision("expected_revision", asked.ids[0], asked.expected_revision, there.get(asked.ids[0], ()))
            return Deletion(len(there), 0, tuple(sorted(there)[:MAX_SAMPLE_IDS]))
        count = vectors.count(collection, filter=condition, timeout_s=deadline.remaining_s())
        first = vectors.matching_ids(collection, Selection(condition), limit=MAX_SAMPLE_IDS, timeout_s=deadline.remaining_s())
        return Deletion(count, 0, tuple(first))

    def delete(self, name: str, ids: Sequence[str], deadline: Deadline, *, expected_revision: int | None = None) -> Deletion:
        """Delete `ids` in every space: how many were there, and the revision of the delete. With `expected_revision` there is
        one id; raises `RevisionMismatch` before anything is deleted."""
        with self._session(name, deadline) as session:
            if expected_revision is not None:
                rows = self._backends.vectors.get_everywhere(session.collection, ids, timeout_s=deadline.remaining_s())
                _check_revision("expected_revision", ids[0], expected_revision, rows.get(ids[0], ()))
            revision = self._ledger.take_revision(name)
            deleted = session.delete(sorted(set(ids)), revision, timeout_s=deadline.remaining_s())
            return Deletion(deleted, revision)

    def delete_matching(
        self,
        name: str,
        deadline: Deadline,
        *,
        uid: str = "",
        condition: Condition | None = None,
        of_revision: int | None = None,
        progress: Callable[[int], None] = lambda _deleted: None,
    ) -> Deletion:
        """Delete what `condition` holds for, or what `of_revision` wrote, as `delete` does.

        Deletes a turn at a time, in order of id. Images written later survive. Where the deadline ends this early, every image
        is there or gone as a whole, and the same call goes on. Each turn calls `progress` with how many it deleted. Raises
        `NotFound` where the collection is not the one of `uid`.
        """
        revision = self._ledger.take_revision(name)
        selection = Selection(condition, older_than=revision, revision=of_revision)
        deleted, after_id = 0, ""
        while True:
            with self._session(name, deadline, uid) as session:
                uid = session.collection.uid
                left_s = deadline.remaining_s()
                ids = self._backends.vectors.matching_ids(
                    session.collection, selection, after_id=after_id, limit=_DELETED_AT_ONCE, timeout_s=left_s
                )
                gone = session.delete(ids, revision, timeout_s=deadline.remaining_s())
            deleted += gone
            progress(gone)
            if len(ids) < _DELETED_AT_ONCE:
                return Deletion(deleted, revision)
            after_id = ids[-1]

    def update(self, name: str, updates: Sequence[ImageUpdate], deadline: Deadline) -> UpdateResult:
        """Write new metadata, vectors untouched. Raises `InvalidArgument` ("updates[i].metadata") and `RevisionMismatch`
        ("updates[i].expected_revision") before anything is written.

        `Unavailable` where a job is half-way through replacing one of the pictures: its vectors are of two pictures then.
        """
        with self._session(name, deadline) as session:
            collection, ids = session.collection, [update.id for update in updates]
            stored = self._backends.vectors.get_by_space(collection, ids, timeout_s=deadline.remaining_s())
            for index, update in enumerate(updates):
                rows = stored.get(update.id, {}).values()
                _check_revision(f"updates[{index}].expected_revision", update.id, update.expected_revision, rows)
            images = [
                _updated(index, update, stored[update.id], collection.last)
                for index, update in enumerate(updates)
                if all(space in stored.get(update.id, ()) for space in collection.spaces)
            ]
            revision = self._ledger.take_revision(name)
            session.rewrite([replace(image, revision=revision) for image in images], timeout_s=deadline.remaining_s())
        there = {image.id for image in images}
        return UpdateResult(len(images), tuple(id_ for id_ in ids if id_ not in there), revision)

    def write_given(self, name: str, images: Sequence[GivenImage], deadline: Deadline, *, last: bool) -> int:
        """Write images with the vectors they bring; the revision of the write. After the `last` ones, all are indexed."""
        with self._session(name, deadline) as session:
            stored = checked(images, session.collection)
            revision = self._ledger.take_revision(name)
            session.upsert([replace(image, revision=revision) for image in stored], timeout_s=deadline.remaining_s())
        if last:
            self._backends.vectors.flush(session.collection, timeout_s=deadline.remaining_s())
        return revision

    def _session(self, name: str, deadline: Deadline, uid: str = "") -> AbstractContextManager[Session]:
        writes = self._backends.writes(self._ledger)
        return writes.session(name, uid=uid, timeout_s=deadline.remaining_s(), field="collection")


def check_ids(field: str, ids: Sequence[str]) -> None:
    """Raise `InvalidArgument` unless these are 1 to 1,000 ids of images."""
    if not 1 <= len(ids) <= MAX_IDS_PER_WRITE:
        raise InvalidArgument(field, f"{len(ids)} are given; 1 to {MAX_IDS_PER_WRITE} are allowed")
    for index, image_id in enumerate(ids):
        check_id(f"{field}[{index}]", image_id)


def check_deletable(asked: Delete) -> Condition | None:
    """What the filter says; None where there are ids. Raises `InvalidArgument` unless exactly one says what to delete, and
    `BadFilter` for a filter that names nothing."""
    if asked.ids and asked.filter:
        raise InvalidArgument("filter", "is given besides ids; give one of them")
    if asked.expected_revision is not None:
        if len(asked.ids) != 1:
            raise InvalidArgument("expected_revision", f"goes with a single id; {len(asked.ids)} are given")
        _check_expected("expected_revision", asked.expected_revision)
    if not asked.filter:
        check_ids("ids", asked.ids)
        return None
    condition = parse(asked.filter)
    if condition is None:
        raise BadFilter("names nothing; delete the collection to delete every image")
    return condition


def check_updates(updates: Sequence[ImageUpdate]) -> None:
    """Raise `InvalidArgument` unless these are 1 to 1,000 updates that can be stored, each of another image."""
    if not 1 <= len(updates) <= MAX_IDS_PER_WRITE:
        raise InvalidArgument("updates", f"{len(updates)} are given; 1 to {MAX_IDS_PER_WRITE} are allowed")
    seen: set[str] = set()
    for index, update in enumerate(updates):
        check_id(f"updates[{index}].id", update.id)
        if update.id in seen:
            raise InvalidArgument(f"updates[{index}].id", f"{update.id!r} comes twice")
        seen.add(update.id)
        _check_expected(f"updates[{index}].expected_revision", update.expected_revision)
        check_metadata(update.metadata, f"updates[{index}].metadata")


def _updated(index: int, update: ImageUpdate, rows: Mapping[Space, StoredImage], shown: Space) -> StoredImage:
    if len({row.sha256 for row in rows.values()}) > 1:
        raise Unavailable(f"image {update.id!r}", "a job is half-way through replacing it; try again, or ingest it again")
    metadata = dict(update.metadata)
    if update.merge:
        both = {**rows[shown].metadata, **metadata}
        metadata = {key: value for key, value in both.items() if key not in metadata or value is not None}
        check_metadata(metadata, f"updates[{index}].metadata")
    return replace(rows[shown], metadata=metadata, vectors={})


def _check_expected(field: str, revision: int | None) -> None:
    if revision is not None and revision < 1:
        raise InvalidArgument(field, f"{revision} is out of range; revisions begin with 1")


def _check_revision(field: str, image_id: str, expected: int | None, rows: Iterable[StoredImage]) -> None:
    """Raise `RevisionMismatch` where the rows of an image, in whichever space, have been written since `expected`."""
    actual = max((row.revision for row in rows), default=0)
    if expected is not None and actual != expected:
        raise RevisionMismatch(field, image_id, expected, actual)
