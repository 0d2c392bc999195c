"""Begins, switches and drops generations: each one write to the catalogue, in a session of `lookalike.writes`.

Called by `worker` for its jobs, and by the reconciler for what jobs and processes that died have left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from indexer.chunk.embedder import Embedder
from lookalike.errors import NotFound
from lookalike.items import Item
from lookalike.jobs.leases import Lease
from lookalike.jobs.ledger import Ledger
from lookalike.names import MAX_PAGE_SIZE
from lookalike.records.collection import Collection, GenerationState
from lookalike.records.image import Consistency, StoredImage
from lookalike.records.job import Job
from lookalike.store.generations import (
    begun,
    is_filled_by,
    made_anew,
    specs_to_make,
    switched,
    without_filled_by,
    without_overdue,
)
from lookalike.store.protocols import Catalogue, Vectors
from lookalike.writes import JOB_LOCK_TIMEOUT_S, Writes


class Generations:
    """Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        writes: Writes,
        catalogue: Catalogue,
        store: Vectors,
        embedder: Embedder,
        *,
        store_timeout_s: float,
    ) -> None:
        self._ledger, self._writes, self._catalogue = ledger, writes, catalogue
        self._store, self._embedder, self._store_timeout_s = store, embedder, store_timeout_s

    def items(self, job: Job, lease: Lease) -> Iterator[Item]:
        """Begin the generation that `job` fills, unless that was done, then list the images of the current one, in order of id.

        From then on every write goes to both, so an image that is not listed is in both, or gone. Raises `NotFound`
        (collection, model), `FailedPrecondition` where the collection cannot be re-embedded, `TRANSIENT` errors, `LeaseLost`.
        """
        images = itertools.chain.from_iterable(self.pages(self._begin(job, lease)))
        for position, image in enumerate(images):
            yield Item(position, image.id, image.uri)

    def pages(self, collection: Collection) -> Iterator[list[StoredImage]]:
        """All images of one generation, in order of id."""
        after_id: str | None = ""
        while after_id is not None:
            page = self._store.page(
                collection,
                after_id=after_id,
                limit=MAX_PAGE_SIZE,
                consistency=Consistency.STRONG,
                timeout_s=self._store_timeout_s,
            )
            yield page
            after_id = page[-1].id if len(page) == MAX_PAGE_SIZE else None

    def switch(self, job: Job, lease: Lease) -> Collection:
        """Let the collection be searched in the generation that `job` has filled, and keep the one before for its grace."""
        drop_time = datetime.now(UTC) + job.options.grace
        return self._change(job, lease, lambda now: switched(now, job.id, drop_time))

    def tidy(self) -> None:
        """Drop generations that no job fills any more, and previous ones whose grace is over."""
        for collection in self._catalogue.list():
            with suppress(NotFound):  # Deleted since the list was read.
                self.tidy_one(collection)

    def tidy_one(self, collection: Collection) -> None:
        """Tidy one collection, as `tidy` does."""
        other, now = collection.other, datetime.now(UTC)
        if other is None:
            return
        if other.state is GenerationState.FILLING:
            job = self._ledger.find(other.job_id)
            if job is not None and not job.state.ended:
                return
        elif without_overdue(collection, now) == collection:
            return
        log = structlog.get_logger().bind(collection=collection.name, generation=other.generation, job=other.job_id)
        with self._writes.session(collection.name, uid=collection.uid, timeout_s=JOB_LOCK_TIMEOUT_S) as session:
            session.change(lambda there: without_overdue(without_filled_by(there, other.job_id), now))
        log.info("generation dropped", was=other.state.value)

    def tidy_leftovers(self) -> None:
        """Drop the physical collections that no row of the catalogue names, which killed changes of a collection left."""
        for name in self._catalogue.with_leftovers():
            with self._writes.session(name, timeout_s=JOB_LOCK_TIMEOUT_S) as session:
                session.change(lambda there: there)

    def _begin(self, job: Job, lease: Lease) -> Collection:
        now = self._catalogue.get(job.collection, fresh=True)
        if now.uid == job.collection_uid and is_filled_by(now, job.id):
            return now
        described = self._embedder.describe(specs_to_make(now, job.options.space, job.options.model))
        return self._change(job, lease, lambda there: begun(there, job.id, made_anew(there, described)))

    def _change(self, job: Job, lease: Lease, change: Callable[[Collection], Collection]) -> Collection:
        with self._writes.session(job.collection, uid=job.collection_uid, lease=lease, timeout_s=JOB_LOCK_TIMEOUT_S) as session:
            return session.change(change)
