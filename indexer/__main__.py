"""`python -m indexer`: a worker. Wiring only."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from indexer.calls import Calls
from indexer.embedding import Embedder
from indexer.fetching import Fetcher
from indexer.forecasting import Forecaster
from indexer.mirroring import Mirror
from indexer.pipeline import Pipeline
from indexer.reconciler import Reconciler
from indexer.reembedding import make_reembedding
from indexer.settings import IndexerSettings
from indexer.tasks import build_app, run_worker
from indexer.worker import Parts, Worker
from lookalike.errors import DeadlineExceeded, LookalikeError, Unavailable
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.queue import TaskQueue
from lookalike.jobs.uploads import Uploads
from lookalike.runtime.channels import open_channel
from lookalike.runtime.settings import load_settings
from lookalike.runtime.telemetry import configure_logging, serve_metrics
from lookalike.sources import Artifacts, Reader
from lookalike.store.catalogue import Catalogue
from lookalike.store.connection import Connection, connect
from lookalike.store.vectors import VectorStore

T = TypeVar("T")

_WAIT_S = 1.0


def main() -> int:
    settings = load_settings(IndexerSettings)
    configure_logging(settings, "indexer")
    log = structlog.get_logger()
    try:
        ledger = _patiently(
            lambda: connect_ledger(
                settings.redis_url_with_password,
                retention_s=settings.indexer_job_retention_s,
                stall_s=settings.indexer_stall_s,
            )
        )
        milvus = _patiently(lambda: connect(settings.milvus_uri, settings.milvus_token))
        worker, reconciler = _wire(settings, ledger, milvus)
    except LookalikeError as error:
        log.critical("cannot start", reason=error.reason, problem=error.message)
        return 1
    serve_metrics(settings.indexer_metrics_port, host=settings.indexer_metrics_host)
    reconciler.start()

    def drain() -> None:
        log.info("stopping", drain_s=settings.indexer_drain_s)
        _later(settings.indexer_drain_s, worker.draining.set)
        # What hangs even then is as good as dead: its leases run out.
        _later(settings.indexer_drain_s * 2 + 5.0, lambda: os._exit(1))

    log.info("ready", concurrency=settings.indexer_concurrency)
    app = build_app(settings.redis_url_with_password, worker)
    code = run_worker(app, concurrency=settings.indexer_concurrency, on_stopping=drain)
    reconciler.stop()
    log.info("stopped")
    return code


def _wire(settings: IndexerSettings, ledger: Ledger, milvus: Connection) -> tuple[Worker, Reconciler]:
    artifacts = Artifacts(settings.artifacts_url)
    reader = Reader(artifacts, settings.source_roots, timeout_s=settings.indexer_read_timeout_s)
    fetcher = Fetcher(reader, threads=settings.indexer_read_threads, timeout_s=settings.indexer_read_timeout_s)
    leases, catalogue, store = Leases(ledger, settings.leases), Catalogue(milvus), VectorStore(milvus)
    embedder = Embedder(open_channel(settings.embedder_target), timeout_s=settings.indexer_embed_timeout_s)
    calls = Calls(concurrency=settings.indexer_concurrency, in_flight=settings.indexer_embeds_in_flight)
    store_timeout_s = settings.indexer_store_timeout_s
    pipeline = Pipeline(ledger, leases, catalogue, store, fetcher, embedder, calls, store_timeout_s=store_timeout_s)
    reembedding = make_reembedding(ledger, leases, catalogue, store, fetcher, embedder, calls, store_timeout_s=store_timeout_s)
    mirror = Mirror(ledger, leases, catalogue, store, reader, store_timeout_s=store_timeout_s)
    forecaster = Forecaster(ledger, leases, pipeline, mirror, artifacts)
    queue, uploads = TaskQueue(settings.redis_url_with_password), Uploads(artifacts)
    outcomes = Outcomes(ledger, artifacts)
    parts = Parts(ledger, leases, queue, catalogue, store, reader, uploads, outcomes, pipeline, reembedding, mirror, forecaster)
    worker = Worker(parts, max_attempts=settings.indexer_max_attempts, chunk_deadline_s=settings.indexer_chunk_deadline_s)
    return worker, Reconciler(ledger, artifacts, worker, tick_s=settings.indexer_tick_s)


def _patiently(connect_once: Callable[[], T]) -> T:
    """Wait for what is not up yet: parts of the system start in any order."""
    while True:
        try:
            return connect_once()
        except (Unavailable, DeadlineExceeded) as error:  # Milvus answers nothing in time while it loads its data.
            structlog.get_logger().warning("waiting", problem=error.message)
            time.sleep(_WAIT_S)


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
