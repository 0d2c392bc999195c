"""Puts the gateway together from its settings: clients, core, checks, application. Called by `__main__`; opens no port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import grpc.aio
from starlette.types import ASGIApp

from gateway.backends.careful import Careful
from gateway.backends.embedder import Embedder
from gateway.backends.milvus import Backends
from gateway.backends.threads import Threads
from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.http.app import Core, build_app
from gateway.http_server.bodies import Pace
from gateway.http_server.hosts import Hosts
from gateway.images.images import Images
from gateway.jobs import gauges as job_gauges
from gateway.jobs.ingest import Ingest
from gateway.readiness import CHECK_TIMEOUT_S, Check, Readiness
from gateway.search.answer import Answering
from gateway.search.coalescing import MergedSearches
from gateway.search.collection_lookup import Lookups
from gateway.search.query_cache import QueryCache
from gateway.search.query_embeddings import QueryEmbeddings
from gateway.search.sampled_recall import SampledRecall
from gateway.search.search import Search
from gateway.settings import GatewaySettings
from lookalike.artifact_check import ArtifactCheck
from lookalike.jobs.ledger import Ledger, open_redis
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.suspects import Suspects
from lookalike.jobs.uploads import Uploads
from lookalike.runtime.call import Deadline
from lookalike.sources import Artifacts, Reader, Roots
from lookalike.store.milvus.connection import connect

_CHECK_THREADS = 4
"""Threads of the checks, one for each thing that is looked at in a thread. The requests have others: a busy gateway is still
ready."""
JOBS_EVERY_S = 5.0
"""The time between two looks at the ledger's jobs: Prometheus rarely asks more often, and a worker takes longer to start."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything but the listeners."""

    core: Core
    readiness: Readiness
    app: ASGIApp
    watch: Callable[[float], Coroutine[None, None, None]]
    """Looks at what the gateway needs, as often as it is given in seconds, and at the ledger's jobs; until cancelled."""
    closers: tuple[Callable[[], None], ...]

    def close(self) -> None:
        for close in self.closers:
            close()


def assemble(settings: GatewaySettings, embedder_channel: grpc.aio.Channel) -> Gateway:
    """A gateway that has reached nothing yet; its readiness does the reaching."""
    redis = settings.redis_access
    backends = Backends(
        lambda: connect(settings.milvus_uri, settings.milvus_token, settings.milvus_ca_file, timeout_s=CHECK_TIMEOUT_S - 1)
    )
    ledger, queue = Ledger(open_redis(redis), stall_s=settings.indexer_stall_s), TaskQueue(redis)
    artifacts = Artifacts(settings.artifacts_url)
    reader = Reader(artifacts, settings.source_roots)
    check_threads = Threads(_CHECK_THREADS, _CHECK_THREADS)
    searches, thumbnails = (Careful(Suspects(ledger.connection, kind), check_threads) for kind in ("embed", "thumbnail"))
    embedder = Embedder(embedder_channel, searches=searches, thumbnails=thumbnails)
    threads = Threads(settings.gateway_threads, settings.gateway_max_waiting)
    cache = QueryCache(settings.gateway_query_cache_max_entries, settings.gateway_query_cache_max_bytes)
    merged_searches = MergedSearches(
        backends, threads, at_once=settings.gateway_searches_at_once, max_waiting=settings.gateway_max_waiting
    )
    sampled_recall = SampledRecall(backends, threads, settings.gateway_recall_sample_ratio)
    answering = Answering(backends, QueryEmbeddings(embedder, cache, threads), merged_searches, sampled_recall, threads)
    collections = Collections(backends, ledger, embedder, threads)
    core = Core(
        search=Search(Lookups(backends, threads), answering),
        images=Images(backends, ledger, embedder, artifacts, reader, threads),
        collections=collections,
        ingest=Ingest(
            backends, ledger, queue, Uploads(artifacts), Outcomes(ledger, artifacts), Roots(settings.source_roots), threads
        ),
        generations=Generations(backends, ledger, queue, embedder, collections, threads),
    )
    readiness = Readiness(_checks(backends, ledger, artifacts, embedder, check_threads))
    app = build_app(
        core,
        readiness,
        upload_limit_bytes=settings.gateway_upload_max_bytes,
        bodies_limit_bytes=settings.gateway_bodies_max_bytes,
        streams_limit=settings.gateway_streams_max,
        hosts=Hosts.of(settings.gateway_hosts),
        pace=Pace(settings.gateway_silence_s, settings.gateway_least_bytes_per_s),
    )

    async def watch(interval_s: float) -> None:
        await asyncio.gather(
            readiness.watch(interval_s),
            job_gauges.watch(ledger, check_threads, JOBS_EVERY_S),
            searches.watch(JOBS_EVERY_S),
            thumbnails.watch(JOBS_EVERY_S),
        )

    return Gateway(core, readiness, app, watch, (threads.close, check_threads.close, queue.close, ledger.close, backends.close))


def _checks(backends: Backends, ledger: Ledger, artifacts: Artifacts, embedder: Embedder, threads: Threads) -> dict[str, Check]:
    async def milvus(deadline: Deadline) -> None:
        await threads.run(lambda: backends.check(CHECK_TIMEOUT_S - 1), deadline)

    async def redis(deadline: Deadline) -> None:
        await threads.run(ledger.ping, deadline)

    check_artifacts = ArtifactCheck(artifacts)

    async def reach_artifacts(deadline: Deadline) -> None:
        await threads.run(check_artifacts, deadline)

    return {"milvus": milvus, "redis": redis, "embedder": embedder.check, "artifacts": reach_artifacts}
