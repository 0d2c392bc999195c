"""Checks of arguments, which every implementation of `Vectors` makes before anything else, so that all refuse the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.metadata import check_metadata
from lookalike.names import MAX_EF, MAX_TOP_K, check_id, check_uri
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.spaces import Space, check_vectors

SHA256_BYTES = 64
_MAX_INT64 = 2**63 - 1


def check_breadth(top_k: int, ef: int) -> None:
    """Raise `InvalidArgument` unless a search may return `top_k` hits at breadth `ef`."""
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgument("top_k", f"{top_k} is out of range; 1 to {MAX_TOP_K} are allowed")
    if not 1 <= ef <= MAX_EF:
        raise InvalidArgument("ef", f"{ef} is out of range; 1 to {MAX_EF} are allowed")


def check_images(collection: Collection, images: Sequence[StoredImage]) -> None:
    """Raise unless `images` can be written in both generations of `collection`: see `Vectors.upsert`."""
    for image in images:
        check_image(image, collection.spaces)
    for image in images:
        for space in collection.other_spaces:
            if space.name not in image.other_vectors:
                # An image that is only in the current generation would be lost by a switch.
                raise FailedPrecondition(
                    f"collection {collection.name!r} is written in two generations until its re-embedding is over, and image "
                    f"{image.id!r} has no vector of fingerprint {space.fingerprint}; write it again after that",
                    reason="REEMBED_UNDER_WAY",
                    metadata={"collection": collection.name, "space": space.name, "fingerprint": space.fingerprint},
                )
        check_image(image.as_other(), collection.other_spaces)


def check_image(image: StoredImage, spaces: Sequence[Space]) -> None:
    """Raise `InvalidArgument` unless `image` can be stored in `spaces`: its id, sizes, metadata and vectors are checked."""
    check_facts(image)
    for space in spaces:
        vector = image.vectors.get(space.name)
        if vector is None:
            raise InvalidArgument("vectors", f"image {image.id!r} has none for space {space.name!r}")
        check_vectors("vectors", vector[np.newaxis] if vector.ndim == 1 else vector, space)


def check_facts(image: StoredImage) -> None:
    """As `check_image`, without the vectors."""
    check_id("id", image.id)
    check_uri("uri", image.uri)
    if len(image.sha256) > SHA256_BYTES:
        raise InvalidArgument("sha256", f"is {len(image.sha256)} characters long; {SHA256_BYTES} hex digits are expected")
    if not 0 <= image.revision <= _MAX_INT64:
        raise InvalidArgument("revision", f"{image.revision} is out of range")
    check_metadata(image.metadata)
