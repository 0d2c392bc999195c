"""What right each way in needs, and on which collection: every RPC, every HTTP route and every Celery task.

The one table of it. Nothing enforces it yet; a test fails for a way in that has no row here, and for a row that names none.
gRPC's own services, health and reflection, are not in it: they say nothing of what is stored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from lookalike.http_bindings import bindings
from lookalike.v1 import collection_service_pb2, ingest_service_pb2, search_service_pb2


class Right(enum.Enum):
    """What a caller may do with a collection. None of them contains another; a role is a set of them."""

    SEARCH = "search"
    """Get answers without vectors, and what is known of the collection and of one image of it."""
    READ = "read"
    """Get what a collection was made of, or can be made into pictures again: vectors, pictures, lists of all images."""
    WRITE = "write"
    """Add, change and delete images, and follow the jobs that do."""
    ADMIN = "admin"
    """Make, change and delete collections; see how the installation fares."""
    SERVICE = "service"
    """Be a part of this installation. No caller can have it."""
    NONE = "none"
    """Anybody may."""


class On(enum.Enum):
    """The kind of thing that a right is needed on."""

    COLLECTION = "collection"
    JOB = "job"
    """The collection of the job."""
    EACH = "each"
    """Every collection in the answer, which leaves out those on which the caller lacks the right."""
    INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Need:
    """The caller needs `right` on a thing of the kind `on`.

    `names` is the dotted field of the request, or of the first message of a stream, that holds its name; "" where the request
    has none. `also`: a dotted flag of the request, or a field and its value (`view=IMAGE_VIEW_FULL`) -> the right that it needs
    in addition.
    """

    right: Right
    on: On = On.COLLECTION
    names: str = "collection"
    also: Mapping[str, Right] = field(default_factory=dict)


_VECTORS = {"view=IMAGE_VIEW_FULL": Right.READ}
_QUERY_VECTORS = {"options.view=IMAGE_VIEW_FULL": Right.READ, "options.include_query_vectors": Right.READ}
"""A query by the id of a stored image has that image's vectors."""
_BY_NAME = Need(Right.ADMIN, names="name")
_OF_JOB = Need(Right.WRITE, On.JOB, "id")
_OF_SERVICES = Need(Right.SERVICE, On.INSTALLATION, "")
_OPEN = Need(Right.NONE, On.INSTALLATION, "")

RPCS: Mapping[str, Need] = {
    "SearchService/Search": Need(Right.SEARCH, also=_QUERY_VECTORS),
    "SearchService/SearchBatch": Need(Right.SEARCH, also=_QUERY_VECTORS),
    "SearchService/GetImage": Need(Right.SEARCH, also=_VECTORS),
    "SearchService/ListImages": Need(Right.READ, also=_VECTORS),
    "SearchService/CountImages": Need(Right.READ),
    "SearchService/DeleteImages": Need(Right.WRITE),
    "SearchService/UpdateImages": Need(Right.WRITE),
    "SearchService/ImportImages": Need(Right.WRITE),
    "SearchService/GetThumbnail": Need(Right.READ),
    "CollectionService/CreateCollection": _BY_NAME,
    "CollectionService/GetCollection": Need(Right.SEARCH, names="name"),
    "CollectionService/ListCollections": Need(Right.SEARCH, On.EACH, ""),
    "CollectionService/ReembedCollection": _BY_NAME,
    "CollectionService/RollbackCollection": _BY_NAME,
    "CollectionService/DropPreviousGeneration": _BY_NAME,
    "CollectionService/DeleteCollection": _BY_NAME,
    "IngestService/UploadItems": Need(Right.WRITE, names="header.collection"),
    "IngestService/CreateIngestJob": Need(Right.WRITE),
    "IngestService/GetIngestJob": _OF_JOB,
    "IngestService/ListIngestJobs": Need(Right.WRITE, On.EACH),
    "IngestService/WatchIngestJob": _OF_JOB,
    "IngestService/CancelIngestJob": _OF_JOB,
    "IngestService/PauseIngestJob": _OF_JOB,
    "IngestService/ResumeIngestJob": _OF_JOB,
    "IngestService/RetryIngestFailures": _OF_JOB,
    "IngestService/GetIngestReport": _OF_JOB,
    "IngestService/ListIngestFailures": _OF_JOB,
    "IngestService/UndoIngestJob": _OF_JOB,
    "EmbedderService/Embed": _OF_SERVICES,
    "EmbedderService/DescribeSpaces": _OF_SERVICES,
    "EmbedderService/ListModels": _OF_SERVICES,
    "EmbedderService/MakeThumbnail": _OF_SERVICES,
}
"""By service and method, as the contract names them."""

TASKS: Mapping[str, Need] = {
    "lookalike.create_ingest_job": RPCS["IngestService/CreateIngestJob"],
    "lookalike.plan": _OF_SERVICES,
    "lookalike.ingest_chunk": _OF_SERVICES,
    "lookalike.finish": _OF_SERVICES,
}
"""By the name of the Celery task."""

_COLLECTION = "/v1/collections/{collection}"
_FILES = (search_service_pb2.DESCRIPTOR, collection_service_pb2.DESCRIPTOR, ingest_service_pb2.DESCRIPTOR)
_ROUTES_OF_RPCS: Mapping[str, str] = {
    **{binding.route: f"{binding.method.containing_service.name}/{binding.name}" for binding in bindings(_FILES)},
    f"DELETE {_COLLECTION}/images": "SearchService/DeleteImages",
    f"DELETE {_COLLECTION}/images/{{id:path}}": "SearchService/DeleteImages",
    f"PATCH {_COLLECTION}/images/{{id:path}}": "SearchService/UpdateImages",
    f"POST {_COLLECTION}/images": "IngestService/UploadItems",
    "GET /v1/ingest-jobs/{id}/failures:download": "IngestService/ListIngestFailures",
}
"""A route needs what the RPC needs that it stands for: its path, query or body is that RPC's request."""

ROUTES: Mapping[str, Need] = {
    **{route: RPCS[rpc] for route, rpc in _ROUTES_OF_RPCS.items()},
    "GET /": _OPEN,
    "GET /page": _OPEN,
    "GET /docs": _OPEN,
    "GET /openapi.json": _OPEN,
    "GET /favicon.ico": _OPEN,
    "GET /healthz": _OPEN,
    "GET /readyz": _OPEN,
    "GET /metrics": Need(Right.ADMIN, On.INSTALLATION, ""),
}
"""By method and path, as the routes write it. HEAD needs what GET does."""
