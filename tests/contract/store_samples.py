"""Collections and images that the tests of the store share."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from lookalike.errors import NotFound
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space, Vector
from lookalike.store.writable import WritableCatalogue

NOW = datetime.datetime(2026, 1, 31, 12, 0, 0, 250000, tzinfo=datetime.UTC)
HISTOGRAM = HistogramSettings(bins=8)
TIMEOUT_S = 20.0


def new_collection(name: str | None = None, histogram: HistogramSettings = HISTOGRAM, siamese_dimension: int = 4) -> Collection:
    """A collection that is not made yet, with a name of its own unless one is given."""
    siamese = Space("siamese", siamese_dimension, Metric.COSINE, "ab12cd34ef567890", ModelSettings("small"))
    return Collection(
        name=name or f"test_{secrets.token_hex(6)}",
        uid=secrets.token_hex(16),
        description='Coats & "hats"\nçé',
        spaces=(histogram.space(), siamese),
        generation=1,
        create_time=NOW,
    )


@contextmanager
def made(catalogue: WritableCatalogue, collection: Collection) -> Iterator[Collection]:
    """`collection` made, and removed at the end."""
    catalogue.create(collection)
    try:
        yield collection
    finally:
        with suppress(NotFound):
            catalogue.delete(collection.name)


def image(
    image_id: str,
    *,
    metadata: Mapping[str, object] | None = None,
    revision: int = 1,
    histogram: Vector | None = None,
    siamese: Vector | None = None,
) -> StoredImage:
    """An image whose vectors, where none are given, follow from its id."""
    random = np.random.default_rng(list(image_id.encode()))
    counts = random.random(8, dtype=np.float32)
    return StoredImage(
        id=image_id,
        uri=f"file:///{image_id}.png",
        metadata=metadata or {},
        sha256="0" * 64,
        revision=revision,
        index_time=NOW,
        vectors={
            "histogram": counts / counts.sum() if histogram is None else histogram,
            "siamese": random.normal(size=4).astype(np.float32) if siamese is None else siamese,
        },
    )


def stacked(images: Sequence[StoredImage], space: str) -> Vector:
    """The vectors of `images` in `space`, float32 `[n, dimension]`."""
    return np.stack([found.vectors[space] for found in images])
