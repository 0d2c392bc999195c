"""The HTTP application: routes over the core, one shape of error, limits, pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.http.images import image_operations
from gateway.http.ingest import ingest_operations
from gateway.http.job_streams import job_operations
from gateway.http.openapi import document
from gateway.http.operations import Operation, operations_of
from gateway.http.search import search_operations
from gateway.http_server.bodies import BODY_LIMIT_BYTES, FULL, Pace, Share
from gateway.http_server.edge import STREAMS_FULL, Edge
from gateway.http_server.errors import add_error_handlers
from gateway.http_server.heads import Heads
from gateway.http_server.hosts import Hosts
from gateway.images.images import Images
from gateway.jobs.ingest import Ingest
from gateway.page.pages import page_routes
from gateway.readiness import Readiness
from gateway.rpcs.collections import CollectionRpcs
from gateway.rpcs.ingest import IngestRpcs
from gateway.rpcs.search import SearchRpcs
from gateway.search.search import Search
from lookalike.runtime.places import Places

DESCRIPTION = """\
Give it a picture, get back the pictures that look like it.

Answers are the JSON mapping of the protobuf contract in `protos/lookalike/v1/`, with its field names: 64-bit integers are
strings, timestamps are RFC 3339, enums are their names. Requests may have names in lowerCamelCase, too. Every error has the
shape of `ErrorResponse`. A request may say with the header `X-Timeout-S` how many seconds it will wait. Every answer has
the header `X-Request-Id`, under which the log speaks of it; a request may bring its own.
"""
_COMPRESSED_FROM_BYTES = 1024
_COMPRESSION_LEVEL = 5
"""A few per cent larger than at 9, in a quarter of the time."""
_COMPRESSED_IN_A_THREAD_FROM_BYTES = 32 * 1024
"""Less than this takes about a millisecond of the event loop."""


@dataclass(frozen=True, slots=True)
class Core:
    """What both transports call."""

    search: Search
    images: Images
    collections: Collections
    ingest: Ingest
    generations: Generations


def build_routes(core: Core, readiness: Readiness) -> Starlette:
    """Every route over `core` and the pages, without the layers that `build_app` puts round them."""
    rpcs = SearchRpcs(core.search, core.images)
    by_hand = [
        *search_operations(core.search, rpcs),
        *image_operations(core.images, rpcs),
        *ingest_operations(core.ingest),
        *job_operations(core.ingest),
    ]
    services = (rpcs, CollectionRpcs(core.collections, core.generations), IngestRpcs(core.ingest))
    operations = [*by_hand, *operations_of(*services, without=frozenset(operation.name for operation in by_hand))]
    described = document(
        operations,
        title="Lookalike",
        summary="Image similarity search",
        description=DESCRIPTION,
        version=version("lookalike"),
        license={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    said = JSONResponse(described)

    async def openapi(_request: Request) -> Response:
        return Response(said.body, media_type=said.media_type)

    app = Starlette(routes=[*map(OperationRoute, operations), Route("/openapi.json", openapi), *page_routes(readiness)])
    app.router.redirect_slashes = False
    add_error_handlers(app)
    return app


class OperationRoute(Route):
    """A route of the API. A parameter holds no colon, which begins a verb: `/v1/collections/things:reembed`."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.path, operation.answered, methods=[operation.verb])
        self.operation = operation
        self.path_regex = re.compile(self.path_regex.pattern.replace("[^/]+", "[^/:]+"))


def build_app(
    core: Core,
    readiness: Readiness,
    *,
    upload_limit_bytes: int,
    bodies_limit_bytes: int = 512 * 1024 * 1024,
    streams_limit: int = 128,
    hosts: Hosts = Hosts(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
) -> ASGIApp:
    """An ASGI application over `core`; a body of uploaded images may have `upload_limit_bytes`. All bodies that are held at
    one time may have `bodies_limit_bytes` together: three quarters of it for uploads, or one upload where that is more, the
    rest for all others, so that neither keeps the other out. `streams_limit`: answers that go on for long, at one time.
    `hosts`: its names besides loopback ones. `pace`: what is asked of those who send."""
    app = build_routes(core, readiness)
    operations = [route for route in app.routes if isinstance(route, OperationRoute)]
    streams = [route.path_regex for route in operations if route.operation.streams]
    uploads_to = [route.path_regex for route in operations if route.operation.uploads]
    uploads_limit_bytes = max(bodies_limit_bytes * 3 // 4, upload_limit_bytes)
    uploads = Share(upload_limit_bytes, Places(uploads_limit_bytes, FULL, patience_s=_patience_s(pace)))
    others = Share(BODY_LIMIT_BYTES, Places(max(bodies_limit_bytes // 4, BODY_LIMIT_BYTES), FULL, patience_s=_patience_s(pace)))
    return Edge(
        GZipMiddleware(
            Heads(app),
            minimum_size=_COMPRESSED_FROM_BYTES,
            compresslevel=_COMPRESSION_LEVEL,
            thread_minimum_size=_COMPRESSED_IN_A_THREAD_FROM_BYTES,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-ndjson", "text/csv"),
        ),
        lambda path: uploads if any(one.match(path) for one in uploads_to) else others,
        Places(streams_limit, STREAMS_FULL),
        lambda path: any(one.match(path) for one in streams),
        hosts=hosts,
        pace=pace,
    )


def _patience_s(pace: Pace) -> float:
    """How long a sender that is silent keeps its room while others need it."""
    return min(1.0, pace.grace_s / 4)
