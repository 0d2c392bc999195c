"""What the client returns: frozen records, free of protobuf.

Owned by `lookalike.client`; `_wire` makes them of what arrives. Vectors are float32 arrays `[dimension]`, times are in UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lookalike.spaces import HistogramSettings, Space, Vector


@dataclass(frozen=True, slots=True)
class Image:
    """A stored picture. `sha256` is that of its encoded bytes, `revision` the write it came from; `vectors` by space, only
    where they were asked for."""

    id: str
    uri: str
    metadata: Mapping[str, object]
    sha256: str
    revision: int
    indexed_at: datetime | None
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpaceShare:
    """What one space said of one hit. `distance` is in the space's metric, `similarity` in [0, 1]; the `share`s of a hit add
    up to its similarity."""

    space: str
    distance: float
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit. `rank` counts from 1; `similarity` is in [0, 1], higher is nearer; `distance` is None for fused spaces."""

    image: Image
    rank: int
    distance: float | None
    similarity: float
    shares: tuple[SpaceShare, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, nearest first; the spaces that answered; the query's own vectors by space, where asked for; the `ef` used."""

    neighbours: tuple[Neighbour, ...]
    spaces: tuple[Space, ...]
    query_vectors: Mapping[str, Vector]
    ef: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many images were there, and the revision of the delete."""

    deleted: int
    revision: int


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


class GenerationState(enum.Enum):
    """Why a collection has a second generation: a re-embedding fills it, or it was searched before the last switch."""

    FILLING = "filling"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class OtherGeneration:
    """A generation that is written beside the one that is searched. `job_id` is the job that fills it, or that filled the
    one that is searched; it is dropped at `drop_at`, which is None while it is being filled."""

    generation: int
    state: GenerationState
    model: str
    spaces: tuple[Space, ...]
    job_id: str
    drop_at: datetime | None


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images that is searched together, bound to one version of one model: the fingerprint of the space
    `siamese` says which. In an `exact` one a search compares with every image, and `ef` changes nothing."""

    name: str
    description: str
    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
    generation: int
    image_count: int
    created_at: datetime | None
    other: OtherGeneration | None = None
    exact: bool = False
