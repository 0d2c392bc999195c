"""An image, what is asked of and done to images, a hit of a search, and how fresh a read is."""

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
class Image:
    """A stored picture. `sha256` is that of its encoded bytes, `revision` the write it came from, `indexed_at` knows its time
    zone; `vectors` are float32 `[dimension]` by name of space, where they were asked for.

    `other_vectors` are, to be written, those of the spaces that only the collection's other generation has: the server's own.
    """

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    revision: int
    indexed_at: datetime.datetime
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    other_vectors: Mapping[str, Vector] = field(default_factory=dict, repr=False)

    def as_other(self) -> Image:
        """The image with the vectors of the other generation."""
        return replace(self, vectors=self.other_vectors, other_vectors={})


StoredImage = Image
"""Its name where pictures that are not stored are about as well."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored image and how far it is from the query: Euclidean, or 1 - cos; never below 0."""

    image: Image
    distance: float


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector made earlier: float32 `[dimension]`; `fingerprint` is "" where the caller did not say."""

    space: str
    values: Vector = field(repr=False)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image to be imported: `vectors` as they were made, `indexed_at` None where it was not given."""

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    indexed_at: datetime.datetime | None
    vectors: tuple[GivenVector, ...]


@dataclass(frozen=True, slots=True)
class ImageUpdate:
    """New metadata of one image. It replaces what there was; with `merge`, keys that it does not name are kept and those it
    names with None are removed."""

    id: str
    metadata: Mapping[str, object]
    merge: bool = False


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """How many images have new metadata, the ids that there are not, and the revision of the update."""

    updated: int
    missing_ids: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many images were there, and the revision of the delete."""

    deleted: int
    revision: int
