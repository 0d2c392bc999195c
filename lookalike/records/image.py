"""An image as it is stored, a hit of a search, and how fresh a read is."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lookalike.spaces import Vector


class Consistency(enum.Enum):
    """How fresh an answer must be."""

    BOUNDED = "bounded"
    """May miss the writes of the last 5 seconds; takes a few milliseconds."""
    STRONG = "strong"
    """Sees every write acknowledged before; about 200 ms more on Milvus 2.3 (it waits for the next tick of its clock)."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as it is stored. `indexed_at` knows its time zone; `vectors` float32 `[dimension]` by name of space.

    `other_vectors` are, to be written, those of the spaces that only the collection's other generation has.
    """

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    revision: int
    indexed_at: datetime.datetime
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    other_vectors: Mapping[str, Vector] = field(default_factory=dict)

    def as_other(self) -> StoredImage:
        """The image with the vectors of the other generation."""
        return replace(self, vectors=self.other_vectors, other_vectors={})


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored image and how far it is from the query: Euclidean, or 1 - cos; never below 0."""

    image: StoredImage
    distance: float
