"""The HTTP application: routes over the core, one shape of error, limits, pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from gateway.collections import Collections
from gateway.generations import Generations
from gateway.http.collections import collections_router
from gateway.http.edge import BODY_LIMIT_BYTES, Bodies, Edge
from gateway.http.errors import add_error_handlers
from gateway.http.generations import generations_router
from gateway.http.hosts import Hosts
from gateway.http.images import images_router
from gateway.http.ingest import ingest_router
from gateway.http.job_streams import job_streams_router
from gateway.http.jobs import jobs_router
from gateway.http.page import add_pages
from gateway.http.parameters import only_known_parameters
from gateway.http.search import search_router
from gateway.images import Images
from gateway.ingest import Ingest
from gateway.readiness import Readiness
from gateway.search import Search

DESCRIPTION = """\
Give it a picture, get back the pictures that look like it.

Answers are the JSON mapping of the protobuf contract in `protos/lookalike/v1/`, with its field names: 64-bit integers are
strings, timestamps are RFC 3339, enums are their names. Every error has the shape of `ErrorResponse`. A request may say with
the header `X-Timeout-S` how many seconds it will wait.
"""
_UPLOAD_PATH = re.compile(r"/v1/collections/[^/]+/images")


@dataclass(frozen=True, slots=True)
class Core:
    """What both transports call."""

    search: Search
    images: Images
    collections: Collections
    ingest: Ingest
    generations: Generations


def build_app(
    core: Core,
    readiness: Readiness,
    *,
    upload_limit_bytes: int,
    bodies_limit_bytes: int = 512 * 1024 * 1024,
    hosts: Hosts = Hosts(),  # noqa: B008 - frozen
) -> ASGIApp:
    """An ASGI application over `core`; a body of uploaded images may have `upload_limit_bytes`, all bodies that are held at
    one time together `bodies_limit_bytes`, or one upload where that is more. `hosts` are its names besides loopback ones."""
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
    routers = (
        search_router(core.search),
        ingest_router(core.ingest),
        job_streams_router(core.ingest),
        jobs_router(core.ingest),
        images_router(core.images),
        collections_router(core.collections),
        generations_router(core.generations),
    )
    for router in routers:
        app.include_router(router, dependencies=[Depends(only_known_parameters)])
    add_pages(app, readiness)
    add_error_handlers(app)
    app.openapi()  # now, and not when the first one calls: it takes half a second
    bodies = Bodies(max(bodies_limit_bytes, upload_limit_bytes, BODY_LIMIT_BYTES))
    return Edge(app, _limit_for(upload_limit_bytes), bodies, hosts=hosts)


def _limit_for(upload_limit_bytes: int) -> Callable[[str], int]:
    return lambda path: upload_limit_bytes if _UPLOAD_PATH.fullmatch(path) else BODY_LIMIT_BYTES


class _App(FastAPI):
    """FastAPI without its own 422 in the document: what it finds wrong is a 400 in our shape."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            if not _DOCUMENT:
                _DOCUMENT.update(self._made())
            self.openapi_schema = _DOCUMENT
        return self.openapi_schema

    def _made(self) -> dict[str, Any]:
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


_DOCUMENT: dict[str, Any] = {}
"""What every application of this process has in common, whatever core it is over."""
