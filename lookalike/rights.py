"""What right each way in needs, and on which collection: every RPC, every HTTP route and every Celery task.

What an RPC needs stands beside it in the contract (`need`); this module cannot be imported while an RPC declares nothing. The
other ways in have rows here, and a test fails for one that has none. Nothing enforces the rights yet. gRPC's own services,
health and reflection, are left out: they say nothing of what is stored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import MethodDescriptor

from lookalike.errors import Internal
from lookalike.http_bindings import bindings
from lookalike.v1 import collection_service_pb2, embedder_service_pb2, ingest_service_pb2, rights_pb2, search_service_pb2
from lookalike.wire.fields import members_of


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


_FILES = tuple(
    module.DESCRIPTOR for module in (search_service_pb2, collection_service_pb2, ingest_service_pb2, embedder_service_pb2)
)
_RIGHTS = members_of(Right, rights_pb2.Right.DESCRIPTOR)
_ON = members_of(On, rights_pb2.On.DESCRIPTOR) | {rights_pb2.ON_UNSPECIFIED: On.COLLECTION}


def need_of(method: MethodDescriptor) -> Need:
    """What the contract says that a caller of `method` needs. Raises `Internal` for a method that declares no right."""
    need = method.GetOptions().Extensions[rights_pb2.need]
    if need.right not in _RIGHTS:
        raise Internal(f"{method.full_name} declares no right")
    also = {also.flag: _RIGHTS[also.right] for also in need.also}
    return Need(_RIGHTS[need.right], _ON[need.on], need.names, also)


RPCS: Mapping[str, Need] = {
    f"{service.name}/{method.name}": need_of(method)
    for file in _FILES
    for service in file.services_by_name.values()
    for method in service.methods
}
"""By service and method, as the contract names them."""

_OF_SERVICES = Need(Right.SERVICE, On.INSTALLATION, "")
_OPEN = Need(Right.NONE, On.INSTALLATION, "")
TASKS: Mapping[str, Need] = {
    "lookalike.create_ingest_job": RPCS["IngestService/CreateIngestJob"],
    "lookalike.plan": _OF_SERVICES,
    "lookalike.ingest_chunk": _OF_SERVICES,
    "lookalike.finish": _OF_SERVICES,
}
"""By the name of the Celery task."""

_COLLECTION = "/v1/collections/{collection}"
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
