"""Pages and probes: `/`, `/docs`, their files, `/healthz`, `/readyz`, `/metrics`. Nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.backends.threads import off_loop
from gateway.readiness import Readiness
from lookalike.picture_formats import FORMATS

FOLDER = Path(__file__).parent.parent / "page"

_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-cache"}
_PAGE_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# Swagger UI brings its icons as data URIs and writes style attributes.
_DOCS_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'"


def add_pages(app: FastAPI, readiness: Readiness) -> None:
    """Add everything that is not the API itself; none of it is part of the OpenAPI document."""
    app.include_router(_router(readiness), include_in_schema=False)
    app.mount("/page", _Files(directory=FOLDER))


def _router(readiness: Readiness) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html", headers={**_HEADERS, "Content-Security-Policy": _PAGE_POLICY})

    @router.get("/docs")
    async def docs() -> Response:
        return FileResponse(FOLDER / "docs.html", headers={**_HEADERS, "Content-Security-Policy": _DOCS_POLICY})

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return FileResponse(FOLDER / "icon.svg", media_type="image/svg+xml")

    @router.get("/healthz")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        missing = dict(readiness.missing)
        return JSONResponse(
            {"status": "not ready" if missing else "ready", "missing": missing}, status_code=503 if missing else 200
        )

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(await off_loop(generate_latest, large=True), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


_MADE = {"formats.js": f'export const MEDIA_TYPES = "{",".join(read.media_type for read in FORMATS)}";\n'}
"""Modules of the page that are made here, by their names: what it shares with the services."""


class _Files(StaticFiles):
    """The page's files; browsers ask each time whether they have changed, as a new version keeps their names."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path in _MADE:
            response: Response = Response(_MADE[path], media_type="text/javascript")
        else:
            response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
