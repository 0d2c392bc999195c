"""What an ingest job is, as the ledger tells it. Used by the gateway and the indexer; standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Literal

from lookalike.listing.choosing import EVERYTHING_SEEN, Choice
from lookalike.records.job_state import JobState

SourceKind = Literal["folder", "manifest", "upload", "archive", "failures", "collection"]
NearDuplicatePolicy = Literal["keep", "skip", "link"]

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

CHUNKS_TOGETHER = 100
"""Recorded chunks per hash in Redis: up to 128 entries of up to 64 bytes are packed without pointers (its default
`hash-max-listpack-entries`), which is a quarter of the memory."""

STRETCHES = 120
"""Of time, in each of which a job's items are counted. With the width they are few enough to be packed, as above. Even: where
a job outlives them, two become one."""
FIRST_STRETCH_MS = 1000
STALL_S = 300.0
"""Without progress for so long, a job that should be going on counts as stalled: no chunk takes minutes."""

WORSE_BY = 0.02
"""Bounds what a new generation's precision may lose and count as no worse, however sure that is."""
LEAST_JUDGED = 20
"""Labelled queries below which a precision is no judgement."""

DEFAULT_NEAR_DUPLICATE = 0.95
"""Similarity in the space `siamese`, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where a job's items come from. `uri` is a path or URI; of an upload its id, of failures that of the job, of a collection
    the number of the generation that is being filled."""

    kind: SourceKind
    uri: str
    labels_from_folders: bool = False
    choice: Choice = EVERYTHING_SEEN
    """What of a folder or of archives is left out."""

    def to_json(self) -> str:
        """Canonical: the same source gives the same text."""
        fields = asdict(self)
        if self.choice == EVERYTHING_SEEN:
            del fields["choice"]  # As it was before there was a choice, so that a request of then is still the same.
        return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> SourceSpec:
        fields = json.loads(text)
        choice = fields.get("choice", {"exclude": (), "include_hidden": False})
        chosen = Choice(tuple(choice["exclude"]), choice["include_hidden"])
        return cls(fields["kind"], fields["uri"], fields["labels_from_folders"], chosen)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job treats its items. `threshold` is a similarity in the space `siamese`, in [0, 1]; `grace_s` in seconds.

    `model`, `allow_missing`, `grace_s` and `force` matter to a re-embedding only: see `ReembedCollectionRequest`.
    """

    near_duplicates: NearDuplicatePolicy = "keep"
    threshold: float = DEFAULT_NEAR_DUPLICATE
    mirror: bool = False
    dry_run: bool = False
    model: str = ""
    allow_missing: bool = False
    grace_s: float = 0.0
    force: bool = False

    def to_json(self) -> str:
        """Canonical, as of `SourceSpec`: only what differs from the default."""
        differing = {
            field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.default
        }
        return json.dumps(differing, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> JobOptions:
        return cls(**json.loads(text))


DEFAULTS = JobOptions()


def request_fingerprint(collection: str, source: SourceSpec, options: JobOptions = DEFAULTS) -> str:
    """16 hex digits over what a request asks for; tells a repeated request from a reused request id."""
    return hashlib.sha256(f"{collection}\n{source.to_json()}\n{options.to_json()}".encode()).hexdigest()[:16]


def has_finish(source: SourceSpec, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job has something left to do, in a last unit of its own, when all its chunks are recorded: to switch what it
    re-embedded, to delete what its source does not have, or to say what it would do."""
    return source.kind == "collection" or options.mirror or options.dry_run


def writes_own_revision(source: SourceSpec, options: JobOptions = DEFAULTS) -> bool:
    """Whether a job could write over what is written after it was made. A re-embedding keeps every image's own revision, and
    looks under the lock what is there: no other job has to mind it, and no delete leaves a tombstone for it. Nor for a dry
    run, which writes nothing."""
    return source.kind != "collection" and not options.dry_run


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
    """Of the images asked for, those that have a label: what the precisions are means of."""
    standard_error: float = 0.0
    """Of the difference of the precisions, image by image."""

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
    """How many images were deleted when what a job had written was, over all calls, and when the last of these was."""

    images: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a dry run found, and what the job would take.

    Of all items, `broken` have a problem that the listing shows; `sampled` good ones, spread evenly, were read and embedded, of
    which `unchanged` are stored already and `sample_failed` could not be used. `reasons` counts the problems of both by reason.
    The rest is predicted for the whole job: items that `failed`, `duration_s` with planning, what the images that are new take
    in Milvus' memory, on its disk, and for a while besides on its disk (see `store.sizing`; 0 in a forecast made before that
    was reckoned), and, with `mirror`, how many images would be `deleted`.
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


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job as a whole failed: `reason` UPPER_SNAKE for programs, `message` one line for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest job at one moment."""

    id: str
    collection: str
    collection_uid: str
    source: SourceSpec
    state: JobState
    counts: Counts
    skip_reasons: Mapping[str, int]
    chunks_total: int
    chunks_done: int
    revision: int
    request_id: str
    error: JobError | None
    created_at: datetime
    ended_at: datetime | None
    manifest: str = ""
    """Path of the manifest in the artifacts; empty until planned."""
    options: JobOptions = DEFAULTS
    paused: bool = False
    """No further unit is begun until it is resumed."""
    stalled: bool = False
    """It should be going on, and nothing has come of it for long."""
    listed: int = 0
    """Items found so far in the source."""
    comparison: Comparison | None = None
    """Of a re-embedding, from before its switch."""
    unidentified: int = 0
    """Items of which the listing could not tell the id, or that stand for parts of the source that could not be listed."""
    deleted: int = 0
    """Images that a mirror has deleted."""
    forecast: Forecast | None = None
    """Of a dry run, at its end."""
    held: str = ""
    """Why it waits, paused, for a person to resume it nevertheless, or to cancel it."""
    forced: bool = False
    """Resumed after it was held: what it was held for is accepted."""
    worked: int = 0
    """Items of chunks under way that have their vectors; they count in none of `counts` yet."""
    undo: Undo | None = None
    """What was deleted of what it wrote."""
    trace: str = ""
    """The `traceparent` of the call that asked for it; "" where that was not traced."""

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str], *, stalled_before_ms: int = 0) -> Job:
        """Read the hash that `lua/create.lua` writes. A job is stalled whose last progress lies before `stalled_before_ms`."""
        error_reason, state, paused = fields.get("error_reason", ""), JobState(fields["state"]), "paused" in fields
        counts = Counts(*(int(fields[name]) for name in ("submitted", "indexed", "skipped", "failed")))
        left = counts.submitted - counts.indexed - counts.skipped - counts.failed
        return cls(
            id=job_id,
            collection=fields["collection"],
            collection_uid=fields["collection_uid"],
            source=SourceSpec.from_json(fields["source"]),
            state=state,
            counts=counts,
            skip_reasons={key[len("skip:") :]: int(value) for key, value in fields.items() if key.startswith("skip:")},
            chunks_total=int(fields["chunks_total"]),
            chunks_done=int(fields["chunks_done"]),
            revision=int(fields["revision"]),
            request_id=fields["request_id"],
            error=JobError(error_reason, fields["error_message"]) if error_reason else None,
            created_at=_moment(fields["created_ms"]),
            ended_at=_moment(fields["ended_ms"]) if "ended_ms" in fields else None,
            manifest=fields.get("manifest", ""),
            options=JobOptions.from_json(fields.get("options", "{}")),
            paused=paused,
            stalled=not (state.ended or paused) and int(fields.get("progress_ms", fields["created_ms"])) < stalled_before_ms,
            listed=int(fields.get("listed", 0)),
            comparison=Comparison(**json.loads(fields["comparison"])) if "comparison" in fields else None,
            unidentified=int(fields.get("unidentified", 0)),
            deleted=int(fields.get("deleted", 0)),
            forecast=Forecast(**json.loads(fields["forecast"])) if "forecast" in fields else None,
            held=fields.get("held", ""),
            forced="forced" in fields,
            # Of an item that is tried again within its chunk each try is told.
            worked=min(int(fields.get("worked", 0)), max(left, 0)),
            undo=Undo(int(fields.get("undone", 0)), _moment(fields["undone_ms"])) if "undone_ms" in fields else None,
            trace=fields.get("trace", ""),
        )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
