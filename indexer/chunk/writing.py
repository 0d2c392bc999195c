"""Writes the items of a chunk into every space, under the collection's lock. Called by `pipeline`.

Under that lock, and after a look at what is there now, the later revision wins whatever came in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from indexer.chunk.comparing import NEAR_DUPLICATE_OF, kept_link, place, same_bytes
from indexer.chunk.items import Indexed, Outcome, Ready, Skipped, Work, failed
from indexer.chunk.near_duplicates import NearDuplicates
from indexer.interruption import LeaseLost
from lookalike.errors import InvalidArgument, NotFound, Unavailable
from lookalike.items import check_metadata
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.records.job import SKIPPED_NEAR_DUPLICATE, SKIPPED_SUPERSEDED, NearDuplicatePolicy
from lookalike.store.protocols import Catalogue, Vectors

_LOCK_TIMEOUT_S = 30.0
"""A write takes a second or so; some dozens of chunks may stand in line before one is better done again later."""

Stored = Mapping[str, Sequence[StoredImage]]
"""Rows by id, as `Vectors.get_everywhere` gives them."""


class Writer:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, leases: Leases, catalogue: Catalogue, store: Vectors, *, store_timeout_s: float) -> None:
        self._ledger, self._leases, self._catalogue, self._store = ledger, leases, catalogue, store
        self._near_duplicates = NearDuplicates(store, timeout_s=store_timeout_s)
        self._store_timeout_s = store_timeout_s

    def write(self, work: Work, ready: Sequence[Ready]) -> list[Outcome]:
        """Leave out what somebody later has written or deleted, then write every space. One outcome per item.

        Raises `LeaseLost` where another worker may be doing the same, `NotFound` ("collection"), `TRANSIENT` errors.
        """
        if not ready:
            return []
        name = work.collection.name
        with work.stages.entering("wait", self._ledger.write_lock(name, timeout_s=_LOCK_TIMEOUT_S)) as still_held:
            if not self._leases.renew(work.lease):
                raise LeaseLost("the lease went to another worker before the write")
            check_as_embedded(self._catalogue.get(name, fresh=True), work.collection)
            outcomes = self._write(work, ready)
            if not still_held():
                # Somebody else may have written meanwhile by what they saw before: look again, with the lock.
                raise LeaseLost("the write lock ran out during the write")
        return outcomes

    def _write(self, work: Work, ready: Sequence[Ready]) -> list[Outcome]:
        later_taken = self._ledger.later_revision_taken(work.collection.name, work.job.revision)
        must_look = (
            later_taken
            or work.job.options.near_duplicates is not NearDuplicatePolicy.KEEP
            or any(not one.vectors for one in ready)
        )
        stored = self._stored(work, ready) if must_look else {}
        superseded = self._later(work, ready, stored) if later_taken else frozenset()
        current = [one for one in ready if one.item.id not in superseded]
        originals = self._near_duplicates.find(work, current, stored)
        left_out = frozenset(originals if work.job.options.near_duplicates is NearDuplicatePolicy.SKIP else ())
        # Where an attempt that was killed had written one in part, before its original was there.
        if half_written := [image_id for image_id in left_out if image_id in stored]:
            self._store.delete(work.collection, half_written, timeout_s=self._store_timeout_s)
        writing = [one for one in current if one.item.id not in left_out]
        refused = self._write_all(work, writing, stored, originals)
        return [_outcome(one, superseded, left_out, refused) for one in ready]

    def _write_all(
        self, work: Work, writing: Sequence[Ready], stored: Stored, originals: Mapping[str, str]
    ) -> dict[str, InvalidArgument]:
        """Write what can be stored; by id, why the rest cannot."""
        now, revision = datetime.now(UTC), work.job.revision
        refused: dict[str, InvalidArgument] = {}
        new: list[StoredImage] = []
        kept: list[StoredImage] = []
        for one in writing:
            rows = stored.get(one.item.id, ())
            if not one.vectors and not same_bytes(rows, one.sha256, work):
                # Somebody has replaced or deleted it since it was compared.
                raise Unavailable(f"image {one.item.id!r}", "it was changed while the chunk was worked on")
            metadata = kept_link(one.item.metadata, rows[-1].metadata) if not one.vectors else dict(one.item.metadata)
            try:
                metadata = _linked(metadata, originals.get(one.item.id))
            except InvalidArgument as error:
                refused[one.item.id] = error
                continue
            image = StoredImage(
                one.item.id, place(one.item), metadata, one.sha256, revision, now, one.vectors, one.other_vectors
            )
            (new if one.vectors else kept).append(image)
        refused |= each_that_can(lambda some: self._store.upsert(work.collection, some), new)
        return refused | each_that_can(lambda some: self._store.rewrite(work.collection, some), kept)

    def _stored(self, work: Work, ready: Sequence[Ready]) -> Stored:
        ids = [one.item.id for one in ready]
        return self._store.get_everywhere(work.collection, ids, timeout_s=self._store_timeout_s)

    def _later(self, work: Work, ready: Sequence[Ready], stored: Stored) -> frozenset[str]:
        """Ids that a later revision has written or deleted."""
        revision = work.job.revision
        buried = self._ledger.buried(work.collection.name, [one.item.id for one in ready])
        written = {id_ for id_, rows in stored.items() if any(row.revision > revision for row in rows)}
        return frozenset(written | {id_ for id_, deleted in buried.items() if deleted > revision})


def check_as_embedded(now: Collection, then: Collection) -> None:
    """Raise unless what was embedded for `then` can be written to the collection as it is `now`: `NotFound` ("collection")
    where another has its name, `Unavailable` where its generations have changed, so that the chunk is done again."""
    if now.uid != then.uid:
        raise NotFound("collection", then.name)
    if not now.written_as(then):
        raise Unavailable(f"collection {then.name!r}", "its generations have changed since its pictures were embedded")


def each_that_can(write: Callable[[Sequence[StoredImage]], None], images: Sequence[StoredImage]) -> dict[str, InvalidArgument]:
    """Write what can be stored; by id, why the rest cannot. The store refuses before it writes, not saying which one."""
    if not images:
        return {}
    try:
        write(images)
    except InvalidArgument as error:
        if len(images) == 1:
            return {images[0].id: error}
        half = len(images) // 2
        return each_that_can(write, images[:half]) | each_that_can(write, images[half:])
    return {}


def _linked(metadata: dict[str, object], original: str | None) -> dict[str, object]:
    """`metadata` with the id of the image that this one is a near-duplicate of; a source's own key of that name stays."""
    if original is None or NEAR_DUPLICATE_OF in metadata:
        return metadata
    linked = {**metadata, NEAR_DUPLICATE_OF: original}
    try:
        check_metadata(linked)
    except InvalidArgument as error:
        raise InvalidArgument("metadata", f"has no room for {NEAR_DUPLICATE_OF}: {error.problem}") from error
    return linked


def _outcome(
    one: Ready, superseded: frozenset[str], left_out: frozenset[str], refused: Mapping[str, InvalidArgument]
) -> Outcome:
    if one.item.id in superseded:
        return Skipped(one.item, SKIPPED_SUPERSEDED)
    if one.item.id in left_out:
        return Skipped(one.item, SKIPPED_NEAR_DUPLICATE)
    error = refused.get(one.item.id)
    return Indexed(one.item) if error is None else failed(one.item, error)
