"""Stand-ins for Milvus and the embedder, with real Redis and files around them: these tests are about the order of things."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from indexer.embedding import Embedded
from indexer.interruption import Interruption
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, NotFound
from lookalike.spaces import HistogramSettings, Metric, Space
from lookalike.store.catalogue import Collection
from lookalike.store.vectors import StoredImage

SPACES = (HistogramSettings(bins=8).space, Space("siamese", 4, Metric.COSINE, "f" * 16))


def a_collection(name: str = "products", uid: str = "uid 1") -> Collection:
    return Collection(name, uid, "", "small", HistogramSettings(bins=8), SPACES, 1, datetime.now(UTC))


@dataclass
class FakeCatalogue:
    collections: dict[str, Collection] = field(default_factory=lambda: {"products": a_collection()})

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        if name not in self.collections:
            raise NotFound("collection", name)
        return self.collections[name]


@dataclass
class FakeStore:
    """Rows by space and id. Ids in `refused` cannot be stored, and fail the whole write before it begins."""

    rows: dict[str, dict[str, StoredImage]] = field(default_factory=lambda: {space.name: {} for space in SPACES})
    flushes: int = 0
    writes: list[int] = field(default_factory=list)
    errors: list[LookalikeError] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        found = {id_: tuple(rows[id_] for rows in self.rows.values() if id_ in rows) for id_ in ids}
        return {id_: rows for id_, rows in found.items() if rows}

    def upsert(self, collection: Collection, images: Sequence[StoredImage]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if any(image.id in self.refused for image in images):
            raise InvalidArgument("metadata", "cannot be stored")
        self.writes.append(len(images))
        for space in collection.spaces:
            self.rows[space.name].update({image.id: image for image in images})

    def flush(self, collection: Collection) -> None:
        self.flushes += 1

    def put(self, image: StoredImage, spaces: Iterable[str] = ("histogram", "siamese")) -> None:
        for space in spaces:
            self.rows[space][image.id] = image

    def ids(self) -> set[str]:
        first, second = (set(rows) for rows in self.rows.values())
        assert first == second
        return first


@dataclass
class FakeEmbedder:
    """Pictures that start with `bad` cannot be used. `during` runs in every call, with its number."""

    calls: list[list[bytes]] = field(default_factory=list)
    errors: list[LookalikeError] = field(default_factory=list)
    during: Callable[[int], None] = lambda _: None

    def embed(self, collection: Collection, images: Sequence[bytes], interruption: Interruption) -> list[Embedded]:
        self.calls.append(list(images))
        self.during(len(self.calls))
        interruption.check()
        if self.errors:
            raise self.errors.pop(0)
        return [self._one(image) for image in images]

    def _one(self, image: bytes) -> Embedded:
        if image.startswith(b"bad"):
            return BadImage("is not a picture", reason="IMAGE_FORMAT_UNKNOWN")
        seed = int.from_bytes(hashlib.sha256(image).digest()[:4], "big")
        return {space.name: np.random.default_rng(seed).random(space.dimension, np.float32) for space in SPACES}
