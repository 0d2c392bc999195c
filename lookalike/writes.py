"""The one writer: every change of a collection or of its images is made here, under the collection's write lock.

    with writes.session(name, uid=uid, lease=lease, timeout_s=30.0) as session:
        stored = vectors.get_by_space(session.collection, ids, timeout_s=30.0)  # Look, under the lock.
        session.upsert(images)  # Write what is still to be written.

A session takes the lock, renews the worker's lease where there is one, then reads the collection as it is now. Before each
call to Milvus, after each write, and when the block ends, the session asks whether lock and lease are still held. Asking costs
no round trip: the threads that renew them note the loss. The collection is read once, since nobody makes, switches or deletes
it while the lock is held.

A loss that is seen before a call keeps it from being made. A loss that is seen after a write is raised as well: another writer
may have written meanwhile by what it had seen before, so the caller must look again.

Called by the gateway (`images`, and `backends.milvus` for the collections) and by the indexer (`chunk`, `finishing`,
`reembedding`). Nothing else calls the writing methods of the store and of the catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

from lookalike.errors import DeadlineExceeded, LeaseLost, NotFound, Unavailable
from lookalike.jobs.leases import Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.store.writable import WRITE_TIMEOUT_S, Check, WritableCatalogue, WritableVectors, guarded

JOB_LOCK_TIMEOUT_S = 30.0
"""Bounds a job's wait for the lock. A write takes a second or so; after some dozens of writes a unit is better done later."""

T = TypeVar("T")


class Session:
    """The right to write to one collection, for the length of a `with` block. Made by `Writes.session`; for one thread.

    Every writing method raises `Unavailable` ("write lock") where the lock is lost, `LeaseLost` where the lease is lost, and
    the errors of the store or the catalogue.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalogue: WritableCatalogue,
        vectors: WritableVectors,
        collection: Collection,
        check: Check,
    ) -> None:
        self._ledger, self._catalogue, self._vectors = ledger, catalogue, vectors
        self.collection = collection
        """The collection as it is now, under the lock."""
        self.check = check
        """Check the lock, for work under the lock that is not a write of this session, such as the creation of a job."""

    def upsert(self, images: Sequence[StoredImage], *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Write `images` in every space of both generations; see `WritableVectors.upsert`."""
        self._write(lambda: self._vectors.upsert(self.collection, images, guarded(timeout_s, self.check)))

    def rewrite(self, images: Sequence[StoredImage], *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Give stored images new facts and leave their vectors; see `WritableVectors.rewrite`."""
        self._write(lambda: self._vectors.rewrite(self.collection, images, guarded(timeout_s, self.check)))

    def fill(self, images: Sequence[StoredImage], *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Write `images` in the spaces that only the other generation has; see `WritableVectors.fill`."""
        self._write(lambda: self._vectors.fill(self.collection, images, guarded(timeout_s, self.check)))

    def delete(self, ids: Sequence[str], revision: int, *, timeout_s: float = WRITE_TIMEOUT_S) -> int:
        """Bury `ids` at `revision`, then delete them in every space; return how many were there.

        The tombstones come first: no process finishes a delete that dies half-way, but no older job undoes it either.
        """
        if not ids:
            return 0
        self.check()
        self._ledger.bury(self.collection.name, ids, revision)
        return self._write(lambda: self._vectors.delete(self.collection, ids, guarded(timeout_s, self.check)))

    def remove_half_written(self, ids: Sequence[str], *, timeout_s: float = WRITE_TIMEOUT_S) -> int:
        """Remove the rows of `ids` that a killed writer has left; return how many there were. Without tombstones: this is not a
        delete, and an older job may still write the images."""
        if not ids:
            return 0
        return self._write(lambda: self._vectors.delete(self.collection, ids, guarded(timeout_s, self.check)))

    def change(self, change: Callable[[Collection], Collection]) -> Collection:
        """Replace the collection by the result of `change` for it, in one write; see `WritableCatalogue.change`."""

        def changed(now: Collection) -> Collection:
            _check_uid(now, self.collection.uid)
            return change(now)

        self.collection = self._write(lambda: self._catalogue.change(self.collection.name, changed, check=self.check))
        return self.collection

    def delete_collection(self) -> None:
        """Delete the collection with all its images."""
        self._write(lambda: self._catalogue.delete(self.collection.name, check=self.check))

    def _write(self, write: Callable[[], T]) -> T:
        self.check()
        written = write()
        self.check()
        return written


class Writes:
    """Makes sessions. Thread-safe. `leases` only where sessions are given a lease."""

    def __init__(
        self, ledger: Ledger, catalogue: WritableCatalogue, vectors: WritableVectors, leases: Leases | None = None
    ) -> None:
        self._ledger, self._catalogue, self._vectors, self._leases = ledger, catalogue, vectors, leases

    @contextmanager
    def session(
        self,
        name: str,
        *,
        timeout_s: float,
        uid: str = "",
        embedded_for: Collection | None = None,
        lease: Lease | None = None,
        waiting: AbstractContextManager[object] | None = None,
        field: str | None = None,
    ) -> Iterator[Session]:
        """Hold the write lock of the collection called `name`, after a wait of `timeout_s` at most, and read the collection.

        `uid` is the one that the collection must still have. `embedded_for` is the collection for which the images to write
        were embedded. `waiting` is entered for the time of the wait. `field` is the request's field that names the collection.

        Raises `NotFound` (collection; also where another has taken its name), `LeaseLost`, `DeadlineExceeded` where the lock
        came too late, and `Unavailable` where others hold the lock, where it is lost, or where the collection's generations
        have changed since `embedded_for`.
        """
        with self._alone(name, timeout_s, lease, waiting or nullcontext()) as check:
            if lease is not None and not (self._leases is not None and self._leases.renew(lease)):
                raise _lost(lease)
            now = self._look(name, field)
            if embedded_for is not None:
                _check_uid(now, embedded_for.uid, field)
                if not now.written_as(embedded_for):
                    problem = "its generations have changed since its pictures were embedded"
                    raise Unavailable(f"collection {name!r}", problem)
            _check_uid(now, uid, field)
            yield Session(self._ledger, self._catalogue, self._vectors, now, check)

    def create(self, collection: Collection, *, timeout_s: float) -> None:
        """Create `collection`, empty and searchable. Raises `AlreadyExists`, `InvalidArgument` (name), and as `session`.

        Of two gateways that create one name, the later finds the row of the earlier. A thread renews the lock, since creating a
        collection takes longer than the lock lives.
        """
        with self._alone(collection.name, timeout_s, None, nullcontext()) as check:
            self._catalogue.create(collection, check=check)

    @contextmanager
    def _alone(
        self, name: str, timeout_s: float, lease: Lease | None, waiting: AbstractContextManager[object]
    ) -> Iterator[Check]:
        began_s = time.monotonic()
        with ExitStack() as held:
            with waiting:
                still_held = held.enter_context(self._ledger.write_lock(name, timeout_s=timeout_s))

            def check() -> None:
                if not still_held():
                    raise Unavailable("write lock", f"the lock on collection {name!r} was lost; try again")
                if lease is not None and lease.lost.is_set():
                    raise _lost(lease)

            if time.monotonic() - began_s > timeout_s:
                # The caller has been refused by now, and must not change anything.
                raise DeadlineExceeded(f"the lock on collection {name!r} came after more than {timeout_s:g} s")
            yield check
            check()

    def _look(self, name: str, field: str | None) -> Collection:
        try:
            return self._catalogue.get(name, fresh=True)
        except NotFound as error:
            raise NotFound("collection", name, field=field) from error


def _check_uid(now: Collection, uid: str, field: str | None = None) -> None:
    if uid and now.uid != uid:
        raise NotFound("collection", now.name, hint="another has taken its name", field=field)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease of unit {lease.unit} of ingest job {lease.job_id} was lost; nothing more may be written")
