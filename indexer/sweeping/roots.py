"""What may still be asked for, and so what a sweep must not remove: of uploads, of jobs, of every row in the store.

Uploads and jobs come first: a picture that goes from an upload into a job, or from a job into a row, during the look is seen in
one of the two places at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import structlog

from indexer.planning.sources import failed_items
from lookalike.artifacts import SCHEME, Artifacts
from lookalike.errors import Internal, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_columns
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.uploads import UPLOADS, Uploads
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.records.source import UploadSource
from lookalike.spaces import Space

_ROWS_AT_ONCE = 1000
_PAGE_TIMEOUT_S = 60.0
_ORIGINALS = SCHEME + "originals/"


class Rows(Protocol):
    """The part of `Vectors` that is needed."""

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        """(id, SHA-256) of rows after `after_id`."""


class Collections(Protocol):
    """The part of `Catalogue` that is needed."""

    def list(self) -> list[Collection]: ...


class Roots:
    """Reads everything that names a picture, a page at a time. Blocks for minutes where there are millions."""

    def __init__(
        self, ledger: Ledger, artifacts: Artifacts, uploads: Uploads, outcomes: Outcomes, catalogue: Collections, store: Rows
    ) -> None:
        self._ledger, self._artifacts, self._uploads, self._outcomes = ledger, artifacts, uploads, outcomes
        self._catalogue, self._store = catalogue, store

    def needed_uploads(self) -> frozenset[str]:
        """Ids of the uploads that a job has yet to plan."""
        jobs = self._ledger.active_jobs()
        return frozenset(job.source.upload_id for job in jobs if isinstance(job.source, UploadSource) and not job.manifest)

    def uids(self) -> dict[str, str]:
        """The collections there are now: uid by name."""
        return {collection.name: collection.uid for collection in self._catalogue.list()}

    def state(self) -> object:
        """A value that stays equal until something happens that may have made a file useless."""
        collections = self._catalogue.list()
        revisions = self._ledger.revisions([collection.name for collection in collections])
        there = [(one.uid, revision, *sorted(one.physicals)) for one, revision in zip(collections, revisions, strict=True)]
        jobs = [(job.id, job.state.name) for job in self._ledger.kept_jobs()]
        return [there, jobs, self._artifacts.names(UPLOADS)]

    def of_upload(self, upload_id: str) -> Iterator[str]:
        """SHA-256 of what a complete upload holds; nothing where there is no such upload any more."""
        try:
            yield from _originals(item.uri for item in self._uploads.items(upload_id))
        except NotFound:
            return

    def of_jobs(self) -> Iterator[str]:
        """SHA-256 of what jobs under way have yet to read, and of what failed in those that have ended and can be retried."""
        uids = self.uids()
        for job in self._ledger.kept_jobs():
            if uids.get(job.collection) != job.collection_uid or not job.manifest:
                continue
            if not job.state.ended:
                yield from _originals(uri for (uri,) in read_columns(self._artifacts, job.manifest, "uri"))
            elif job.counts.failed:
                yield from self._of_failures(job)

    def of_rows(self) -> Iterator[str]:
        """SHA-256 of every row of every space, in both generations: a rollback needs the earlier one's pictures as well."""
        for collection in self._catalogue.list():
            for space in collection.written:
                try:
                    yield from self._of_space(collection, space)
                except NotFound:  # The collection was deleted, or a generation of it was dropped, during the look.
                    continue

    def _of_space(self, collection: Collection, space: Space) -> Iterator[str]:
        after_id = ""
        while True:
            rows = self._store.contents(collection, space, after_id=after_id, limit=_ROWS_AT_ONCE, timeout_s=_PAGE_TIMEOUT_S)
            yield from (sha256 for _, sha256 in rows)
            if len(rows) < _ROWS_AT_ONCE:
                return
            after_id = rows[-1][0]

    def _of_failures(self, job: Job) -> Iterator[str]:
        items = failed_items(self._ledger, self._outcomes, self._artifacts, job.id)
        try:
            yield from _originals(item.uri for item in items)
        except (Internal, NotFound) as error:  # Failures that cannot be read cannot be retried either.
            structlog.get_logger().warning("what failed is not known any more", job=job.id, problem=error.message)


def _originals(uris: Iterable[str]) -> Iterator[str]:
    for uri in uris:
        if uri.startswith(_ORIGINALS):
            yield uri.rpartition("/")[2]
