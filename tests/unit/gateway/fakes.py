"""Stand-ins for what the gateway's core calls: in memory, and noting what was asked of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from gateway.backends.embedder import Embedder
from gateway.backends.milvus import Backends
from gateway.backends.threads import Threads
from gateway.search.answer import Answering
from gateway.search.coalescing import MergedSearches
from gateway.search.collection_lookup import Lookups
from gateway.search.query_cache import QueryCache
from gateway.search.query_embeddings import QueryEmbeddings
from gateway.search.sampled_recall import SampledRecall
from gateway.search.search import Search
from lookalike.errors import BadImage, FailedPrecondition, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.queue import TaskQueue
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, StoredImage
from lookalike.records.job import DEFAULTS, Counts, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.model import Embedding
from lookalike.records.source import CollectionSource, JobSource, UploadSource
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import (
    DEFAULT_SPACES,
    HISTOGRAM,
    SIAMESE,
    HistogramSettings,
    Metric,
    ModelSettings,
    Space,
    SpaceSpec,
    Vector,
)
from lookalike.store.memory.catalogue import MemoryCatalogue
from lookalike.store.memory.tables import Tables
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit import stores
from tests.unit.stores import Watched

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPACES = (
    Space(HISTOGRAM, 8, Metric.L2, "aaaaaaaaaaaaaaaa", HistogramSettings(bins=8)),
    Space(SIAMESE, 4, Metric.COSINE, "bbbbbbbbbbbbbbbb", ModelSettings("small")),
)
COLLECTION = Collection(
    name="things",
    uid="1f",
    description="",
    spaces=SPACES,
    generation=1,
    create_time=MOMENT,
)


def soon() -> Deadline:
    return Deadline.after(10.0)


_SOMEWHERE = {HISTOGRAM: [0.125] * 8, SIAMESE: [1.0, 0.0, 0.0, 0.0]}


def a_call(deadline: Deadline | None = None) -> Call:
    return Call(deadline or soon())


def image(image_id: str, vectors: Mapping[str, Sequence[float] | Vector] | None = None, **fields: Any) -> StoredImage:
    """In both spaces, unless `vectors` are given."""
    made = StoredImage(id=image_id, uri="", metadata={}, sha256="c" * 64, revision=1, index_time=MOMENT)
    arrays = {name: np.array(values, np.float32) for name, values in (vectors or _SOMEWHERE).items()}
    return replace(made, vectors=arrays, **fields)


def random_images(count: int, seed: int = 7) -> list[StoredImage]:
    """Images `000`, `001`, ... with histograms that sum to 1 and unit siamese vectors."""
    generator = np.random.default_rng(seed)
    counts = generator.random((count, 8)) ** 3
    directions = generator.normal(size=(count, 4))
    counts /= counts.sum(1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [image(f"{number:03d}", {HISTOGRAM: counts[number], SIAMESE: directions[number]}) for number in range(count)]


class BackendsOf(Backends):
    """The parts of any store, in place of Milvus. They are `Any`, since tests ask watched parts for what was asked of them."""

    def __init__(self, vectors: Any, catalogue: Any) -> None:
        super().__init__(connect=lambda: NOTHING)
        self._vectors, self._catalogue = vectors, catalogue

    @property
    def vectors(self) -> Any:
        return super().vectors

    @property
    def catalogue(self) -> Any:
        return super().catalogue


class MemoryBackends(BackendsOf):
    """A store in memory that holds `images` in the collection `things`; `vectors` and `catalogue` are its parts, watched.

    Made by `make_vectors` and `make_catalogue`, of which a test may give its own, and both of the same tables.
    """

    def __init__(
        self,
        images: Iterable[StoredImage] = (),
        collections: Iterable[Collection] = (COLLECTION,),
        *,
        make_vectors: Callable[[Tables], MemoryVectors] = MemoryVectors,
        make_catalogue: Callable[[Tables], MemoryCatalogue] = MemoryCatalogue,
    ) -> None:
        self.tables = Tables()
        stores.make(self.tables, collections)
        super().__init__(Watched(make_vectors(self.tables)), Watched(make_catalogue(self.tables)))
        self.put(*images)

    @property
    def collections(self) -> dict[str, Collection]:
        return self.tables.collections

    @property
    def images(self) -> dict[str, StoredImage]:
        """By id, those of `things` with the vectors that there are."""
        return stores.stored(self.tables, self.collections["things"])

    @property
    def searches(self) -> list[tuple[str, int, int]]:
        """The space, the number asked for and the breadth of each search."""
        options = [(one.given[1], one.given[3]) for one in self.vectors.of("search")]
        return [(space, asked.top_k, asked.ef) for space, asked in options]

    @property
    def consistencies(self) -> list[Consistency]:
        """The consistency of each search."""
        return [one.given[3].consistency for one in self.vectors.of("search")]

    def put(self, *images: StoredImage) -> None:
        """Write `images` to `things` in the spaces that they have a vector for."""
        if images:
            stores.put(self.tables, self.collections["things"], images)


class FakeEmbedder(Embedder):
    """Gives the vectors it was made with, whatever the picture; but `bad...` is no picture. `batches` has the pictures of each
    call."""

    def __init__(self, vectors: Mapping[str, Vector] | None = None) -> None:
        self.vectors = dict(vectors or {})
        self.embedded: list[tuple[str, ...]] = []
        self.batches: list[list[bytes]] = []
        self.thumbnails = 0

    async def embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        self.embedded.append(tuple(space.name for space in spaces))
        self.batches.append(list(images))
        vectors = {space.name: self.vectors[space.name] for space in spaces}
        return [BadImage("ends too early", field="query.image") if image.startswith(b"bad") else vectors for image in images]

    async def describe(self, specs: Sequence[SpaceSpec], deadline: Deadline) -> tuple[Space, ...]:
        return tuple(
            spec.kind.space(spec.name) if isinstance(spec.kind, HistogramSettings) else replace(SPACES[1], name=spec.name)
            for spec in specs or DEFAULT_SPACES
        )

    async def thumbnail(self, image: bytes, deadline: Deadline) -> bytes:
        self.thumbnails += 1
        return b"jpeg of " + image


class FakeQueue(TaskQueue):
    """Notes for which jobs a task was sent."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def send_plan(self, job_id: str) -> None:
        self.plans.append(job_id)


class FakeLedger(Ledger):
    """Notes what was done in which order; its jobs are what a test puts there and what is created, which stays pending."""

    def __init__(self, *moments: Job) -> None:
        self.log: list[str] = []
        self.moments = list(moments)
        self.created: dict[str, Job] = {}
        """By request id."""
        self.still_held = True
        self.undone: list[tuple[str, int]] = []

    def note_undone(self, job_id: str, images: int) -> None:
        self.undone.append((job_id, images))

    @contextlib.contextmanager
    def write_lock(self, collection: str, *, timeout_s: float = 10.0, ttl_s: float = 5.0) -> Iterator[Callable[[], bool]]:
        self.log.append(f"lock {collection}")
        try:
            yield lambda: self.still_held
        finally:
            self.log.append("unlock")

    def take_revision(self, collection: str) -> int:
        self.log.append("revision")
        return 9

    def bury(self, collection: str, ids: Sequence[str], revision: int) -> None:
        self.log.append(f"bury {','.join(ids)} at {revision}")

    def cancel_collection(self, uid: str) -> int:
        self.log.append(f"cancel jobs of {uid}")
        return 0

    def create(
        self,
        collection: str,
        collection_uid: str,
        source: JobSource,
        request_id: str,
        options: JobOptions = DEFAULTS,
        *,
        trace: str = "",
        **_: object,
    ) -> tuple[Job, bool]:
        if (earlier := self.find_request(request_id, collection, source, options)) is not None:
            return earlier, False
        self.created[request_id] = replace(
            job(JobState.PENDING),
            id=f"{len(self.created):016x}",
            collection=collection,
            collection_uid=collection_uid,
            source=source,
            options=options,
            request_id=request_id,
            counts=Counts(),
            chunks_total=0,
            revision=self.take_revision(collection),
        )
        return self.created[request_id], True

    def find_request(
        self, request_id: str, collection: str, source: JobSource | None, options: JobOptions = DEFAULTS
    ) -> Job | None:
        found = self.created.get(request_id)
        if found is not None and (found.collection, found.source, found.options) != (collection, source, options):
            raise FailedPrecondition(f"request id {request_id!r} was used for another request", reason="REQUEST_ID_REUSED")
        return found

    def find_reembedding(self, request_id: str, collection: str, options: JobOptions) -> Job | None:
        found = self.created.get(request_id)
        source = found.source if found is not None else CollectionSource(0)
        return self.find_request(request_id, collection, source, options)

    def active_reembedding(self, collection_uid: str) -> Job | None:
        jobs = (job for job in self.created.values() if job.collection_uid == collection_uid)
        return next((job for job in jobs if isinstance(job.source, CollectionSource)), None)

    def get(self, job_id: str) -> Job:
        """A job that was created; else the next moment of the test's one, the last one for ever after."""
        if (made := next((job for job in self.created.values() if job.id == job_id), None)) is not None:
            return made
        if not self.moments:
            raise NotFound("ingest job", job_id, field="id")
        return self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]


def job(state: JobState, indexed: int = 0, **fields: Any) -> Job:
    made = Job(
        id="0123456789abcdef",
        collection="things",
        collection_uid="1f",
        source=UploadSource("feedfacefeedface"),
        state=state,
        counts=Counts(submitted=10, indexed=indexed),
        skip_reasons={},
        chunks_total=1,
        chunks_done=0,
        revision=5,
        request_id="r",
        error="",
        create_time=MOMENT,
        end_time=MOMENT if state.ended else None,
    )
    return replace(made, **fields)


def few_threads() -> Threads:
    return Threads(workers=4, max_waiting=16)


def search_core(backends: MemoryBackends, embedder: FakeEmbedder, threads: Threads | None = None) -> Search:
    threads = threads or few_threads()
    searches = MergedSearches(backends, threads, at_once=2, max_waiting=16)
    embeddings = QueryEmbeddings(embedder, QueryCache(0, 0), threads)
    answering = Answering(backends, embeddings, searches, SampledRecall(backends, threads, 0.0), threads)
    return Search(Lookups(backends, threads), answering)


NOTHING: Any = SimpleNamespace()
"""A part that a test must not reach: any use of it is an AttributeError."""
