"""Pages and probes: `/`, `/docs`, their files, `/healthz`, `/readyz`, `/metrics`. Nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.backends.threads import off_loop
from gateway.readiness import Readiness
from lookalike.picture_formats import FORMATS

FOLDER = Path(__file__).parent

_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-cache"}
_PAGE_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# Swagger UI brings its icons as data URIs and writes style attributes.
_DOCS_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'"


def page_routes(readiness: Readiness) -> list[BaseRoute]:
    """Everything that is not the API itself; none of it is part of the OpenAPI document."""

    async def page(_request: Request) -> Response:
        return FileResponse(FOLDER / "index.html", headers={**_HEADERS, "Content-Security-Policy": _PAGE_POLICY})

    async def docs(_request: Request) -> Response:
        return FileResponse(FOLDER / "docs.html", headers={**_HEADERS, "Content-Security-Policy": _DOCS_POLICY})

    async def icon(_request: Request) -> Response:
        return FileResponse(FOLDER / "icon.svg", media_type="image/svg+xml")

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        missing = dict(readiness.missing)
        return JSONResponse(
            {"status": "not ready" if missing else "ready", "missing": missing}, status_code=503 if missing else 200
        )

    async def metrics(_request: Request) -> Response:
        return Response(await off_loop(generate_latest, large=True), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = {"/": page, "/docs": docs, "/favicon.ico": icon, "/healthz": live, "/readyz": ready, "/metrics": metrics}
    return [*(Route(path, endpoint) for path, endpoint in served.items()), Mount("/page", _Files(directory=FOLDER))]


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
