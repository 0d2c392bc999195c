"""The Python client: `Client` talks gRPC to the gateway, returns frozen records and raises `lookalike.errors`.

    from lookalike.client import Client

    with Client("127.0.0.1:50051") as client:
        for hit in client.search("products", image=Path("shoe.jpg"), top_k=5).neighbours:
            print(hit.rank, hit.similarity, hit.image.uri)

Every call has a deadline. Calls that change nothing, and calls that carry a request id (`create_ingest_job`), are tried again
when the gateway is `Unavailable`. An argument of a wrong type raises `InvalidArgument` with its name before anything is sent.
Where a list is expected, a single value counts as a list of one; an enum's member may be given by its value.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from lookalike.client.batches import Query
from lookalike.client.collecting import CollectionCalls
from lookalike.client.ingesting import IngestCalls
from lookalike.client.searching import SearchCalls
from lookalike.metadata import UNKNOWN_VALUE
from lookalike.records.collection import Collection, CollectionDefaults, GenerationState, OtherGeneration
from lookalike.records.image import Consistency, Deletion, Image, ImageUpdate, ImageView, UpdateResult
from lookalike.records.job import (
    Comparison,
    Counts,
    Failure,
    Forecast,
    IngestOptions,
    Job,
    NearDuplicatePolicy,
    Rate,
    Report,
    Undo,
    Undone,
)
from lookalike.records.job_state import JobState
from lookalike.records.search import BatchAnswer, Neighbour, SearchResult, SearchTiming, SpaceShare
from lookalike.records.source import (
    ArchiveSource,
    CollectionSource,
    FailuresSource,
    FolderSource,
    ManifestSource,
    Source,
    Upload,
    UploadItem,
    UploadSource,
)
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space, SpaceSpec, UnknownKind

DEFAULT_TARGET = "127.0.0.1:50051"

__all__ = [
    "DEFAULT_TARGET",
    "UNKNOWN_VALUE",
    "ArchiveSource",
    "BatchAnswer",
    "Client",
    "Collection",
    "CollectionDefaults",
    "CollectionSource",
    "Comparison",
    "Consistency",
    "Counts",
    "Deletion",
    "Failure",
    "FailuresSource",
    "FolderSource",
    "Forecast",
    "GenerationState",
    "HistogramSettings",
    "Image",
    "ImageUpdate",
    "ImageView",
    "IngestOptions",
    "Job",
    "JobState",
    "ManifestSource",
    "Metric",
    "ModelSettings",
    "NearDuplicatePolicy",
    "Neighbour",
    "OtherGeneration",
    "Query",
    "Rate",
    "Report",
    "SearchResult",
    "SearchTiming",
    "Source",
    "Space",
    "SpaceShare",
    "SpaceSpec",
    "Undo",
    "Undone",
    "UnknownKind",
    "UpdateResult",
    "Upload",
    "UploadItem",
    "UploadSource",
]


class Client(SearchCalls, CollectionCalls, IngestCalls):
    """A connection to the gateway at `target` (`HOST:PORT`); `timeout_s` is the deadline of calls without their own.

    A client is safe to share between threads, so a program needs only one. It connects at the first call. Close it, or use it
    in a `with` statement. Raises `InvalidArgument` for a target that is not `HOST:PORT`.
    """

    def __init__(self, target: str = DEFAULT_TARGET, timeout_s: float = 30.0) -> None:
        super().__init__(target, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
