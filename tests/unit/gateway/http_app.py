"""The HTTP application over fakes, and a way to ask it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import httpx

from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.http.app import Core, build_app
from gateway.images.images import Images
from gateway.jobs.ingest import Ingest
from gateway.readiness import Readiness
from lookalike.jobs.uploads import Uploads
from lookalike.sources import Artifacts, Roots
from tests.unit.gateway.fakes import (
    NOTHING,
    FakeEmbedder,
    FakeLedger,
    FakeQueue,
    MemoryBackends,
    few_threads,
    image,
    random_images,
    search_core,
)

LIMIT = 4 * 1024 * 1024
SEARCH = "/v1/collections/things/search"


@functools.cache
def shared() -> Any:
    """One application for the tests that change nothing: making one takes a while."""
    return build()


def build(readiness: Readiness | None = None) -> Any:
    stored = [*random_images(9), image("a/b c", random_images(1)[0].vectors, metadata={"year": 2**53 + 1, "score": 7.0})]
    backends, ledger = MemoryBackends(stored), FakeLedger()
    embedder, threads = FakeEmbedder(random_images(1)[0].vectors), few_threads()
    queue, collections = FakeQueue(), Collections(backends, ledger, embedder, threads)
    uploads, roots = Uploads(Artifacts("memory://uploads-of-tests")), Roots(["/data"])
    core = Core(
        search_core(backends, embedder, threads),
        Images(backends, ledger, embedder, NOTHING, NOTHING, threads),
        collections,
        Ingest(backends, ledger, queue, uploads, NOTHING, roots, threads),
        Generations(backends, ledger, queue, embedder, collections, threads),
    )
    return build_app(core, readiness or Readiness({}), upload_limit_bytes=LIMIT)


def ask(method: str, path: str, app: Any = None, **request: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app or shared())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())
