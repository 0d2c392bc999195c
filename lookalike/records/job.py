"""An ingest job: its request, its state and its report.

The ledger keeps a job, the indexer works on it, the gateway sends it and the client returns it. In a job that the client
returns, fields that the contract does not carry have their defaults.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource, JobSource

SKIPPED_DUPLICATE = "duplicate"
"""An earlier item of the job has the same id."""
SKIPPED_UNCHANGED = "unchanged"
"""The collection already holds the same bytes, URI and metadata under this id."""
SKIPPED_SUPERSEDED = "superseded"
"""A later job, update or delete has written this id."""
SKIPPED_CANCELLED = "cancelled"
"""The job was cancelled before it reached this item."""
SKIPPED_NOT_ATTEMPTED = "not_attempted"
"""The job as a whole failed before it reached this item."""
SKIPPED_NEAR_DUPLICATE = "near_duplicate"
"""The item looks like another image of the collection, and the job skips near-duplicates."""
SKIPPED_DRY_RUN = "dry_run"
"""The job was a dry run."""

WORSE_BY = 0.02
"""Bounds the loss of precision up to which a new generation counts as no worse, however certain the loss is."""
LEAST_JUDGED = 20
"""Bounds from below the labelled queries from which precisions are compared."""

DEFAULT_NEAR_DUPLICATE = 0.95
"""Similarity in the first space that a model fills, in [0, 1]."""


class NearDuplicatePolicy(enum.Enum):
    """The treatment of an image that looks almost like another image of the collection: `KEEP` indexes it like any other,
    `SKIP` skips it, and `LINK` indexes it and notes the id of the nearest in its metadata, `near_duplicate_of`."""

    KEEP = "keep"
    SKIP = "skip"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """A caller's options of a job. `near_threshold` is the least similarity of near-duplicates in the first space that a model
    fills, in [0, 1]; 0 leaves it to the server (0.95). `mirror` deletes, at the end, images that the source does not have: for
    a folder those whose URI lies in it, else all others of the collection. A `dry_run` writes nothing and gives a
    `Job.forecast`."""

    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    near_threshold: float = 0.0
    mirror: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of a job. `threshold` is that of near-duplicates (`IngestOptions`), in [0, 1].

    `space`, `model`, `allow_missing`, `grace` and `force` are those of a re-embedding (see `ReembedCollectionRequest`). The
    contract's jobs do not carry them.
    """

    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    threshold: float = DEFAULT_NEAR_DUPLICATE
    mirror: bool = False
    dry_run: bool = False
    space: str = ""
    model: str = ""
    allow_missing: bool = False
    grace: timedelta = timedelta()
    force: bool = False


DEFAULTS = JobOptions()


@dataclass(frozen=True, slots=True)
class CreateJob:
    """The request for a job. An empty `request_id` is replaced by a random one."""

    collection: str
    source: JobSource
    request_id: str = ""
    options: JobOptions = DEFAULTS


def has_finish(source: JobSource, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job has a last unit of work, after all its chunks: to switch to the new generation, to delete images that its
    source does not have, or to make its forecast."""
    return isinstance(source, CollectionSource) or options.mirror or options.dry_run


def writes_own_revision(source: JobSource, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job could overwrite images that are written after its creation, so that other jobs wait for it and deletes
    leave tombstones for it. A re-embedding could not: it keeps the revision of every image, and reads the stored rows under the
    lock. Nor could a dry run, which writes nothing."""
    return not isinstance(source, CollectionSource) and not options.dry_run


def rest_counts_as(options: JobOptions) -> str:
    """The skip reason of the items that a successful job has not reached; "" where a job reaches all items."""
    return SKIPPED_DRY_RUN if options.dry_run else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of the answers of a collection's new generation with those of the previous one in one `space`, for
    `queries` images and their `k` nearest. `overlap` is the mean share of neighbours that both answers have; the precisions are
    the mean shares of neighbours with the query's label, None where no image has a label. All are in [0, 1]."""

    queries: int
    k: int
    overlap: float
    precision_before: float | None = None
    precision_after: float | None = None
    labelled: int = 0
    """The number of queries with a label, over which the precisions are means. Not in the contract."""
    standard_error: float = 0.0
    """The standard error of the difference of the precisions, image by image. Not in the contract."""
    space: str = ""
    """The space that was asked, of several the one that lost most; "" in comparisons of 0.1, which were in `siamese`."""

    @property
    def worse(self) -> bool:
        """Whether the new generation measured worse: over at least `LEAST_JUDGED` labelled images, the share of neighbours with
        the query's label fell by more than `WORSE_BY`, and by more than three standard errors. Never without labels: the
        overlap shows only that the generations differ."""
        if self.labelled < LEAST_JUDGED or self.precision_before is None or self.precision_after is None:
            return False
        return self.precision_before - self.precision_after > max(WORSE_BY, 3 * self.standard_error)


@dataclass(frozen=True, slots=True)
class Undo:
    """The number of a job's images that were `deleted` by all calls of its undo, and the time of the last call."""

    deleted: int
    undo_time: datetime


@dataclass(frozen=True, slots=True)
class Undone:
    """The number of images that one call of an undo has `deleted`, the revision of its delete, and the undo `before` it, None
    where it was the first."""

    deleted: int
    revision: int
    before: Undo | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The findings of a dry run, and a forecast for the job.

    Of all items, `broken` have a problem that the listing shows. Of the others, `sampled` items, spread evenly, were read and
    embedded: `unchanged` of them are stored already, and `sample_failed` could not be used. `reasons` counts the problems of
    both by reason. The rest is predicted for the whole job: the number of items that would fail (`failed`), its `duration` with
    planning, the room of new images in Milvus' memory, on its disk, and for some days more on its disk (see `sizing`; 0 in old
    forecasts), and, with `mirror`, the number of images that would be `deleted`.
    """

    sampled: int
    unchanged: int
    sample_failed: int
    broken: int
    reasons: Mapping[str, int]
    failed: int
    duration: timedelta
    memory_bytes: int
    disk_bytes: int
    deleted: int = 0
    passing_disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Items by outcome. At the end of a job, submitted = indexed + skipped + failed. `submitted` is 0 until the job is
    planned."""

    submitted: int = 0
    indexed: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """The number of items that have an outcome."""
        return self.indexed + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class Job:
    """A request to add many images, and its state at one moment. `error` says in one line for people why the job as a whole
    failed, and `error_reason` for programs, UPPER_SNAKE; both are empty otherwise. `deleted` counts the images that a mirror
    has deleted. All writes of the job have its `revision`.

    The fields from `collection_uid` on are for the server only.
    """

    id: str
    collection: str
    source: JobSource | None
    """The source; None in a client that is older than the gateway and does not know the kind."""
    state: JobState
    counts: Counts
    skip_reasons: Mapping[str, int]
    chunks_total: int
    chunks_done: int
    revision: int
    request_id: str
    error: str
    create_time: datetime
    end_time: datetime | None
    paused: bool = False
    """Whether no further chunk begins until the job is resumed."""
    stalled: bool = False
    """Whether the job should be running, and has made no progress for minutes."""
    listed: int = 0
    """The number of items found so far in the source."""
    comparison: Comparison | None = None
    """The comparison that a re-embedding makes before its switch."""
    deleted: int = 0
    forecast: Forecast | None = None
    """The forecast of a dry run, at its end."""
    undo: Undo | None = None
    """The undo of the job, where there was one."""
    held: str = ""
    """The reason for which a paused job waits for a person to resume or to cancel it; "" where it is not held."""
    worked: int = 0
    """The number of items of chunks under way that have their vectors; `counts` does not count them yet."""
    error_reason: str = ""
    options: JobOptions = DEFAULTS
    collection_uid: str = ""
    manifest: str = ""
    """Path of the manifest in the artifacts; empty until the job is planned."""
    unidentified: int = 0
    """The number of items whose id the listing does not know, or that stand for parts of the source that were not listed."""
    forced: bool = False
    """Whether the job was resumed after it was held, which accepts the reason of the hold."""
    trace: str = ""
    """The `traceparent` of the call that created the job; "" where that was not traced."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the job, also where its state is one that this version does not know."""
        return self.end_time is not None or self.state.ended

    @property
    def standing(self) -> str:
        """The state for people: `running`, `running, paused`, `running, held`, `running, stalled`, `succeeded, undone`."""
        paused = "held" if self.held else "paused" if self.paused else ""
        words = (self.state.value, paused, "stalled" if self.stalled else "", "undone" if self.undo else "")
        return ", ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A selection of jobs. A job fits if it is in one of `states` (none means any), was created at `created_after` or later and
    before `created_before`, and has `text`, in upper or lower case, in its id, its request id or the place of its source."""

    states: frozenset[JobState] = frozenset()
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str = ""

    @property
    def looks_inside(self) -> bool:
        """Whether the filter needs more of a job than the time of its creation."""
        return bool(self.states or self.text)

    def fits(self, job: Job) -> bool:
        """Whether state and text fit."""
        if self.states and job.state not in self.states:
            return False
        text = self.text.casefold()
        places = (job.id, job.request_id, job.source.place if job.source else "")
        return any(text in place.casefold() for place in places)


ANY_JOB = JobFilter()


@dataclass(frozen=True, slots=True)
class Rate:
    """The number of items recorded in a stretch of time that begins `start_offset` after the job's creation and lasts
    `duration`."""

    start_offset: timedelta
    duration: timedelta
    items: int


@dataclass(frozen=True, slots=True)
class Report:
    """Where the time of a job went. `planning` is the time until the source was planned, waiting included, and `items_per_s`
    the rate after that. `stage_durations` are sums over all chunks, which run side by side. `rates` have no gaps
    and end with the last items recorded."""

    job: Job
    elapsed: timedelta
    planning: timedelta
    items_per_s: float
    stage_durations: Mapping[str, timedelta]
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
