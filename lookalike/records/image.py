"""An image, the requests and results of operations on images, a hit of a search, and the freshness of a read."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lookalike.spaces import Vector


class Consistency(enum.Enum):
    """The freshness of an answer."""

    BOUNDED = "bounded"
    """May miss the writes of the last 5 seconds; takes a few milliseconds."""
    STRONG = "strong"
    """Sees every write acknowledged before; about 200 ms more on Milvus 2.3 (it waits for the next tick of its clock)."""


class ImageView(enum.Enum):
    """How much of each image an answer holds."""

    ID = "id"
    """The id alone; the store reads nothing else. The other fields are empty, and `index_time` is None."""
    BASIC = "basic"
    """Everything but the vectors."""
    FULL = "full"
    """Everything, with the vectors."""


@dataclass(frozen=True, slots=True)
class Image:
    """A stored picture. `sha256` is the hash of its encoded bytes, `revision` that of the write that stored it, and
    `index_time` has a time zone. `vectors` are float32 `[dimension]` by name of the space, where a request asked for them.

    `other_vectors` belong to the spaces that only the collection's other generation has. Only the server uses them, to write.
    """

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    revision: int
    index_time: datetime.datetime | None
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    other_vectors: Mapping[str, Vector] = field(default_factory=dict, repr=False)

    @classmethod
    def of_id(cls, image_id: str, vectors: Mapping[str, Vector]) -> Image:
        """An image of which only the id was read, and `vectors`."""
        return cls(image_id, "", {}, "", 0, None, vectors)

    def as_other(self) -> Image:
        """The image with the vectors of the other generation."""
        return replace(self, vectors=self.other_vectors, other_vectors={})


StoredImage = Image
"""The name of `Image` in modules that also handle pictures that are not stored."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored image and its distance from the query: Euclidean, or 1 - cos; never below 0."""

    image: Image
    distance: float


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector from a caller: float32 `[dimension]`; `fingerprint` is "" where the caller gave none."""

    space: str
    values: Vector = field(repr=False)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image to import, with its vectors; `index_time` is None where the caller gave none."""

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    index_time: datetime.datetime | None
    vectors: tuple[GivenVector, ...]


@dataclass(frozen=True, slots=True)
class ImageUpdate:
    """New metadata of an image. It replaces the old metadata. With `merge`, other keys are kept, and keys with None are
    removed. `expected_revision` is the one that the image must have; None means any."""

    id: str
    metadata: Mapping[str, object]
    merge: bool = False
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """The number of images with new metadata, the ids that the collection does not have, and the revision of the update."""

    updated: int
    missing_ids: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Delete:
    """A request to delete images: those of `ids`, or all for which `filter` holds.

    With `validate_only` nothing is deleted. `expected_revision` is the one that a single image must have; None means any.
    """

    ids: tuple[str, ...] = ()
    filter: str = ""
    validate_only: bool = False
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """The number of images that were deleted, and the revision of the delete. Where nothing was to be deleted, the number that
    would be, revision 0, and up to 10 of their ids."""

    deleted: int
    revision: int
    sample_ids: tuple[str, ...] = ()
