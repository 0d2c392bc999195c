"""The HTTP application: routes over the core, one shape of error, limits, pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp

from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.http_server.bodies import BODY_LIMIT_BYTES, FULL, Pace, Share
from gateway.http.document import put_right
from gateway.http_server.edge import STREAMS_FULL, Edge
from gateway.http.errors import add_error_handlers
from gateway.http.examples import complete
from gateway.http_server.heads import Heads
from gateway.http_server.hosts import Hosts
from gateway.http.images import images_router
from gateway.http.ingest import ingest_router
from gateway.http.job_streams import job_streams_router
from gateway.http.page import add_pages
from gateway.http.parameters import only_known_parameters
from gateway.http.routes import METHODS, contract_router
from gateway.http.search import search_router
from gateway.images.images import Images
from gateway.jobs.ingest import Ingest
from gateway.readiness import Readiness
from gateway.rpcs.collections import CollectionRpcs
from gateway.rpcs.ingest import IngestRpcs
from gateway.rpcs.search import SearchRpcs
from gateway.search.search import Search
from lookalike.runtime.places import Places

DESCRIPTION = """\
Give it a picture, get back the pictures that look like it.

Answers are the JSON mapping of the protobuf contract in `protos/lookalike/v1/`, with its field names: 64-bit integers are
strings, timestamps are RFC 3339, enums are their names. Every error has the shape of `ErrorResponse`. A request may say with
the header `X-Timeout-S` how many seconds it will wait. Every answer has the header `X-Request-Id`, under which the log speaks
of it; a request may bring its own.
"""
_COMPRESSED_FROM_BYTES = 1024
_COMPRESSION_LEVEL = 5
"""A few per cent larger than at 9, in a quarter of the time."""
_COMPRESSED_IN_A_THREAD_FROM_BYTES = 32 * 1024
"""Less than this takes about a millisecond of the event loop."""
_UPLOAD_PATH = re.compile(r"/v1/collections/[^/]+/images")


@dataclass(frozen=True, slots=True)
class Core:
    """What both transports call."""

    search: Search
    images: Images
    collections: Collections
    ingest: Ingest
    generations: Generations


def build_routes(core: Core, readiness: Readiness) -> FastAPI:
    """Every route over `core` and the pages, without the layers that `build_app` puts round them."""
    app = _App(
        title="Lookalike",
        summary="Image similarity search",
        description=DESCRIPTION,
        version=version("lookalike"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # Our own page: FastAPI's loads Swagger UI from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
    )
    search_rpcs = SearchRpcs(core.search, core.images)
    routers = (
        search_router(core.search, search_rpcs),
        ingest_router(core.ingest),
        job_streams_router(core.ingest),  # before the contract's: `{id}` would be `ID:watch`
        images_router(core.images),
        contract_router(search_rpcs, CollectionRpcs(core.collections, core.generations), IngestRpcs(core.ingest)),
    )
    for router in routers:
        app.include_router(router, dependencies=[Depends(only_known_parameters)])
    add_pages(app, readiness)
    add_error_handlers(app)
    app.openapi()  # now, and not when the first one calls: it takes half a second
    return app


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
        lambda path: uploads if _UPLOAD_PATH.fullmatch(path) else others,
        Places(streams_limit, STREAMS_FULL),
        hosts=hosts,
        pace=pace,
    )


def _patience_s(pace: Pace) -> float:
    """How long a sender that is silent keeps its room while others need it."""
    return min(1.0, pace.grace_s / 4)


class _App(FastAPI):
    """FastAPI with one document for every application of this process."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            if not _DOCUMENT:
                _DOCUMENT.update(self._made())
            self.openapi_schema = _DOCUMENT
        return self.openapi_schema

    def _made(self) -> dict[str, Any]:
        document = super().openapi()
        put_right(document)
        complete(document, METHODS)
        return document


_DOCUMENT: dict[str, Any] = {}
"""What every application of this process has in common, whatever core it is over."""
