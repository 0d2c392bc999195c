"""Stand-ins for what the gateway's core calls: exact, in memory, and telling what was asked of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from gateway.backends.embedder import Description, Embedding
from gateway.backends.threads import Threads
from gateway.search.answer import Answering
from gateway.search.coalescing import MergedSearches
from gateway.search.collection_lookup import Lookups
from gateway.search.sampled_recall import SampledRecall
from gateway.search.search import Search
from lookalike.errors import BadImage, FailedPrecondition, NotFound
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, Hit, StoredImage
from lookalike.records.job import DEFAULTS, Counts, Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.query import SearchOptions
from lookalike.records.source import CollectionSource, JobSource, UploadSource
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Metric, Space, Vector
from lookalike.writes import Writes

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPACES = (
    Space(HISTOGRAM, 8, Metric.L2, "aaaaaaaaaaaaaaaa"),
    Space(SIAMESE, 4, Metric.COSINE, "bbbbbbbbbbbbbbbb"),
)
COLLECTION = Collection(
    name="things",
    uid="1f",
    description="",
    model="small",
    histogram=HistogramSettings(bins=8),
    spaces=SPACES,
    generation=1,
    created_at=MOMENT,
)


def soon() -> Deadline:
    return Deadline.after(10.0)


def a_call(deadline: Deadline | None = None) -> Call:
    return Call(deadline or soon())


def image(image_id: str, vectors: Mapping[str, Sequence[float]] | None = None, **fields: object) -> StoredImage:
    made = StoredImage(id=image_id, uri="", metadata={}, sha256="c" * 64, revision=1, indexed_at=MOMENT)
    arrays = {name: np.array(values, np.float32) for name, values in (vectors or {}).items()}
    return replace(made, vectors=arrays, **fields)


def random_images(count: int, seed: int = 7) -> list[StoredImage]:
    """Images `000`, `001`, ... with histograms that sum to 1 and unit siamese vectors."""
    generator = np.random.default_rng(seed)
    counts = generator.random((count, 8)) ** 3
    directions = generator.normal(size=(count, 4))
    counts /= counts.sum(1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [image(f"{number:03d}", {HISTOGRAM: counts[number], SIAMESE: directions[number]}) for number in range(count)]


class FakeCatalogue:
    exact = False

    def __init__(self, *collections: Collection) -> None:
        self.rows = {collection.name: collection for collection in collections}
        self.reads = 0

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        self.reads += 1
        if name not in self.rows:
            raise NotFound("collection", name)
        return self.rows[name]

    def recall(self, name: str) -> Collection | None:
        """It remembers nothing, so that every read is counted."""
        return None

    def list(self) -> list[Collection]:
        return [self.rows[name] for name in sorted(self.rows)]

    def create(self, collection: Collection, *, check: Callable[[], None]) -> None:
        check()
        self.rows[collection.name] = collection

    def change(self, name: str, change: Callable[[Collection], Collection], *, check: Callable[[], None]) -> Collection:
        then = change(self.rows[name])
        check()
        self.rows[name] = then
        return then

    def delete(self, name: str, *, check: Callable[[], None]) -> None:
        check()
        del self.rows[name]


class FakeVectors:
    """Exact search over what it was given. `calls` names the methods called, in order."""

    def __init__(self, images: Sequence[StoredImage] = ()) -> None:
        self.images = {one.id: one for one in images}
        self.calls: list[str] = []
        self.asked: list[tuple[str, int, int]] = []
        self.consistencies: list[Consistency] = []

    def search(
        self,
        collection: Collection,
        space: str,
        queries: Vector,
        options: SearchOptions,
        *,
        exclude_ids: Sequence[str] = (),
        within: float | None = None,
        timeout_s: float,
    ) -> list[list[Hit]]:
        self.calls.append("search")
        self.asked.append((space, options.top_k, options.ef))
        self.consistencies.append(options.consistency)
        assert 1 <= options.top_k <= 1000
        metric = collection.space(space).metric
        answers = []
        for query in queries:
            hits = []
            for one in self.images.values():
                if one.id not in exclude_ids and space in one.vectors:
                    distance = max(0.0, float(metric.distance(query, one.vectors[space])))
                    vectors = {space: one.vectors[space]} if options.include_vectors else {}
                    hits.append(Hit(replace(one, vectors=vectors), distance))
            answers.append(sorted(hits, key=lambda hit: (hit.distance, hit.image.id))[: options.top_k])
        return answers

    def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        *,
        spaces: Sequence[str] = (),
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> dict[str, StoredImage]:
        self.calls.append("get")
        found = {image_id: self.images[image_id] for image_id in ids if image_id in self.images}
        return {
            image_id: replace(one, vectors={name: vector for name, vector in one.vectors.items() if name in spaces})
            for image_id, one in found.items()
        }

    def page(
        self,
        collection: Collection,
        *,
        filter: str = "",  # noqa: A002 - the word of the contract
        after_id: str = "",
        limit: int,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> list[StoredImage]:
        assert 1 <= limit <= 1000
        return [self.images[image_id] for image_id in sorted(self.images) if image_id > after_id][:limit]

    def matching_ids(
        self,
        collection: Collection,
        *,
        filter: str = "",  # noqa: A002 - the word of the contract
        older_than: int | None = None,
        revision: int | None = None,
        after_id: str = "",
        limit: int,
        timeout_s: float,
    ) -> list[str]:
        """Every image matches any filter."""
        self.calls.append("matching_ids")
        found = [
            one.id
            for one in self.images.values()
            if one.id > after_id
            and (older_than is None or one.revision < older_than)
            and (revision is None or one.revision == revision)
        ]
        return sorted(found)[:limit]

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        return {i: dict.fromkeys(collection.spaces, self.images[i]) for i in ids if i in self.images}

    def upsert(self, collection: Collection, images: Sequence[StoredImage], *, timeout_s: float, **_: object) -> None:
        self.calls.append("upsert")
        self.images.update({one.id: one for one in images})

    def flush(self, collection: Collection, *, timeout_s: float) -> None:
        self.calls.append("flush")

    def rewrite(self, collection: Collection, images: Sequence[StoredImage], *, timeout_s: float, **_: object) -> None:
        self.calls.append("rewrite")
        self.images.update({one.id: replace(one, vectors=self.images[one.id].vectors) for one in images})

    def delete(self, collection: Collection, ids: Sequence[str], *, timeout_s: float, **_: object) -> int:
        self.calls.append("delete")
        return sum(self.images.pop(image_id, None) is not None for image_id in ids)

    def count(self, collection: Collection, *, timeout_s: float) -> int:
        return len(self.images)


@dataclass
class FakeBackends:
    vectors: FakeVectors = field(default_factory=FakeVectors)
    catalogue: FakeCatalogue = field(default_factory=lambda: FakeCatalogue(COLLECTION))

    def writes(self, ledger: Any) -> Writes:
        return Writes(ledger, cast("Any", self.catalogue), cast("Any", self.vectors))


class FakeEmbedder:
    """Gives the vectors it was made with, whatever the picture; but `bad...` is no picture. `batches` has the pictures of each
    call."""

    def __init__(self, vectors: Mapping[str, Vector] | None = None) -> None:
        self.vectors = dict(vectors or {})
        self.embedded: list[tuple[str, ...]] = []
        self.batches: list[list[bytes]] = []
        self.thumbnails = 0

    async def embed(
        self, images: Sequence[bytes], collection: Collection, spaces: Sequence[Space], deadline: Deadline
    ) -> list[Embedding]:
        self.embedded.append(tuple(space.name for space in spaces))
        self.batches.append(list(images))
        vectors = {space.name: self.vectors[space.name] for space in spaces}
        return [BadImage("ends too early") if image.startswith(b"bad") else vectors for image in images]

    async def describe(self, model: str, histogram: HistogramSettings, deadline: Deadline) -> Description:
        return Description(model or "small", histogram, (histogram.space, SPACES[1]))

    async def thumbnail(self, image: bytes, deadline: Deadline) -> bytes:
        self.thumbnails += 1
        return b"jpeg of " + image


class FakeQueue:
    """Notes for which jobs a task was sent."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def send_plan(self, job_id: str) -> None:
        self.plans.append(job_id)


class FakeLedger:
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
    def write_lock(self, collection: str, *, timeout_s: float) -> Iterator[Callable[[], bool]]:
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

    def find_request(self, request_id: str, collection: str, source: JobSource, options: JobOptions = DEFAULTS) -> Job | None:
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


def job(state: JobState, indexed: int = 0, **fields: object) -> Job:
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
        created_at=MOMENT,
        ended_at=MOMENT if state.ended else None,
    )
    return replace(made, **fields)


def few_threads() -> Threads:
    return Threads(workers=4, max_waiting=16)


def search_core(backends: FakeBackends, embedder: FakeEmbedder, threads: Threads | None = None) -> Search:
    threads = threads or few_threads()
    searches = MergedSearches(backends, threads, at_once=2, max_waiting=16)
    answering = Answering(backends, embedder, searches, SampledRecall(backends, threads, 0.0), threads)
    return Search(Lookups(backends, threads), answering)


NOTHING = SimpleNamespace()
"""For a part that a test must not reach: any use of it is an AttributeError."""
