"""The last unit of a job that mirrors its source: delete what the source does not have. Called by `worker` and `forecast`.

After a kill the unit is done again from the start: what was deleted is not found again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from indexer.interruption import Interruption
from indexer.planning.seen_ids import SeenIds
from lookalike.errors import FailedPrecondition, LeaseLost, Unavailable
from lookalike.jobs.leases import Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_columns
from lookalike.records.collection import Collection
from lookalike.records.filter import Selection
from lookalike.records.job import Job
from lookalike.records.source import FolderSource
from lookalike.sources import Reader
from lookalike.sources.opening import uri_prefix
from lookalike.store.protocols import Vectors
from lookalike.writes import JOB_LOCK_TIMEOUT_S, Writes

MIRROR_INCOMPLETE = "MIRROR_INCOMPLETE"
_AT_ONCE = 1000
"""The images looked at between two looks at the lease, and deleted at most in one turn under the lock: about a second."""


class Mirror:
    """Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        writes: Writes,
        store: Vectors,
        reader: Reader,
        *,
        store_timeout_s: float,
    ) -> None:
        self._ledger, self._leases, self._writes, self._store = ledger, leases, writes, store
        self._reader, self._store_timeout_s = reader, store_timeout_s

    def run(self, job: Job, collection: Collection, lease: Lease, interruption: Interruption) -> None:
        """Delete the images of `collection` that are older than `job` and that its source does not have, and record that.

        Raises `FailedPrecondition` MIRROR_INCOMPLETE where the source may have more than the job knows, `Unavailable` while an
        older job could still write what is to go, `NotFound` ("collection"), `TRANSIENT` errors, `Draining`, `LeaseLost`.
        """
        check_complete(job)
        if self._ledger.older_job_active(collection.name, job.revision):
            self._leases.note(lease)  # The job waits for another: that is no stall.
            problem = "an older job still writes to it; what the source does not have is deleted when that has ended"
            raise Unavailable(f"collection {collection.name!r}", problem)
        deleted = job.deleted
        for ids in self.absent(job, collection, interruption):
            deleted += self._delete(job, collection, lease, ids)
            # A kill between the two leaves these uncounted. Counted before, they might not have been deleted.
            self._leases.note(lease, deleted=str(deleted))
        structlog.get_logger().info("mirrored", job=job.id, collection=collection.name, deleted=deleted)
        if not self._leases.finished(lease, deleted=str(deleted)):
            raise LeaseLost("the last unit has been recorded by another worker, or the job was stopped")

    def absent(self, job: Job, collection: Collection, interruption: Interruption) -> Iterator[Sequence[str]]:
        """Ids of the images that `run` would delete, some at a time."""
        prefix = uri_prefix(self._reader.roots, job.source.uri) if isinstance(job.source, FolderSource) else ""
        selection = Selection(uri_prefix=prefix, older_than=job.revision)
        with SeenIds() as source:
            for (image_id,) in read_columns(self._reader.artifacts, job.manifest, "id"):
                interruption.check()
                source.add(image_id)
            after_id = ""
            while True:
                interruption.check()
                ids = self._store.matching_ids(
                    collection, selection, after_id=after_id, limit=_AT_ONCE, timeout_s=self._store_timeout_s
                )
                if absent := [image_id for image_id in ids if image_id not in source]:
                    yield absent
                if len(ids) < _AT_ONCE:
                    return
                after_id = ids[-1]

    def _delete(self, job: Job, collection: Collection, lease: Lease, ids: Sequence[str]) -> int:
        """Delete those of `ids` that have not been written meanwhile; how many were there."""
        with self._writes.session(collection.name, uid=collection.uid, lease=lease, timeout_s=JOB_LOCK_TIMEOUT_S) as session:
            stored = self._store.get_everywhere(session.collection, ids, timeout_s=self._store_timeout_s)
            older = [image_id for image_id, rows in stored.items() if all(row.revision < job.revision for row in rows)]
            return session.delete(older, job.revision, timeout_s=self._store_timeout_s)


def check_complete(job: Job) -> None:
    """Raise `FailedPrecondition` MIRROR_INCOMPLETE where the source may have images that `job` does not know of."""
    if job.unidentified:
        then = f"nothing was deleted (the failures of job {job.id!r} name these items)"
        if job.options.dry_run:  # A dry run has no failures to look at.
            then = "the job would end as failed and delete nothing (a dry run without mirroring counts these items by reason)"
        raise FailedPrecondition(
            f"{job.unidentified} of {job.counts.submitted} items of the source could not be listed or have no usable id, so "
            f"nobody knows which images it has; {then}",
            reason=MIRROR_INCOMPLETE,
        )
