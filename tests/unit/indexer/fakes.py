"""Stand-ins for Milvus and the embedder, with real Redis and files around them: these tests are about the order of things."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from indexer.chunk.stages import Stages
from indexer.interruption import Interruption
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, NotFound
from lookalike.records.collection import Collection
from lookalike.records.image import Hit, StoredImage
from lookalike.records.model import Description, Embedding
from lookalike.records.query import SearchOptions
from lookalike.spaces import HistogramSettings, Metric, Space, Vector

SPACES = (HistogramSettings(bins=8).space, Space("siamese", 4, Metric.COSINE, "f" * 16))


def a_collection(name: str = "products", uid: str = "uid 1") -> Collection:
    return Collection(name, uid, "", "small", HistogramSettings(bins=8), SPACES, 1, datetime.now(UTC))


@dataclass
class FakeCatalogue:
    collections: dict[str, Collection] = field(default_factory=lambda: {"products": a_collection()})
    leftovers: set[str] = field(default_factory=set)
    changes: int = 0

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        if name not in self.collections:
            raise NotFound("collection", name)
        return self.collections[name]

    def with_leftovers(self) -> Sequence[str]:
        return list(self.leftovers)

    def change(
        self, name: str, change: Callable[[Collection], Collection], *, check: Callable[[], None] = lambda: None
    ) -> Collection:
        then = change(self.get(name))
        check()
        self.changes += then != self.collections[name]
        self.collections[name] = then
        self.leftovers.discard(name)
        return then

    def list(self) -> list[Collection]:
        return [self.collections[name] for name in sorted(self.collections)]


@dataclass
class FakeStore:
    """Rows by space and id; a space that is not of `SPACES` is called by its name and fingerprint. Ids in `refused` cannot be
    stored, and fail the whole write before it begins."""

    rows: dict[str, dict[str, StoredImage]] = field(default_factory=lambda: {space.name: {} for space in SPACES})
    flushes: int = 0
    writes: list[int] = field(default_factory=list)
    errors: list[LookalikeError] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def of(self, space: Space) -> dict[str, StoredImage]:
        return self.rows.setdefault(space.name if space in SPACES else f"{space.name} {space.fingerprint}", {})

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        found = self.get_by_space(collection, ids, timeout_s=timeout_s)
        return {id_: tuple(rows.values()) for id_, rows in found.items()}

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        found = {id_: {space: self.of(space)[id_] for space in collection.written if id_ in self.of(space)} for id_ in ids}
        return {id_: rows for id_, rows in found.items() if rows}

    def upsert(self, collection: Collection, images: Sequence[StoredImage], **_: object) -> None:
        self._check(images)
        for space in collection.written:
            for image in images:
                written = image if space in collection.spaces else image.as_other()
                assert space.name in written.vectors
                self.of(space)[image.id] = written

    def fill(self, collection: Collection, images: Sequence[StoredImage], **_: object) -> None:
        self._check(images)
        for space in collection.other_spaces:
            self.of(space).update({image.id: image for image in images})

    def delete(self, collection: Collection, ids: Sequence[str], *, timeout_s: float, **_: object) -> int:
        there = self.get_by_space(collection, ids, timeout_s=timeout_s)
        for id_, rows in there.items():
            for space in rows:
                del self.of(space)[id_]
        return len(there)

    def matching_ids(
        self, collection: Collection, *, uri_prefix: str, older_than: int, after_id: str, limit: int, timeout_s: float
    ) -> list[str]:
        rows = {id_: row for space in collection.written for id_, row in self.of(space).items()}
        found = (id_ for id_, row in rows.items() if row.uri.startswith(uri_prefix) and row.revision < older_than)
        return sorted(id_ for id_ in found if id_ > after_id)[:limit]

    def page(self, collection: Collection, *, after_id: str = "", limit: int, **_: object) -> list[StoredImage]:
        rows = self.of(collection.spaces[-1])
        return [rows[id_] for id_ in sorted(rows) if id_ > after_id][:limit]

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        rows = self.of(space)
        return [(id_, rows[id_].sha256) for id_ in sorted(rows) if id_ > after_id][:limit]

    def get(self, collection: Collection, ids: Sequence[str], *, spaces: Sequence[str], **_: object) -> dict[str, StoredImage]:
        rows = self.of(collection.space(spaces[0]))
        return {id_: rows[id_] for id_ in ids if id_ in rows}

    def rewrite(self, collection: Collection, images: Sequence[StoredImage], **_: object) -> None:
        for space in collection.written:
            rows = self.of(space)
            rows.update({image.id: replace(image, vectors=rows[image.id].vectors) for image in images if image.id in rows})

    def search(
        self,
        collection: Collection,
        space: str,
        queries: Vector,
        options: SearchOptions,
        *,
        exclude_ids: Sequence[str] = (),
        within: float = math.inf,
        **_: object,
    ) -> list[list[Hit]]:
        metric, rows = collection.space(space).metric, self.of(collection.space(space))
        answers = []
        for query in queries:
            hits = [Hit(row, float(metric.distance(query, row.vectors[space]))) for row in rows.values()]
            hits = [hit for hit in hits if hit.distance < within and hit.image.id not in exclude_ids]
            answers.append(sorted(hits, key=lambda hit: (hit.distance, hit.image.id))[: options.top_k])
        return answers

    def flush(self, collection: Collection, *, wait: bool = True) -> None:
        self.flushes += 1

    def put(self, image: StoredImage, spaces: Iterable[str] = ("histogram", "siamese")) -> None:
        for space in spaces:
            self.rows[space][image.id] = image

    def ids(self) -> set[str]:
        first, second = (set(self.of(space)) for space in SPACES)
        assert first == second
        return first

    def _check(self, images: Sequence[StoredImage]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if any(image.id in self.refused for image in images):
            raise InvalidArgument("metadata", "cannot be stored")
        self.writes.append(len(images))


@dataclass
class FakeEmbedder:
    """Pictures that start with `bad` cannot be used. `during` runs in every call, with its number."""

    calls: list[list[bytes]] = field(default_factory=list)
    errors: list[LookalikeError] = field(default_factory=list)
    during: Callable[[int], None] = lambda _: None
    models: dict[str, tuple[Space, ...]] = field(default_factory=dict)

    def describe(self, model: str, histogram: HistogramSettings) -> Description:
        if model not in self.models:
            raise NotFound("model", model)
        return Description(model, histogram, self.models[model])

    def embed(
        self,
        collection: Collection,
        images: Sequence[bytes],
        interruption: Interruption,
        spaces: Sequence[Space] | None = None,
        *,
        stages: Stages | None = None,
    ) -> list[Embedding]:
        self.calls.append(list(images))
        self.during(len(self.calls))
        interruption.check()
        if self.errors:
            raise self.errors.pop(0)
        return [self._one(image, collection.spaces if spaces is None else spaces) for image in images]

    def _one(self, image: bytes, spaces: Sequence[Space]) -> Embedding:
        if image.startswith(b"bad"):
            return BadImage("is not a picture", reason="IMAGE_FORMAT_UNKNOWN")
        return {space.name: vector_of(image, space) for space in spaces}


def vector_of(image: bytes, space: Space) -> Vector:
    """What the fake embedder makes of a picture: by its bytes and the fingerprint of the space.

    What comes after a `+` changes it slightly only: `coat+1` and `coat+22` look almost alike.
    """
    about, plus, more = image.partition(b"+")
    seed = int.from_bytes(hashlib.sha256(about + space.fingerprint.encode()).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=space.dimension)
    return np.asarray(vector + 0.01 * len(plus + more), np.float32)
