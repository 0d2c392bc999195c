"""What an ingest job is: what is asked for, what becomes of it, and what is reported about it.

The ledger keeps it, the indexer works on it, the gateway sends it and the client returns it. In a job that the client returns,
fields that the contract does not carry have their defaults.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lookalike.records.job_state import JobState
from lookalike.records.source import CollectionSource, JobSource

SKIPPED_DUPLICATE = "duplicate"
"""The same id came earlier in the same job."""
SKIPPED_UNCHANGED = "unchanged"
"""The collection holds the same bytes, URI and metadata under this id already."""
SKIPPED_SUPERSEDED = "superseded"
"""A later job, update or delete has written this id."""
SKIPPED_CANCELLED = "cancelled"
"""The job was cancelled before it came to this item."""
SKIPPED_NOT_ATTEMPTED = "not_attempted"
"""The job as a whole failed before it came to this item."""
SKIPPED_NEAR_DUPLICATE = "near_duplicate"
"""It looks like another image of the collection, and the job leaves such ones out."""
SKIPPED_DRY_RUN = "dry_run"
"""The job only tried what it would do."""

WORSE_BY = 0.02
"""Bounds what a new generation's precision may lose and count as no worse, however sure that is."""
LEAST_JUDGED = 20
"""Labelled queries below which a precision is no judgement."""

DEFAULT_NEAR_DUPLICATE = 0.95
"""Similarity in the space `siamese`, in [0, 1]."""


class NearDuplicatePolicy(enum.Enum):
    """What happens to an image that looks almost like another one of the collection: `KEEP` indexes it like any other, `SKIP`
    leaves it out, `LINK` notes the id of the nearest in its metadata, `near_duplicate_of`."""

    KEEP = "keep"
    SKIP = "skip"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a caller wants a job to treat its items. Two images are near-duplicates from a similarity of `near_threshold` in the
    space `siamese` on, in [0, 1]; 0 leaves it to the server (0.95). `mirror` deletes at the end what the source does not have:
    of a folder the images whose URI lies in it, else all others of the collection. A `dry_run` writes nothing and gives a
    `Job.forecast`."""

    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    near_threshold: float = 0.0
    mirror: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job treats its items. `threshold` is a similarity in the space `siamese`, in [0, 1]; `grace_s` in seconds.

    `model`, `allow_missing`, `grace_s` and `force` matter to a re-embedding only (see `ReembedCollectionRequest`), and the
    contract's jobs do not carry them.
    """

    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    threshold: float = DEFAULT_NEAR_DUPLICATE
    mirror: bool = False
    dry_run: bool = False
    model: str = ""
    allow_missing: bool = False
    grace_s: float = 0.0
    force: bool = False


DEFAULTS = JobOptions()


@dataclass(frozen=True, slots=True)
class CreateJob:
    """What to ingest. An empty `request_id` is replaced by a random one."""

    collection: str
    source: JobSource
    request_id: str = ""
    options: JobOptions = DEFAULTS


def has_finish(source: JobSource, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job has something left to do, in a last unit of its own, when all its chunks are recorded: to switch what it
    re-embedded, to delete what its source does not have, or to say what it would do."""
    return isinstance(source, CollectionSource) or options.mirror or options.dry_run


def writes_own_revision(source: JobSource, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job could write over what is written after it was made. A re-embedding keeps every image's own revision, and
    looks under the lock what is there: no other job has to mind it, and no delete leaves a tombstone for it. Nor for a dry
    run, which writes nothing."""
    return not isinstance(source, CollectionSource) and not options.dry_run


def rest_counts_as(options: JobOptions) -> str:
    """Why the items that a job has not come to when it succeeds count as skipped; "" where it comes to all."""
    return SKIPPED_DRY_RUN if options.dry_run else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the answers of a collection's new generation compare with those of the one before: `queries` images were asked for,
    each for its `k` nearest. `overlap` is the mean share that both answers have in common; the precisions are the mean share
    with the query's label, None where no image has one. All in [0, 1]."""

    queries: int
    k: int
    overlap: float
    precision_before: float | None = None
    precision_after: float | None = None
    labelled: int = 0
    """Of the images asked for, those that have a label: what the precisions are means of. Not in the contract."""
    standard_error: float = 0.0
    """Of the difference of the precisions, image by image. Not in the contract."""

    @property
    def worse(self) -> bool:
        """Whether the new generation measured itself worse: of `LEAST_JUDGED` labelled images or more, the share of neighbours
        with the query's label is lower by more than `WORSE_BY`, and by more than three standard errors. Without labels the
        overlap says only that both differ."""
        if self.labelled < LEAST_JUDGED or self.precision_before is None or self.precision_after is None:
            return False
        return self.precision_before - self.precision_after > max(WORSE_BY, 3 * self.standard_error)


@dataclass(frozen=True, slots=True)
class Undo:
    """How many images were `deleted` when what a job had written was, over all calls, and when the last of these was."""

    deleted: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a dry run found, and what the job would take.

    Of all items, `broken` have a problem that the listing shows; `sampled` good ones, spread evenly, were read and embedded, of
    which `unchanged` are stored already and `sample_failed` could not be used. `reasons` counts the problems of both by reason.
    The rest is predicted for the whole job: items that `failed`, `duration_s` with planning, what the images that are new take
    in Milvus' memory, on its disk, and for a while besides on its disk (see `sizing`; 0 in a forecast made before that was
    computed), and, with `mirror`, how many images would be `deleted`.
    """

    sampled: int
    unchanged: int
    sample_failed: int
    broken: int
    reasons: Mapping[str, int]
    failed: int
    duration_s: float
    memory_bytes: int
    disk_bytes: int
    deleted: int = 0
    passing_disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Items by outcome. At the end of a job, submitted = indexed + skipped + failed; `submitted` is 0 until it is planned."""

    submitted: int = 0
    indexed: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Items that have ended in any way."""
        return self.indexed + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class Job:
    """A request to add many images, at one moment. `error` says why the job as a whole failed, one line for people, else it is
    empty; `error_reason` says it for programs, UPPER_SNAKE. `deleted` images a mirror has deleted that are not in its source.
    `revision` is that of all it writes.

    The fields from `collection_uid` on are the server's own.
    """

    id: str
    collection: str
    source: JobSource | None
    """None in a client that is older than the gateway and does not know the kind."""
    state: JobState
    counts: Counts
    skip_reasons: Mapping[str, int]
    chunks_total: int
    chunks_done: int
    revision: int
    request_id: str
    error: str
    created_at: datetime
    ended_at: datetime | None
    paused: bool = False
    """No further chunk is begun until it is resumed."""
    stalled: bool = False
    """It should be going on, and nothing has come of it for minutes."""
    listed: int = 0
    """Items found so far in the source."""
    comparison: Comparison | None = None
    """Of a re-embedding, from before its switch."""
    deleted: int = 0
    forecast: Forecast | None = None
    """Of a dry run, at its end."""
    undo: Undo | None = None
    """What was deleted of what it wrote."""
    held: str = ""
    """Why it waits, paused, for a person to resume it nevertheless, or to cancel it."""
    worked: int = 0
    """Items of chunks under way that have their vectors; they count in none of `counts` yet."""
    error_reason: str = ""
    options: JobOptions = DEFAULTS
    collection_uid: str = ""
    manifest: str = ""
    """Path of the manifest in the artifacts; empty until planned."""
    unidentified: int = 0
    """Items of which the listing could not tell the id, or that stand for parts of the source that could not be listed."""
    forced: bool = False
    """Resumed after it was held: what it was held for is accepted."""
    trace: str = ""
    """The `traceparent` of the call that asked for it; "" where that was not traced."""

    @property
    def standing(self) -> str:
        """Its state for people: `running`, `running, paused`, `running, held`, `running, stalled`, `succeeded, undone`."""
        paused = "held" if self.held else "paused" if self.paused else ""
        words = (self.state.value, paused, "stalled" if self.stalled else "", "undone" if self.undo else "")
        return ", ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: those that fit all that is given.

    States, none meaning any; created at `created_after` or later, and before `created_before`; with `text`, whatever its case,
    in the id, the request id or the place of the source.
    """

    states: frozenset[JobState] = frozenset()
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str = ""

    @property
    def looks_inside(self) -> bool:
        """Whether more than a job's creation decides."""
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
    """Items recorded in the stretch of `length_s` seconds that began `start_s` seconds after the job's creation."""

    start_s: float
    length_s: float
    items: int


@dataclass(frozen=True, slots=True)
class Report:
    """Where the time of a job went, in seconds. `planning_s` is how long it took until the source was planned, waiting
    included; `items_per_s` is the rate from then on; `stage_seconds` are added up over all chunks, which run side by side;
    `rates` follow each other without gaps, up to the last items recorded."""

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
