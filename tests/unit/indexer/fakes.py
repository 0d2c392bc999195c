"""The memory store and a stand-in for the embedder, with real Redis and files around them: these tests are about the order of
things."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from indexer.chunk.stages import Stages
from indexer.interruption import Interruption
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, NotFound
from lookalike.names import physical_name
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, Hit, StoredImage
from lookalike.records.model import Embedding
from lookalike.runtime.call import Deadline
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space, SpaceSpec, Vector
from lookalike.store.memory.catalogue import MemoryCatalogue
from lookalike.store.memory.tables import Tables
from lookalike.store.memory.vectors import MemoryVectors
from tests.unit import stores

SPACES = (HistogramSettings(bins=8).space(), Space("siamese", 4, Metric.COSINE, "f" * 16, ModelSettings("small")))


def a_collection(name: str = "products", uid: str = "uid 1") -> Collection:
    return Collection(name, uid, "", SPACES, 1, datetime.now(UTC))


class WorkerCatalogue(MemoryCatalogue):
    """Holds `products` from the start. `changes` counts the changes that made a difference."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.changes = 0
        self.collections = {"products": a_collection()}

    @property
    def collections(self) -> dict[str, Collection]:
        """The rows by name, to look at and to change."""
        return self._tables.collections

    @collections.setter
    def collections(self, rows: dict[str, Collection]) -> None:
        self._tables.collections = {}
        stores.make(self._tables, rows.values())

    def leave(self, space: Space) -> None:
        """A table of `products` that no row names, as a killed change leaves it."""
        self._tables.make(physical_name("products", space.name, space.fingerprint))

    def change(self, name: str, change: Callable[[Collection], Collection], **more: Any) -> Collection:
        before = self.get(name)
        then = super().change(name, change, **more)
        self.changes += then != before
        return then


class WorkerVectors(MemoryVectors):
    """The images of `products`, with ways to look at its tables and to change them, and noting what is written and
    where is searched.

    `errors` are raised by the next writes, one each. Ids in `refused` cannot be stored, and fail the whole write before it
    begins.
    """

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.flushes = 0
        self.writes: list[int] = []
        self.searched: list[str] = []
        self.errors: list[LookalikeError] = []
        self.refused: set[str] = set()

    def of(self, space: Space) -> Table:
        """The rows of a space of `products` by id."""
        return Table(self._tables, physical_name("products", space.name, space.fingerprint))

    @property
    def rows(self) -> dict[str, Table]:
        """Those of each of `SPACES` by its name."""
        return {space.name: self.of(space) for space in SPACES}

    def put(self, image: StoredImage, spaces: Iterable[str] = ("histogram", "siamese")) -> None:
        """Write `image` in `spaces`, with the vector that is there where it has none."""
        for space in spaces:
            there = self.rows[space].get(image.id)
            vectors = {**(there.vectors if there is not None else {}), **image.vectors}
            self.rows[space][image.id] = replace(image, vectors=vectors)

    def ids(self) -> set[str]:
        first, second = (set(self.of(space)) for space in SPACES)
        assert first == second
        return first

    def upsert(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        self._note(images)
        super().upsert(collection, images, deadline)

    def fill(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        self._note(images)
        super().fill(collection, images, deadline)

    def search(self, collection: Collection, space: str, *arguments: Any, **more: Any) -> list[list[Hit]]:
        self.searched.append(space)
        return super().search(collection, space, *arguments, **more)

    def flush(self, collection: Collection, **more: Any) -> None:
        self.flushes += 1
        super().flush(collection, **more)

    def _note(self, images: Sequence[StoredImage]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if any(image.id in self.refused for image in images):
            raise InvalidArgument("metadata", "cannot be stored")
        self.writes.append(len(images))


@dataclass(frozen=True, eq=False)
class Table(MutableMapping[str, StoredImage]):
    """A table of the store, to look at and to change behind its back. A missing table is empty, and made when it is
    written to."""

    tables: Tables
    name: str

    def __getitem__(self, image_id: str) -> StoredImage:
        return self._read()[image_id]

    def __setitem__(self, image_id: str, row: StoredImage) -> None:
        self.tables.make(self.name)
        self.tables.put(self.name, [row], subject=self.name)

    def __delitem__(self, image_id: str) -> None:
        self._read()[image_id]  # raises where it is not there
        self.tables.remove(self.name, [image_id], subject=self.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, StoredImage]:
        there = self.name in self.tables.names()
        return self.tables.read(self.name, Consistency.STRONG, subject=self.name) if there else {}


@dataclass
class FakeEmbedder:
    """Pictures that start with `bad` cannot be used. `during` runs in every call, with its number. `models` has a space of each
    model that is served, whose name counts for nothing, and `maths` the fingerprint of histograms, "" for that of today."""

    calls: list[list[bytes]] = field(default_factory=list)
    errors: list[LookalikeError] = field(default_factory=list)
    during: Callable[[int], object] = lambda _: None
    models: dict[str, Space] = field(default_factory=dict)
    maths: str = ""

    def describe(self, specs: Sequence[SpaceSpec]) -> tuple[Space, ...]:
        return tuple(map(self._described, specs))

    def _described(self, spec: SpaceSpec) -> Space:
        if isinstance(spec.kind, HistogramSettings):
            made = spec.kind.space(spec.name)
            return replace(made, fingerprint=self.maths or made.fingerprint)
        if spec.kind.name not in self.models:
            raise NotFound("model", spec.kind.name)
        return replace(self.models[spec.kind.name], name=spec.name)

    def embed(
        self,
        spaces: Sequence[Space],
        images: Sequence[bytes],
        interruption: Interruption,
        *,
        stages: Stages | None = None,
    ) -> list[Embedding]:
        self.calls.append(list(images))
        self.during(len(self.calls))
        interruption.check()
        if self.errors:
            raise self.errors.pop(0)
        return [self._one(image, spaces) for image in images]

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
