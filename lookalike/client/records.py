"""What the client returns: frozen records, free of protobuf.

Owned by `lookalike.client`; `_wire` makes them of what arrives. Vectors are float32 arrays `[dimension]`, times are in UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lookalike.client.sources import CollectionSource, FailuresSource, Source
from lookalike.spaces import HistogramSettings, Space, Vector


class JobState(enum.Enum):
    """Where a job stands. `SUCCEEDED` says that every item is accounted for, not that every item was good: see the counts."""

    PENDING = "pending"
    PLANNING = "planning"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED)


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


class NearDuplicatePolicy(enum.Enum):
    """What happens to an image that looks almost like another one of the collection: `KEEP` indexes it like any other, `SKIP`
    leaves it out, `LINK` notes the id of the nearest in its metadata, `near_duplicate_of`."""

    KEEP = "keep"
    SKIP = "skip"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a job treats its items. Two images are near-duplicates from a similarity of `near_threshold` in the space `siamese`
    on, in [0, 1]; 0 leaves it to the server (0.95). `mirror` deletes at the end what the source does not have: of a folder the
    images whose URI lies in it, else all others of the collection. A `dry_run` writes nothing and gives a `Job.forecast`."""

    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    near_threshold: float = 0.0
    mirror: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Items of a job by how they ended. `submitted` is 0 until planning has ended."""

    submitted: int
    indexed: int
    skipped: int
    failed: int

    @property
    def done(self) -> int:
        """Items that have ended in any way."""
        return self.indexed + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the answers of a collection's new generation compare with those of the one before: of `queries` images, each asked
    for its `k` nearest, the mean share that both have in common, and the mean shares with the query's label (None where no
    image has one). All in [0, 1]."""

    queries: int
    k: int
    overlap: float
    precision_before: float | None
    precision_after: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a dry run found. `broken` items of the whole source have a problem that the listing shows; `sampled` good ones were
    read and embedded, of which `unchanged` are stored already and `sample_failed` could not be used; `reasons` counts the
    problems of both. Predicted for the job: items `failed`, seconds with planning, bytes in Milvus' memory, on its disk for
    good, and on its disk for some days besides (write-ahead log, and what compaction replaces), images `deleted`."""

    sampled: int
    unchanged: int
    sample_failed: int
    broken: int
    reasons: Mapping[str, int]
    failed: int
    duration_s: float
    memory_bytes: int
    disk_bytes: int
    passing_disk_bytes: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Undo:
    """How many images were deleted when what a job had written was, over all calls, and when."""

    deleted: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """A request to add many images, and how far it is. `error` says why the job as a whole failed, else it is empty. A `paused`
    job begins no further chunk; nothing has come of a `stalled` one for minutes; `listed` items were found in its source, and a
    mirror has `deleted` images that are not in it. `held` says why it waits for somebody to resume it nevertheless, or to
    cancel it. `worked` items of chunks under way have their vectors and are in no count yet. `undo` says that it was undone."""

    id: str
    collection: str
    source: Source | FailuresSource | CollectionSource | None
    state: JobState
    counts: Counts
    skip_reasons: Mapping[str, int]
    chunks_total: int
    chunks_done: int
    revision: int
    request_id: str
    error: str
    created_at: datetime | None
    ended_at: datetime | None
    paused: bool = False
    stalled: bool = False
    listed: int = 0
    comparison: Comparison | None = None
    deleted: int = 0
    forecast: Forecast | None = None
    undo: Undo | None = None
    held: str = ""
    worked: int = 0

    @property
    def standing(self) -> str:
        """Its state for people: `running`, `running, paused`, `running, held`, `running, stalled`, `succeeded, undone`."""
        paused = "held" if self.held else "paused" if self.paused else ""
        words = (self.state.value, paused, "stalled" if self.stalled else "", "undone" if self.undo else "")
        return ", ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Rate:
    """Items recorded in the `length_s` seconds that began `start_s` seconds after the job's creation."""

    start_s: float
    length_s: float
    items: int


@dataclass(frozen=True, slots=True)
class Report:
    """Where the time of a job went, in seconds. `planning_s` is the part of `elapsed_s` until its source was planned,
    `items_per_s` the rate from then on; `stage_seconds` are added up over chunks, which run side by side; `rates` adjoin."""

    job: Job
    elapsed_s: float
    planning_s: float
    items_per_s: float
    stage_seconds: Mapping[str, float]
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be indexed: `reason` is UPPER_SNAKE, `message` one line, `position` its place in the source
    from 0."""

    id: str
    uri: str
    reason: str
    message: str
    position: int
