"""Every setting of the indexer: environment variables `LOOKALIKE_<NAME>`, read once at start."""

from __future__ import annotations

import math

from pydantic import Field, ValidationInfo, field_validator

from lookalike.jobs.leases import LeaseSettings
from lookalike.jobs.queue import VISIBILITY_TIMEOUT_S
from lookalike.runtime.settings import (
    Address,
    ArtifactSettings,
    EmbedderAddress,
    LogSettings,
    MilvusSettings,
    RedisSettings,
    Seconds,
    TraceSettings,
)


class IndexerSettings(LogSettings, TraceSettings, MilvusSettings, RedisSettings, ArtifactSettings, EmbedderAddress):
    """Everything a worker reads from its environment."""

    indexer_concurrency: int = Field(
        4,  # While two are written or compared, two keep the embedder busy: .83 of its rate on two cores, against .63 with 2.
        ge=1,
        le=64,
        description="Chunks worked on at a time, each in a thread.",
    )
    indexer_embeds_in_flight: int = Field(2, ge=1, le=16, description="Calls to the embedder under way per chunk.")
    indexer_lease_s: Seconds = Field(15.0, gt=0, description="Seconds until the work of a dead worker is taken up by another.")
    indexer_heartbeat_s: Seconds = Field(4.0, gt=0, description="Seconds between two renewals of a lease.")
    indexer_tick_s: Seconds = Field(1.0, gt=0, description="Seconds between two rounds of the reconciler.")
    indexer_window_chunks: int = Field(32, ge=1, le=1024, description="Chunks of one job queued or worked on at a time.")
    indexer_window_total_chunks: int = Field(
        256, ge=1, le=65_536, description="Such chunks of all jobs together, shared evenly; each job may always have one."
    )
    indexer_chunk_deadline_s: Seconds = Field(
        600.0,
        gt=0,
        le=VISIBILITY_TIMEOUT_S / 2,
        description="Seconds that a chunk may take. Then it is given back and tried again, up to the bound on attempts.",
    )
    indexer_retry_base_s: Seconds = Field(
        1.0, gt=0, description="Seconds before the first retry of a chunk; doubles each time."
    )
    indexer_retry_cap_s: Seconds = Field(30.0, gt=0, description="The most seconds between two retries of a chunk.")
    indexer_max_attempts: int = Field(
        5,
        ge=1,
        description="Workers that may die of a plan or a chunk before it is given up. From half of them on, the "
        "items of a chunk are worked off one by one.",
    )
    indexer_read_threads: int = Field(16, ge=1, le=128, description="Pictures read side by side per chunk, where far away.")
    indexer_read_timeout_s: Seconds = Field(
        30.0, gt=0, description="Seconds that reading one picture may take; then the item fails."
    )
    indexer_embed_timeout_s: Seconds = Field(60.0, gt=0, description="Seconds that one call to the embedder may take.")
    indexer_store_timeout_s: Seconds = Field(30.0, gt=0, description="Seconds that one read from Milvus may take.")
    indexer_drain_s: Seconds = Field(
        10.0, ge=0, description="Seconds that chunks under way may still take after SIGTERM. Then they are given back."
    )
    indexer_job_retention_s: Seconds = Field(
        30 * 86_400.0, gt=0, description="Seconds that ended jobs and their files are kept."
    )
    indexer_sweep_every_s: Seconds = Field(
        6 * 3600.0,
        gt=0,
        description=(
            "Seconds between two sweeps. A sweep removes originals, thumbnails and lists of uploads that nothing needs any "
            "more and that are a day old at least. Nothing is swept while nothing has changed."
        ),
    )
    indexer_health_address: Address | None = Field(
        None, description="HOST:PORT that answers the gRPC health protocol; none by default."
    )
    indexer_ready_interval_s: Seconds = Field(5.0, gt=0, description="Seconds between two looks at what the worker needs.")
    indexer_metrics_port: int | None = Field(None, ge=1, le=65535, description="Port for Prometheus; none by default.")
    indexer_metrics_host: str = Field("127.0.0.1", description="Address that the metrics port is opened on.")

    @field_validator("indexer_heartbeat_s")
    @classmethod
    def _fits_twice_into_a_lease(cls, heartbeat_s: float, info: ValidationInfo) -> float:
        lease_s = info.data.get("indexer_lease_s", math.inf)
        if heartbeat_s * 2 > lease_s:
            raise ValueError(f"must be at most half of LOOKALIKE_INDEXER_LEASE_S ({lease_s:g}), so that one may be late")
        return heartbeat_s

    @property
    def leases(self) -> LeaseSettings:
        """The times of the ledger's leases. A sent task that nobody began is sent again after a lease time too."""
        return LeaseSettings(
            lease_s=self.indexer_lease_s,
            heartbeat_s=self.indexer_heartbeat_s,
            send_grace_s=self.indexer_lease_s,
            retry_base_s=self.indexer_retry_base_s,
            retry_cap_s=self.indexer_retry_cap_s,
            window_chunks=self.indexer_window_chunks,
            window_total_chunks=self.indexer_window_total_chunks,
        )
