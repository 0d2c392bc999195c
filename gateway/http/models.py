"""What HTTP answers, for the OpenAPI: the contract's response messages in their JSON mapping, field for field.

Only documentation: answers are made from the messages themselves (`convert.respond`), and a test keeps the two alike.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.http.errors import ErrorBody
from lookalike.bounds import most_bytes, most_items
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb

Int64 = str
"""The protobuf JSON mapping writes 64-bit integers as strings."""

Name = Annotated[str, Field(max_length=most_bytes(search_pb.SearchRequest.DESCRIPTOR, "collection"))]
ImageId = Annotated[str, Field(max_length=most_bytes(search_pb.GetImageRequest.DESCRIPTOR, "id"))]
JobId = Annotated[str, Field(max_length=most_bytes(ingest_pb.GetIngestJobRequest.DESCRIPTOR, "id"))]
RequestId = Annotated[str, Field(max_length=most_bytes(ingest_pb.CreateIngestJobRequest.DESCRIPTOR, "request_id"))]
PageToken = Annotated[str, Field(max_length=most_bytes(search_pb.ListImagesRequest.DESCRIPTOR, "page_token"))]
Uri = Annotated[str, Field(max_length=most_bytes(ingest_pb.FolderSource.DESCRIPTOR, "uri"))]
Globs = Annotated[
    list[Annotated[str, Field(max_length=most_bytes(ingest_pb.FolderSource.DESCRIPTOR, "exclude"))]],
    Field(max_length=most_items(ingest_pb.FolderSource.DESCRIPTOR, "exclude")),
]
UploadId = Annotated[str, Field(max_length=most_bytes(ingest_pb.UploadSource.DESCRIPTOR, "upload_id"))]


class HistogramSettings(BaseModel):
    bins: int = Field(0, ge=0, le=256, description="Per channel and cell: 8, 16, 32, 64, 128 or 256. 0 means 256.")
    grid: int = Field(0, ge=0, le=8, description="Cells a side, 1 to 8. 0 means 1, the whole picture.")
    color: bool = Field(False, description="Count red, green and blue apart instead of grey intensity.")


class Space(BaseModel):
    name: Literal["histogram", "siamese"]
    dimension: int = Field(description="Length of its vectors.")
    metric: Literal["METRIC_L2", "METRIC_COSINE"]
    fingerprint: str = Field(description="16 hex digits over everything that changes a vector.")


class SpaceVector(BaseModel):
    space: str
    values: list[float]
    fingerprint: str


class Image(BaseModel):
    id: str
    uri: str
    metadata: dict[str, Any] = Field(description="Free-form facts; filters search in here.")
    sha256: str = Field(description="Of the encoded bytes that were indexed.")
    revision: Int64
    indexed_at: datetime
    vectors: list[SpaceVector] = Field(description="Where asked for.")


class SpaceShare(BaseModel):
    space: str
    distance: float = Field(description="In the space's metric.")
    similarity: float = Field(description="In [0, 1], higher is nearer.")
    share: float = Field(description="The part of the hit's similarity that came from this space.")


class Neighbour(BaseModel):
    image: Image
    rank: int = Field(description="From 1.")
    distance: float | None = Field(None, description="Absent where two spaces are fused.")
    similarity: float = Field(description="In [0, 1], higher is nearer.")
    shares: list[SpaceShare]


class SearchResponse(BaseModel):
    """Neighbours, nearest first."""

    neighbours: list[Neighbour]
    spaces: list[Space]
    query_vectors: list[SpaceVector]
    ef: int


class SearchBatchResponse(BaseModel):
    """What became of one query: `answer` or `error`."""

    index: int = Field(description="Its place in the request, from 0.")
    answer: SearchResponse | None = None
    error: ErrorBody | None = Field(None, description="What it would have been answered alone.")


class GetImageResponse(BaseModel):
    image: Image


class ListImagesResponse(BaseModel):
    images: list[Image] = Field(description="In order of id.")
    next_page_token: str = Field(description="Asks for the next page. Empty on the last one.")


class DeleteImagesResponse(BaseModel):
    deleted: int = Field(description="How many were there.")
    revision: Int64


class UpdateImagesResponse(BaseModel):
    updated: int = Field(description="How many were there.")
    missing_ids: list[str] = Field(description="Ids that the collection does not hold.")
    revision: Int64


class ImportImagesResponse(BaseModel):
    revision: Int64


class OtherGeneration(BaseModel):
    """A generation that is written beside the one that is searched."""

    generation: Int64
    state: Literal["OTHER_GENERATION_STATE_FILLING", "OTHER_GENERATION_STATE_PREVIOUS"]
    model: str
    spaces: list[Space]
    job_id: str = Field(description="The job that fills it, or filled the one that is searched.")
    drop_time: datetime | None = Field(None, description="Absent while it is being filled.")


class Collection(BaseModel):
    name: str
    description: str
    model: str = Field(description="Its version is the fingerprint of the `siamese` space.")
    histogram: HistogramSettings
    spaces: list[Space]
    generation: Int64
    image_count: Int64
    create_time: datetime
    other: OtherGeneration | None = Field(None, description="Absent most of the time.")
    exact: bool = Field(False, description="A search compares with every image, misses nothing, and `ef` changes nothing.")


class CreateCollectionResponse(BaseModel):
    collection: Collection


class GetCollectionResponse(BaseModel):
    collection: Collection


class ListCollectionsResponse(BaseModel):
    collections: list[Collection] = Field(description="In order of name.")


class ReembedCollectionResponse(BaseModel):
    job_id: str = Field(description="Of the job that re-embeds.")


class RollbackCollectionResponse(BaseModel):
    collection: Collection


class DropPreviousGenerationResponse(BaseModel):
    collection: Collection


class DeleteCollectionResponse(BaseModel):
    """Empty: the collection is gone."""


class ItemCounts(BaseModel):
    """At the end, submitted = indexed + skipped + failed."""

    submitted: Int64
    indexed: Int64
    skipped: Int64
    failed: Int64


class Status(BaseModel):
    """`google.rpc.Status`."""

    code: int
    message: str
    details: list[dict[str, Any]]


_EXCLUDE = (
    "Globs of what is left out, such as `*.gif`, `drafts/` or `/2019/**/raw`: without a slash they are matched against every "
    "name, with one against the path below the source. Case does not count."
)
_INCLUDE_HIDDEN = (
    "Take hidden files, and what systems leave among pictures (`@eaDir`, `#recycle` ...), for pictures like others."
)


class FolderSource(BaseModel):
    """A folder of pictures that the workers can reach."""

    uri: Uri = Field(description="A path inside the workers' configured roots, a `file://` URI or an `s3://` prefix.")
    labels_from_folders: bool = Field(False, description="Make each sub-folder's name the metadata `label`.")
    exclude: Globs = Field([], description=_EXCLUDE)
    include_hidden: bool = Field(False, description=_INCLUDE_HIDDEN)


class ManifestSource(BaseModel):
    """A list of pictures that the workers can reach."""

    uri: Uri = Field(description="Path or URI of a CSV, JSONL or Parquet file, or of a text file with one URI a line.")


class UploadSource(BaseModel):
    """Items uploaded before."""

    upload_id: UploadId


class ArchiveSource(BaseModel):
    """Pictures in tar files that the workers can reach."""

    uri: Uri = Field(description="Path or URI of a tar file, or of a folder or prefix of them.")
    exclude: Globs = Field([], description=_EXCLUDE)
    include_hidden: bool = Field(False, description=_INCLUDE_HIDDEN)


class FailuresSource(BaseModel):
    """What failed in another job. Only in answers."""

    job_id: JobId


class CollectionSource(BaseModel):
    """What the collection holds, for a re-embedding. Only in answers."""

    generation: Annotated[Int64, Field(max_length=20)]


class NearDuplicates(BaseModel):
    """What happens to an image that looks almost like another one of the collection."""

    policy: Literal[
        "NEAR_DUPLICATE_POLICY_UNSPECIFIED",
        "NEAR_DUPLICATE_POLICY_KEEP",
        "NEAR_DUPLICATE_POLICY_SKIP",
        "NEAR_DUPLICATE_POLICY_LINK",
    ] = "NEAR_DUPLICATE_POLICY_UNSPECIFIED"
    threshold: float = Field(
        0.0, description="Similarity in the space `siamese`, in [0, 1], of a picture that stands out. 0 means 0.95."
    )


class Source(BaseModel, extra="forbid"):
    """Exactly one."""

    folder: FolderSource | None = None
    manifest: ManifestSource | None = None
    upload: UploadSource | None = None
    archive: ArchiveSource | None = None
    failures: FailuresSource | None = None
    collection: CollectionSource | None = None


JobState = Literal[
    "INGEST_JOB_STATE_PENDING",
    "INGEST_JOB_STATE_PLANNING",
    "INGEST_JOB_STATE_RUNNING",
    "INGEST_JOB_STATE_CANCELLING",
    "INGEST_JOB_STATE_CANCELLED",
    "INGEST_JOB_STATE_SUCCEEDED",
    "INGEST_JOB_STATE_FAILED",
]


class ReembedComparison(BaseModel):
    """How the answers of a collection's new generation compare with those of the one before."""

    queries: int = Field(description="Images asked for.")
    k: int = Field(description="Neighbours looked at per query.")
    overlap: float = Field(description="Mean share of them that both generations have in common, in [0, 1].")
    precision_before: float | None = Field(None, description="Mean share of them with the query's `label`, before.")
    precision_after: float | None = Field(None, description="The same, after.")


class IngestForecast(BaseModel):
    """What a dry run found, and what the job would take."""

    sampled: Int64 = Field(description="Items that were read and embedded, spread evenly over the source.")
    unchanged: Int64 = Field(description="Of these, stored already as they are.")
    sample_failed: Int64 = Field(description="Of these, those that could not be used.")
    broken: Int64 = Field(description="Items of the whole source whose problem the listing shows.")
    reasons: dict[str, Int64] = Field(description="Problems of both kinds by reason.")
    failed: Int64 = Field(description="Items that would fail.")
    duration_s: float = Field(description="Seconds that the job would take, planning included.")
    memory_bytes: Int64 = Field(description="That the new images would take in Milvus' memory.")
    disk_bytes: Int64 = Field(description="And on its disk, for good.")
    passing_disk_bytes: Int64 = Field(
        description="And besides for a while: for the write-ahead log, and for what compaction replaces."
    )
    deleted: Int64 = Field(description="Images that would be deleted, with `mirror`.")


class IngestUndo(BaseModel):
    """What was deleted of what a job wrote."""

    deleted: Int64 = Field(description="Images, over all calls.")
    time: datetime = Field(description="When the last of them ended.")


class IngestJob(BaseModel):
    id: str
    collection: str
    source: Source
    state: JobState
    counts: ItemCounts
    skip_reasons: dict[str, Int64]
    chunks_total: int
    chunks_done: int
    revision: Int64
    request_id: str
    error: Status | None = Field(None, description="Why the job as a whole failed; absent otherwise.")
    create_time: datetime
    end_time: datetime | None = Field(None, description="Absent until it has ended.")
    paused: bool = Field(description="No further chunk is begun until it is resumed.")
    stalled: bool = Field(description="The job should be going on, and has made no progress for minutes.")
    listed: Int64 = Field(description="Items found so far while the source is being read.")
    near_duplicates: NearDuplicates
    deleted: Int64 = Field(description="Images that a mirror has deleted at the end.")
    mirror: bool = Field(description="Images that the source does not have are deleted at the end.")
    dry_run: bool = Field(description="Nothing is written.")
    forecast: IngestForecast | None = Field(None, description="Of a dry run, at its end.")
    comparison: ReembedComparison | None = Field(None, description="Of a re-embedding, from before its switch.")
    undo: IngestUndo | None = Field(None, description="What was deleted of what it wrote; absent where nothing was undone.")
    held: str = Field(description="Why it is paused and waits to be resumed nevertheless, or cancelled; empty otherwise.")
    worked: Int64 = Field(description="Items of chunks under way that have their vectors; not in `counts` yet.")


class CreateIngestJobResponse(BaseModel):
    job: IngestJob


class GetIngestJobResponse(BaseModel):
    job: IngestJob


class WatchIngestJobResponse(BaseModel):
    job: IngestJob


class CancelIngestJobResponse(BaseModel):
    job: IngestJob


class UndoIngestJobResponse(BaseModel):
    deleted: Int64
    revision: Int64


class PauseIngestJobResponse(BaseModel):
    job: IngestJob


class ResumeIngestJobResponse(BaseModel):
    job: IngestJob


class RetryIngestFailuresResponse(BaseModel):
    job: IngestJob


class IngestRate(BaseModel):
    start_s: float = Field(description="Seconds from the job's creation to the beginning of the stretch.")
    length_s: float
    items: Int64 = Field(description="Recorded in the stretch.")


class GetIngestReportResponse(BaseModel):
    job: IngestJob
    elapsed_s: float
    planning_s: float = Field(description="Of `elapsed_s`, until the source was planned.")
    items_per_s: float = Field(description="Items recorded per second from then on.")
    stage_seconds: dict[str, float] = Field(description="By stage, added up over chunks that run side by side.")
    rates: list[IngestRate] = Field(description="In order, without gaps.")


class ListIngestJobsResponse(BaseModel):
    jobs: list[IngestJob] = Field(description="Newest first.")
    next_page_token: str


class ItemFailure(BaseModel):
    id: str
    uri: str
    reason: str = Field(description="UPPER_SNAKE, such as `IMAGE_UNREADABLE`.")
    message: str
    position: Int64


class ListIngestFailuresResponse(BaseModel):
    failures: list[ItemFailure]
    next_page_token: str
