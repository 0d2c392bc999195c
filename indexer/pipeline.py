"""Works one chunk off: read -> skip what is unchanged -> embed -> write every space under the collection's lock.

Called by `worker` with the chunk's lease. Bad items are values, not exceptions; an exception means that the chunk as a whole
cannot go on now. At most a few calls' worth of pictures are in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from indexer.embedding import Embedded, Embedder
from indexer.interruption import Interruption, LeaseLost
from indexer.stages import Stages
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound
from lookalike.items import Item
from lookalike.jobs.job import SKIPPED_SUPERSEDED, SKIPPED_UNCHANGED, Job
from lookalike.jobs.leases import Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL
from lookalike.sources import Reader
from lookalike.spaces import Vector
from lookalike.store.catalogue import Catalogue, Collection
from lookalike.store.vectors import StoredImage, VectorStore

_ITEM_ERRORS = (NotFound, FailedPrecondition, InvalidArgument)
"""What reading one item may raise that is about this item alone."""
_LOCK_TIMEOUT_S = 30.0
"""A write takes a second or so; some dozens of chunks may stand in line before one is better done again later."""


@dataclass(frozen=True, slots=True)
class Indexed:
    item: Item


@dataclass(frozen=True, slots=True)
class Skipped:
    item: Item
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    item: Item
    reason: str
    message: str


Outcome = Indexed | Skipped | Failed


@dataclass(frozen=True, slots=True)
class _Fetched:
    item: Item
    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class _Ready:
    item: Item
    sha256: str
    vectors: Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk to work off: whose, into which collection, and when to lay it down."""

    job: Job
    collection: Collection
    items: Sequence[Item]
    lease: Lease
    interruption: Interruption


class Pipeline:
    """Owns the threads that wait for the embedder. Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        catalogue: Catalogue,
        store: VectorStore,
        reader: Reader,
        embedder: Embedder,
        *,
        concurrency: int,
        embeds_in_flight: int,
        store_timeout_s: float,
    ) -> None:
        self._ledger, self._leases, self._catalogue, self._store = ledger, leases, catalogue, store
        self._reader, self._embedder = reader, embedder
        self._embeds_in_flight, self._store_timeout_s = embeds_in_flight, store_timeout_s
        self._threads = ThreadPoolExecutor(concurrency * embeds_in_flight, thread_name_prefix="embed")

    def run(self, work: Work) -> list[Outcome]:
        """What became of every item, each exactly once. Every `Indexed` one is in every space.

        Raises `TRANSIENT` errors (nothing is lost; do the chunk again), `Draining`, `LeaseLost`, and other errors of ours where
        the job as a whole cannot go on.
        """
        stages = Stages()
        outcomes: list[Outcome] = [Failed(i, i.problem_reason, i.problem) for i in work.items if i.problem]
        good = [item for item in work.items if not item.problem]
        with stages.of("read"):
            stored = self._stored(work, good)
            # An older job still under way could write over what is skipped here, so that the older one would win.
            may_skip = not self._ledger.older_job_active(work.collection.name, work.job.revision)
        fetch = partial(self._fetch, stored=stored if may_skip else {}, outcomes=outcomes, stages=stages)
        ready = self._embedded(work, self._batches(work, good, fetch), outcomes, stages)
        with stages.of("write"):
            outcomes += self._write(work, ready)
        stages.observe()
        return outcomes

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _stored(self, work: Work, items: Sequence[Item]) -> dict[str, tuple[StoredImage, ...]]:
        ids = [item.id for item in items]
        return self._store.get_everywhere(work.collection, ids, timeout_s=self._store_timeout_s) if ids else {}

    def _fetch(
        self,
        item: Item,
        work: Work,
        *,
        stored: Mapping[str, tuple[StoredImage, ...]],
        outcomes: list[Outcome],
        stages: Stages,
    ) -> _Fetched | None:
        with stages.of("read"):
            try:
                content = self._reader.read(item.uri)
            except _ITEM_ERRORS as error:
                outcomes.append(_failed(item, error))
                return None
            sha256 = hashlib.sha256(content).hexdigest()
        rows = stored.get(item.id, ())
        if _unchanged(item, sha256, rows, len(work.collection.spaces)):
            # Written by this very job: by a worker that died before it could record the chunk.
            ours = all(row.revision == work.job.revision for row in rows)
            outcomes.append(Indexed(item) if ours else Skipped(item, SKIPPED_UNCHANGED))
            return None
        return _Fetched(item, content, sha256)

    def _batches(
        self, work: Work, items: Sequence[Item], fetch: Callable[[Item, Work], _Fetched | None]
    ) -> Iterator[list[_Fetched]]:
        """Full calls: up to 32 pictures and 16 MiB, or one larger picture alone."""
        batch: list[_Fetched] = []
        size_bytes = 0
        for item in items:
            work.interruption.check()
            fetched = fetch(item, work)
            if fetched is None:
                continue
            if batch and (len(batch) == MAX_IMAGES_PER_CALL or size_bytes + len(fetched.content) > MAX_CALL_BYTES):
                yield batch
                batch, size_bytes = [], 0
            batch.append(fetched)
            size_bytes += len(fetched.content)
        if batch:
            yield batch

    def _embedded(self, work: Work, batches: Iterator[list[_Fetched]], outcomes: list[Outcome], stages: Stages) -> list[_Ready]:
        """Everything embedded, a few calls at a time; what could not be goes to `outcomes`."""
        ready: list[_Ready] = []
        under_way: deque[tuple[list[_Fetched], Future[list[Embedded]]]] = deque()

        def collect() -> None:
            batch, call = under_way.popleft()
            with stages.of("embed"):
                results = call.result()
            for fetched, result in zip(batch, results, strict=True):
                if isinstance(result, LookalikeError):
                    outcomes.append(_failed(fetched.item, result))
                else:
                    ready.append(_Ready(fetched.item, fetched.sha256, result))

        try:
            for batch in batches:
                if len(under_way) >= self._embeds_in_flight:
                    collect()
                contents = [fetched.content for fetched in batch]
                under_way.append(
                    (batch, self._threads.submit(self._embedder.embed, work.collection, contents, work.interruption))
                )
            while under_way:
                collect()
        finally:
            for _, call in under_way:
                call.cancel()
        return ready

    def _write(self, work: Work, ready: Sequence[_Ready]) -> list[Outcome]:
        """Under the lock: leave out what somebody later has written or deleted, then write every space."""
        if not ready:
            return []
        name, revision = work.collection.name, work.job.revision
        with self._ledger.write_lock(name, timeout_s=_LOCK_TIMEOUT_S) as still_held:
            if not self._leases.renew(work.lease):
                raise LeaseLost("the lease went to another worker before the write")
            if self._catalogue.get(name, fresh=True).uid != work.collection.uid:
                raise NotFound("collection", name)
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

    def _later(self, work: Work, ready: Sequence[_Ready]) -> frozenset[str]:
        """Ids that a later revision has written or deleted."""
        stored = self._stored(work, [one.item for one in ready])
        buried = self._ledger.buried(work.collection.name, [one.item.id for one in ready])
        revision = work.job.revision
        written = {id_ for id_, rows in stored.items() if any(row.revision > revision for row in rows)}
        return frozenset(written | {id_ for id_, deleted in buried.items() if deleted > revision})


def _place(item: Item) -> str:
    """What is stored as the URI of an image: where it came from for people. An upload's bytes are found by their hash."""
    return item.origin or item.uri


def _unchanged(item: Item, sha256: str, rows: Sequence[StoredImage], spaces: int) -> bool:
    return len(rows) == spaces and all(
        row.sha256 == sha256 and row.uri == _place(item) and dict(row.metadata) == dict(item.metadata) for row in rows
    )


def _stored_image(one: _Ready, revision: int, now: datetime) -> StoredImage:
    return StoredImage(
        id=one.item.id,
        uri=_place(one.item),
        metadata=one.item.metadata,
        sha256=one.sha256,
        revision=revision,
        indexed_at=now,
        vectors=one.vectors,
    )


def _written(item: Item, superseded: bool, refused: InvalidArgument | None) -> Outcome:
    if superseded:
        return Skipped(item, SKIPPED_SUPERSEDED)
    return Indexed(item) if refused is None else _failed(item, refused)


def _failed(item: Item, error: LookalikeError) -> Failed:
    return Failed(item, error.reason, error.message)
