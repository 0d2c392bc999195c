"""`python -m indexer`: a worker. Wiring only."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take seconds, and the kernel spares process 1 of a container every signal that it has no handler for.
    # This handler stays until Celery has its own: for as long as the worker waits for what it needs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

import os
import threading
from collections.abc import Callable

import structlog

from indexer.chunk.embed_batches import EmbedBatches
from indexer.chunk.embedder import Embedder
from indexer.chunk.fetching import Fetcher
from indexer.chunk.pipeline import ChunkParts, Pipeline
from indexer.finishing.forecast import Forecaster
from indexer.finishing.mirror import Mirror
from indexer.readiness import Check, Readiness
from indexer.reconciler import Reconciler
from indexer.reembedding import make_reembedding
from indexer.settings import IndexerSettings
from indexer.sweeping.roots import Roots
from indexer.sweeping.sweep import Sweep, Swept
from indexer.sweeping.sweeper import Sweeper
from indexer.tasks import build_app, run_worker
from indexer.worker import Parts, Worker
from lookalike.artifact_check import ArtifactCheck
from lookalike.errors import LookalikeError
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.suspects import Suspects
from lookalike.jobs.uploads import Uploads
from lookalike.runtime.channels import open_channel
from lookalike.runtime.environment import load_settings, refuse_setting
from lookalike.runtime.probe import check_serving
from lookalike.runtime.server import build_health_server
from lookalike.runtime.telemetry import configure_logging, serve_metrics
from lookalike.runtime.tracing import configure_tracing
from lookalike.sources import Artifacts, Reader
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.writes import Writes


def main() -> int:
    settings = load_settings(IndexerSettings)
    configure_logging(settings, "indexer")
    send_last_spans = configure_tracing(settings, "indexer")
    try:
        return work(settings)
    except LookalikeError as error:
        refuse_setting(settings, error)
        structlog.get_logger().critical("cannot start", reason=error.reason, problem=error.message)
        return 1
    finally:
        send_last_spans()


def work(settings: IndexerSettings) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Raises a `LookalikeError` where it cannot start."""
    log = structlog.get_logger()
    # Metrics and health come before anything that is waited for, so that what is missing can be seen.
    serve_metrics(settings.indexer_metrics_port, host=settings.indexer_metrics_host)
    readiness = Readiness(build_health_server(settings.indexer_health_address))
    ledger = readiness.patiently("redis", lambda: _connect_ledger(settings))
    milvus = readiness.patiently("milvus", lambda: connect(settings.milvus_uri, settings.milvus_token, settings.milvus_ca_file))
    channel = open_channel(settings.embedder_target)
    artifacts = Artifacts(settings.artifacts_url)
    embedder = Embedder(channel, timeout_s=settings.indexer_embed_timeout_s)
    worker, reconciler = _wire(settings, ledger, milvus, embedder, artifacts)
    sweeper = _sweeper(settings, ledger, milvus, artifacts)
    checks: dict[str, Check] = {
        "redis": ledger.ping,
        "milvus": milvus.ping,
        "embedder": lambda: check_serving(channel, "embedder"),
        "artifacts": ArtifactCheck(artifacts),
    }
    readiness.watch(checks, settings.indexer_ready_interval_s)
    reconciler.start()
    sweeper.start()

    def drain() -> None:
        log.info("stopping", drain_s=settings.indexer_drain_s)
        readiness.stop()
        _later(settings.indexer_drain_s, worker.draining.set)
        # A worker that hangs even then is as good as dead: its leases run out.
        _later(settings.indexer_drain_s * 2 + 5.0, lambda: os._exit(1))

    log.info("ready", concurrency=settings.indexer_concurrency)
    app = build_app(settings.redis_access, worker)
    code = run_worker(app, concurrency=settings.indexer_concurrency, on_stopping=drain)
    sweeper.stop()
    reconciler.stop()
    log.info("stopped")
    return code


def _connect_ledger(settings: IndexerSettings) -> Ledger:
    return connect_ledger(settings.redis_access, retention_s=settings.indexer_job_retention_s, stall_s=settings.indexer_stall_s)


def _wire(
    settings: IndexerSettings, ledger: Ledger, milvus: Connection, embedder: Embedder, artifacts: Artifacts
) -> tuple[Worker, Reconciler]:
    reader = Reader(artifacts, settings.source_roots, timeout_s=settings.indexer_read_timeout_s)
    fetcher = Fetcher(reader, threads=settings.indexer_read_threads, timeout_s=settings.indexer_read_timeout_s)
    leases, catalogue, store = Leases(ledger, settings.leases), MilvusCatalogue(milvus), MilvusVectors(milvus)
    writes = Writes(ledger, catalogue, store, leases)
    batches = EmbedBatches(
        Suspects(ledger.connection), concurrency=settings.indexer_concurrency, in_flight=settings.indexer_embeds_in_flight
    )
    chunk_parts = ChunkParts(writes, store, fetcher, embedder, batches, settings.indexer_store_timeout_s)
    pipeline = Pipeline(ledger, chunk_parts)
    reembedding = make_reembedding(ledger, leases, catalogue, chunk_parts)
    mirror = Mirror(ledger, leases, writes, store, reader, store_timeout_s=settings.indexer_store_timeout_s)
    forecaster = Forecaster(ledger, leases, pipeline, mirror, artifacts)
    queue, uploads = TaskQueue(settings.redis_access), Uploads(artifacts)
    outcomes = Outcomes(ledger, artifacts)
    parts = Parts(ledger, leases, queue, catalogue, store, reader, uploads, outcomes, pipeline, reembedding, mirror, forecaster)
    worker = Worker(parts, max_attempts=settings.indexer_max_attempts, chunk_deadline_s=settings.indexer_chunk_deadline_s)
    return worker, Reconciler(ledger, artifacts, worker, tick_s=settings.indexer_tick_s)


def _sweeper(settings: IndexerSettings, ledger: Ledger, milvus: Connection, artifacts: Artifacts) -> Sweeper:
    uploads = Uploads(artifacts)
    roots = Roots(ledger, artifacts, uploads, Outcomes(ledger, artifacts), MilvusCatalogue(milvus), MilvusVectors(milvus))

    def sweep(go_on: Callable[[], bool]) -> Swept:
        return Sweep(artifacts, uploads, roots, go_on).run()

    return Sweeper(ledger, sweep, roots.state, every_s=settings.indexer_sweep_every_s)


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
