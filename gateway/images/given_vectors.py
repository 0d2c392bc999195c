"""Checks images that bring their vectors against the collection they are written to. `gateway.images.image_writer` writes them.

Also checks the spaces of a collection that is restored. Calls nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from lookalike.errors import FingerprintMismatch, InvalidArgument
from lookalike.metadata import check_metadata
from lookalike.names import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, MAX_URI_BYTES, check_id, check_name, check_uri
from lookalike.records.collection import Collection
from lookalike.records.image import GivenImage, GivenVector, StoredImage
from lookalike.spaces import (
    MAX_DIMENSION,
    HistogramSettings,
    ModelSettings,
    Space,
    Vector,
    check_distinct,
    check_vectors,
)

MAX_IMAGES = 1000
_FACTS_BYTES = MAX_METADATA_BYTES + MAX_URI_BYTES + 2048
"""The bytes of an image without its vectors, at most. The last part is for ids, hashes and times, and leaves enough for what a
message adds to the JSON of its metadata."""
_MESSAGE_GROWTH = 5
"""Bounds the bytes of metadata in a message for each byte of its JSON: `-1,` becomes a value of 13 bytes."""
_HEX = re.compile(r"[0-9a-f]*")


def images_per_answer(spaces: Sequence[Space]) -> int:
    """How many images with their vectors in `spaces` fit into one message, whatever their metadata; at least 1."""
    image_bytes = _FACTS_BYTES + sum(4 * space.dimension + 128 for space in spaces)
    return max(1, MAX_MESSAGE_BYTES * 3 // 4 // image_bytes)


def how_many_fit(images: Sequence[StoredImage]) -> int:
    """How many of `images`, without vectors, fit into one message, from the first on; at least 1."""
    size_bytes = 0
    for count, image in enumerate(images):
        metadata_bytes = len(json.dumps(image.metadata, ensure_ascii=False).encode())
        size_bytes += _MESSAGE_GROWTH * metadata_bytes + len(image.uri.encode()) + 1024
        if size_bytes > MAX_MESSAGE_BYTES * 3 // 4 and count:
            return count
    return len(images)


def checked(images: Sequence[GivenImage], collection: Collection) -> list[StoredImage]:
    """`images` as they can be stored, at revision 0.

    Raises `InvalidArgument` for the field at fault, `FingerprintMismatch` for vectors made in another way.
    """
    if not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidArgument("images", f"{len(images)} are given; 1 to {MAX_IMAGES} are allowed")
    now = datetime.now(UTC)
    made: dict[str, StoredImage] = {}
    for index, image in enumerate(images):
        field = f"images[{index}]"
        check_id(f"{field}.id", image.id)
        if image.id in made:
            raise InvalidArgument(f"{field}.id", f"{image.id!r} comes twice")
        check_uri(f"{field}.uri", image.uri)
        if len(image.sha256) != 64 or not _HEX.fullmatch(image.sha256):
            raise InvalidArgument(f"{field}.sha256", "is not 64 hex digits")
        check_metadata(image.metadata, f"{field}.metadata")
        vectors = _vectors(f"{field}.vectors", image.vectors, collection)
        made[image.id] = StoredImage(image.id, image.uri, image.metadata, image.sha256, 0, image.index_time or now, vectors)
    return list(made.values())


def check_restored(spaces: Sequence[Space]) -> None:
    """Raise `InvalidArgument` unless a collection that is restored can have these spaces: of different names, each as a space
    of its kind can be."""
    check_distinct("restored_spaces[{}].name", [space.name for space in spaces])
    for index, space in enumerate(spaces):
        field = f"restored_spaces[{index}]"
        check_name(f"{field}.name", space.name)
        if space.metric is not space.spec.kind.metric:
            kind = "a model" if isinstance(space.kind, ModelSettings) else "a histogram"
            raise InvalidArgument(f"{field}.metric", f"{kind} is compared by {space.spec.kind.metric.value}")
        if len(space.fingerprint) != 16 or not _HEX.fullmatch(space.fingerprint):
            raise InvalidArgument(f"{field}.fingerprint", "is not 16 hex digits")
        if not 1 <= space.dimension <= MAX_DIMENSION:
            raise InvalidArgument(f"{field}.dimension", f"{space.dimension} is out of range; 1 to {MAX_DIMENSION} are allowed")
        if isinstance(space.kind, HistogramSettings) and space.dimension != space.kind.dimension:
            problem = f"is {space.dimension}; the histogram's settings give {space.kind.dimension}"
            raise InvalidArgument(f"{field}.dimension", problem)
        if isinstance(space.kind, ModelSettings) and not space.kind.name:
            raise InvalidArgument(f"{field}.model.name", "is missing; a space that is restored names its model")


def _vectors(field: str, given: Sequence[GivenVector], collection: Collection) -> dict[str, Vector]:
    by_space = {vector.space: vector for vector in given}
    if sorted(vector.space for vector in given) != sorted(space.name for space in collection.spaces):
        wanted = " and ".join(space.name for space in collection.spaces)
        raise InvalidArgument(field, f"must be one for each of {wanted}")
    for space in collection.spaces:
        vector = by_space[space.name]
        if not vector.fingerprint:
            raise InvalidArgument(field, f"has no fingerprint for {space.name!r}; without it nobody knows how it was made")
        if vector.fingerprint != space.fingerprint:
            raise FingerprintMismatch(space.name, space.fingerprint, vector.fingerprint)
        check_vectors(field, vector.values[None], space)
    return {name: vector.values for name, vector in by_space.items()}
