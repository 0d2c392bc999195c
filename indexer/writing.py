"""Writes the embedded items of a chunk into every space, under the collection's lock. Called by `pipeline`.

Under that lock, and after a look at what is there now, the later revision wins whatever came in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from indexer.interruption import LeaseLost
from indexer.work import Indexed, Outcome, Ready, Skipped, Work, failed
from lookalike.errors import InvalidArgument, NotFound, Unavailable
from lookalike.items import Item
from lookalike.jobs.job import SKIPPED_SUPERSEDED
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger
from lookalike.store.catalogue import Catalogue, Collection
from lookalike.store.vectors import StoredImage, VectorStore

_LOCK_TIMEOUT_S = 30.0
"""A write takes a second or so; some dozens of chunks may stand in line before one is better done again later."""


class Writer:
    """Thread-safe."""

    def __init__(
        self, ledger: Ledger, leases: Leases, catalogue: Catalogue, store: VectorStore, *, store_timeout_s: float
    ) -> None:
        self._ledger, self._leases, self._catalogue, self._store = ledger, leases, catalogue, store
        self._store_timeout_s = store_timeout_s

    def write(self, work: Work, ready: Sequence[Ready]) -> list[Outcome]:
        """Leave out what somebody later has written or deleted, then write every space. One outcome per item.

        Raises `LeaseLost` where another worker may be doing the same, `NotFound` ("collection"), `TRANSIENT` errors.
        """
        if not ready:
            return []
        name, revision = work.collection.name, work.job.revision
        with work.stages.entering("wait", self._ledger.write_lock(name, timeout_s=_LOCK_TIMEOUT_S)) as still_held:
            if not self._leases.renew(work.lease):
                raise LeaseLost("the lease went to another worker before the write")
            check_as_embedded(self._catalogue.get(name, fresh=True), work.collection)
            later = self._later(work, ready) if self._ledger.later_revision_taken(name, revision) else frozenset()
            now = datetime.now(UTC)
            images = [_stored_image(one, revision, now) for one in ready if one.item.id not in later]
            refused = self._upsert(work.collection, images)
            if not still_held():
                # Somebody else may have written meanwhile by what they saw before: look again, with the lock.
                raise LeaseLost("the write lock ran out during the write")
        return [_written(one.item, one.item.id in later, refused.get(one.item.id)) for one in ready]

    def _upsert(self, collection: Collection, images: Sequence[StoredImage]) -> dict[str, InvalidArgument]:
        """Write what can be stored; by id, why the rest cannot. The store refuses before it writes, not saying which one."""
        if not images:
            return {}
        try:
            self._store.upsert(collection, images)
        except InvalidArgument as error:
            if len(images) == 1:
                return {images[0].id: error}
            half = len(images) // 2
            return self._upsert(collection, images[:half]) | self._upsert(collection, images[half:])
        return {}

    def _later(self, work: Work, ready: Sequence[Ready]) -> frozenset[str]:
        """Ids that a later revision has written or deleted."""
        name, ids, revision = work.collection.name, [one.item.id for one in ready], work.job.revision
        stored = self._store.get_everywhere(work.collection, ids, timeout_s=self._store_timeout_s)
        buried = self._ledger.buried(name, ids)
        written = {id_ for id_, rows in stored.items() if any(row.revision > revision for row in rows)}
        return frozenset(written | {id_ for id_, deleted in buried.items() if deleted > revision})


def check_as_embedded(now: Collection, then: Collection) -> None:
    """Raise unless what was embedded for `then` can be written to the collection as it is `now`: `NotFound` ("collection")
    where another has its name, `Unavailable` where its generations have changed, so that the chunk is done again."""
    if now.uid != then.uid:
        raise NotFound("collection", then.name)
    if not now.written_as(then):
        raise Unavailable(f"collection {then.name!r}", "its generations have changed since its pictures were embedded")


def place(item: Item) -> str:
    """What is stored as the URI of an image: where it came from for people. An upload's bytes are found by their hash."""
    return item.origin or item.uri


def _stored_image(one: Ready, revision: int, now: datetime) -> StoredImage:
    return StoredImage(
        id=one.item.id,
        uri=place(one.item),
        metadata=one.item.metadata,
        sha256=one.sha256,
        revision=revision,
        indexed_at=now,
        vectors=one.vectors,
        other_vectors=one.other_vectors,
    )


def _written(item: Item, superseded: bool, refused: InvalidArgument | None) -> Outcome:
    if superseded:
        return Skipped(item, SKIPPED_SUPERSEDED)
    return Indexed(item) if refused is None else failed(item, refused)
