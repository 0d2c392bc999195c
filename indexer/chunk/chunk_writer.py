"""Writes the items of a chunk into every space, in a session of `lookalike.writes`. Called by `pipeline`.

Under the session's lock, and after a look at what is there now, the later revision wins whatever came in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from indexer.chunk.comparing import NEAR_DUPLICATE_OF, kept_link, place, same_bytes
from indexer.chunk.items import Chunk, Indexed, Outcome, Skipped, ToWrite, failed
from indexer.chunk.near_duplicates import NearDuplicates
from lookalike.errors import InvalidArgument, Unavailable
from lookalike.jobs.ledger import Ledger
from lookalike.metadata import check_metadata
from lookalike.records.image import StoredImage
from lookalike.records.job import SKIPPED_NEAR_DUPLICATE, SKIPPED_SUPERSEDED, NearDuplicatePolicy
from lookalike.store.protocols import Vectors
from lookalike.writes import JOB_LOCK_TIMEOUT_S, Session, Writes

Stored = Mapping[str, Sequence[StoredImage]]
"""Rows by id, as `Vectors.get_everywhere` gives them."""


class Writer:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, writes: Writes, store: Vectors, *, store_timeout_s: float) -> None:
        self._ledger, self._writes, self._store = ledger, writes, store
        self._near_duplicates = NearDuplicates(store, timeout_s=store_timeout_s)
        self._store_timeout_s = store_timeout_s

    def write(self, chunk: Chunk, ready: Sequence[ToWrite]) -> list[Outcome]:
        """Leave out what a later revision has written or deleted, then write every space. One outcome per item.

        Raises `LeaseLost` where another worker may be doing the same, `NotFound` ("collection"), `TRANSIENT` errors.
        """
        if not ready:
            return []
        with session_for(chunk, self._writes) as session:
            return self._write(session, chunk, ready)

    def _write(self, session: Session, chunk: Chunk, ready: Sequence[ToWrite]) -> list[Outcome]:
        later_taken = self._ledger.later_revision_taken(chunk.collection.name, chunk.job.revision)
        must_look = (
            later_taken
            or chunk.job.options.near_duplicates is not NearDuplicatePolicy.KEEP
            or any(not one.vectors for one in ready)
        )
        stored = self._stored(chunk, ready) if must_look else {}
        superseded = self._later(chunk, ready, stored) if later_taken else frozenset()
        current = [one for one in ready if one.item.id not in superseded]
        originals = self._near_duplicates.find(chunk, current, stored)
        left_out = frozenset(originals if chunk.job.options.near_duplicates is NearDuplicatePolicy.SKIP else ())
        # A killed attempt had written these in part, before their originals were there.
        half_written = [image_id for image_id in left_out if image_id in stored]
        session.remove_half_written(half_written, timeout_s=self._store_timeout_s)
        writing = [one for one in current if one.item.id not in left_out]
        refused = _write_all(session, chunk, writing, stored, originals)
        return [_outcome(one, superseded, left_out, refused) for one in ready]

    def _stored(self, chunk: Chunk, ready: Sequence[ToWrite]) -> Stored:
        ids = [one.item.id for one in ready]
        return self._store.get_everywhere(chunk.collection, ids, timeout_s=self._store_timeout_s)

    def _later(self, chunk: Chunk, ready: Sequence[ToWrite], stored: Stored) -> frozenset[str]:
        """Ids that a later revision has written or deleted."""
        revision = chunk.job.revision
        buried = self._ledger.buried(chunk.collection.name, [one.item.id for one in ready])
        written = {id_ for id_, rows in stored.items() if any(row.revision > revision for row in rows)}
        return frozenset(written | {id_ for id_, deleted in buried.items() if deleted > revision})


def _write_all(
    session: Session, chunk: Chunk, writing: Sequence[ToWrite], stored: Stored, originals: Mapping[str, str]
) -> dict[str, InvalidArgument]:
    """Write what can be stored; by id, why the rest cannot."""
    now, revision = datetime.now(UTC), chunk.job.revision
    refused: dict[str, InvalidArgument] = {}
    new: list[StoredImage] = []
    kept: list[StoredImage] = []
    for one in writing:
        rows = stored.get(one.item.id, ())
        if not one.vectors and not same_bytes(rows, one.sha256, chunk):
            # The image has been replaced or deleted since it was compared.
            raise Unavailable(f"image {one.item.id!r}", "it was changed while the chunk was worked on")
        metadata = kept_link(one.item.metadata, rows[-1].metadata) if not one.vectors else dict(one.item.metadata)
        try:
            metadata = _linked(metadata, originals.get(one.item.id))
        except InvalidArgument as error:
            refused[one.item.id] = error
            continue
        image = StoredImage(one.item.id, place(one.item), metadata, one.sha256, revision, now, one.vectors, one.other_vectors)
        (new if one.vectors else kept).append(image)
    return refused | each_that_can(session.upsert, new) | each_that_can(session.rewrite, kept)


def session_for(chunk: Chunk, writes: Writes) -> AbstractContextManager[Session]:
    """A session to write the vectors of a chunk's pictures; the wait for it counts to the stage `wait`."""
    return writes.session(
        chunk.collection.name,
        embedded_for=chunk.collection,
        lease=chunk.lease,
        timeout_s=JOB_LOCK_TIMEOUT_S,
        waiting=chunk.stages.of("wait"),
    )


def each_that_can(write: Callable[[Sequence[StoredImage]], None], images: Sequence[StoredImage]) -> dict[str, InvalidArgument]:
    """Write what can be stored; by id, why the rest cannot. The store refuses before it writes, and does not say which
    image."""
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
    one: ToWrite, superseded: frozenset[str], left_out: frozenset[str], refused: Mapping[str, InvalidArgument]
) -> Outcome:
    if one.item.id in superseded:
        return Skipped(one.item, SKIPPED_SUPERSEDED)
    if one.item.id in left_out:
        return Skipped(one.item, SKIPPED_NEAR_DUPLICATE)
    error = refused.get(one.item.id)
    return Indexed(one.item) if error is None else failed(one.item, error)
