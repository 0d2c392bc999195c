"""A gateway over fakes that hold as much as can be stored, in a process of its own with a probe on its loop.

`python -m tests.unit.gateway.gateway_at_limits` prints its ports; then each line on its standard input begins a measurement and
is answered with what the one before came to.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.http.app import Core, build_app
from gateway.images.images import Images
from gateway.jobs.ingest import Ingest
from gateway.listeners import HttpServer, build_grpc
from gateway.memory import settle
from gateway.readiness import Readiness
from lookalike.errors import NotFound
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.uploads import Uploads
from lookalike.names import MAX_TOP_K
from lookalike.records.image import StoredImage
from lookalike.records.job import Failure
from lookalike.records.job_state import JobState
from lookalike.records.model import Embedding
from lookalike.runtime.call import Deadline
from lookalike.sources import Artifacts, Reader, Roots
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Metric, ModelSettings, Space
from tests.unit.gateway.fakes import (
    COLLECTION,
    MOMENT,
    NOTHING,
    FakeEmbedder,
    FakeLedger,
    MemoryBackends,
    few_threads,
    job,
    search_core,
)
from tests.unit.gateway.loop_probe import LoopProbe

HISTOGRAM_DIMENSION = 4096
SPACES = (
    Space(HISTOGRAM, HISTOGRAM_DIMENSION, Metric.L2, "aaaaaaaaaaaaaaaa", HistogramSettings(grid=4)),
    Space(SIAMESE, 512, Metric.COSINE, "bbbbbbbbbbbbbbbb", ModelSettings("small")),
)
FULL = replace(COLLECTION, spaces=SPACES)
METADATA = {f"k{number:04d}": number for number in range(1200)}
"""Some 16 KB as JSON, of values that take longest to write."""
WITH_METADATA = 40
"""The images with metadata, the first and the nearest: enough to hold a loop for a second where they are written on it."""
HOLDING_PATH, HOLDING_S = "/hold", 0.08
COLLECTING_PATH = "/collect"


class FullLedger(FakeLedger):
    """With a thousand jobs, which nothing can be done with."""

    def list(self, *_: Any) -> tuple[list[Any], str]:
        return [job(JobState.RUNNING, skip_reasons={f"REASON_{number}": 1 for number in range(8)})] * 1000, "token"

    def get(self, job_id: str) -> Any:
        raise NotFound("ingest job", job_id, field="id")

    def find_request(self, *_: Any) -> Any:
        raise NotFound("ingest job", "any", field="id")

    find_reembedding = find_request  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name == "connection":
            self.find_request()
        return self.find_request


class FullOutcomes(Outcomes):
    def __init__(self) -> None:
        pass

    def page_failures(self, *_: Any) -> tuple[list[Failure], str]:
        return [Failure("i" * 256, "u" * 2048, "IMAGE_UNREADABLE", "m" * 300, number) for number in range(1000)], ""


class ForgettingEmbedder(FakeEmbedder):
    """Keeps no pictures: with new memory for each of them the loop is held longer than a gateway's is."""

    async def embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        embedded = await super().embed(images, spaces, deadline)
        self.batches.clear()
        return embedded


def stored() -> list[StoredImage]:
    generator = np.random.default_rng(5)
    histogram = generator.random((MAX_TOP_K, HISTOGRAM_DIMENSION), np.float32)
    histogram /= histogram.sum(1, keepdims=True)
    siamese = generator.normal(size=(MAX_TOP_K, 512)).astype(np.float32)
    siamese[:, 0] = np.linspace(100, 0, MAX_TOP_K)  # the nearest of what points there come first
    return [
        StoredImage(
            f"{number:04d}" + "i" * 200,
            "u" * 2048,
            METADATA if number < WITH_METADATA else {"label": "Coat"},
            "c" * 64,
            1,
            MOMENT,
            {HISTOGRAM: histogram[number], SIAMESE: siamese[number]},
        )
        for number in range(MAX_TOP_K)
    ]


def build_core() -> Core:
    many = [replace(FULL, name=f"c{number}", description="d" * 1000) for number in range(300)]
    backends = MemoryBackends(stored(), [FULL, *many])
    ledger, threads = FullLedger(), few_threads()
    nearest = np.zeros(512, np.float32)
    nearest[0] = 1
    even = np.full(HISTOGRAM_DIMENSION, 1 / HISTOGRAM_DIMENSION, np.float32)
    embedder = ForgettingEmbedder({HISTOGRAM: even, SIAMESE: nearest})
    collections = Collections(backends, ledger, embedder, threads)
    artifacts = Artifacts("memory://artifacts-at-limits")
    return Core(
        search_core(backends, embedder, threads),
        Images(backends, ledger, embedder, artifacts, Reader(artifacts, ()), threads),
        collections,
        Ingest(backends, ledger, NOTHING, Uploads(artifacts), FullOutcomes(), Roots(()), threads),
        Generations(backends, ledger, NOTHING, embedder, collections, threads),
    )


def holding(app: ASGIApp) -> ASGIApp:
    """`app` with a path that holds the loop, so that the probe can be seen to measure."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == HOLDING_PATH:
            end_s = time.thread_time() + HOLDING_S
            while time.thread_time() < end_s:
                pass
        if scope.get("path") == COLLECTING_PATH:
            gc.collect()
        await app(scope, receive, send)

    return called


async def serve() -> None:
    written: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(processors=written, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    core, probe = build_core(), LoopProbe()
    app = build_app(core, Readiness({}), upload_limit_bytes=64 * 1024 * 1024)
    grpc_server = await build_grpc(core, "127.0.0.1:0")
    http_server = HttpServer(holding(app), "127.0.0.1:0")
    await grpc_server.start()
    await http_server.start()
    settle()
    probe.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def control() -> None:
        for _ in sys.stdin:
            held_s, by = asyncio.run_coroutine_threadsafe(probe.taken(), loop).result()
            print(json.dumps({"held_s": held_s, "by": by}), flush=True)
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=control, daemon=True).start()
    print(json.dumps({"grpc": grpc_server.port, "http": http_server.port}), flush=True)
    await stop.wait()
    await asyncio.gather(grpc_server.stop(0), http_server.stop(1))


if __name__ == "__main__":
    asyncio.run(serve())
