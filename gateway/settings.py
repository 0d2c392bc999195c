"""Every setting of the gateway: environment variables `LOOKALIKE_<NAME>`, read once at start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from gateway.http_server.hosts import Hosts
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


class GatewaySettings(LogSettings, TraceSettings, MilvusSettings, RedisSettings, ArtifactSettings, EmbedderAddress):
    """What the gateway listens on, what it calls, and its bounds."""

    gateway_grpc_address: Address = Field("127.0.0.1:50051", description="HOST:PORT for gRPC.")
    gateway_http_address: Address = Field("127.0.0.1:8080", description="HOST:PORT for HTTP, the page and /metrics.")
    gateway_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names by which browsers and others reach HTTP, separated by commas: NAME or NAME:PORT, such as "
        "`lookalike.example.com`. Loopback names, and the address that a connection came to, are always allowed; `*` allows "
        "every name, and gives up the guard against DNS rebinding.",
    )
    gateway_health_address: Address | None = Field(
        None, description="HOST:PORT that answers gRPC health checks whatever the load, for probes; none by default."
    )
    gateway_threads: int = Field(16, ge=1, le=256, description="Calls to Milvus, Redis and artifacts under way at once.")
    gateway_max_waiting: int = Field(128, ge=0, le=10_000, description="Calls that may wait for a thread; more are refused.")
    gateway_searches_at_once: int = Field(
        2,
        ge=1,
        le=256,
        description=(
            "Calls to Milvus under way at once for searches that ask alike (same collection, space, filter, top_k and ef). "
            "Searches that come meanwhile go together into the next call: the fewer calls, the more queries a second."
        ),
    )
    gateway_upload_max_bytes: int = Field(
        256 * 1024 * 1024, ge=1, description="Largest HTTP body of an upload of images, in bytes."
    )
    gateway_bodies_max_bytes: int = Field(
        512 * 1024 * 1024,
        ge=1,
        description="Bytes of HTTP bodies held at once, all requests together; more are refused. Three quarters are for "
        "uploads (never less than one), a quarter for everything else.",
    )
    gateway_connections_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Connections to HTTP at once. Where all are in use, the one whose peer has been silent longest is closed.",
    )
    gateway_header_s: Seconds = Field(
        10.0, gt=0, description="Seconds that a peer may take to send the whole head of an HTTP request."
    )
    gateway_silence_s: Seconds = Field(
        20.0,
        gt=0,
        description="Seconds that a peer may pause, all pauses together, while it sends a body or reads an answer. What "
        "it moves at the least rate earns them back.",
    )
    gateway_least_bytes_per_s: float = Field(
        4096.0, gt=0, le=1e9, description="The least rate at which a peer may send a body or read an answer, in bytes a second."
    )
    gateway_calls_max: int = Field(
        192,
        ge=1,
        le=10_000,
        description="gRPC calls under way at once, beside streams and uploads. Keep it above the sum of threads and waiting "
        "calls, so that a burst is refused there.",
    )
    gateway_uploads_max: int = Field(64, ge=1, le=10_000, description="gRPC uploads at once.")
    gateway_message_s: Seconds = Field(
        60.0,
        gt=0,
        description="Seconds that a gRPC peer may take to send a whole message (at most 32 MiB) or to read an answer. A silent "
        "peer whose place others need has a second.",
    )
    gateway_streams_max: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Long answers (watched jobs, batches, downloads) at once, for HTTP and for gRPC each.",
    )
    gateway_query_cache_max_entries: int = Field(
        4096, ge=0, description="Embeddings of searched pictures kept for when they are searched again; 0 keeps none."
    )
    gateway_query_cache_max_bytes: int = Field(
        16 * 1024 * 1024,
        ge=0,
        description="Memory for these embeddings, in bytes; the default holds 4,096 of `photo` and a histogram. 0 keeps none.",
    )
    gateway_drain_s: Seconds = Field(5.0, ge=0, description="Seconds that calls under way may still take after SIGTERM.")
    gateway_ready_interval_s: Seconds = Field(2.0, gt=0, description="Seconds between two looks at what the gateway needs.")
    gateway_recall_sample_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "Share of the searches that are repeated eight times as broadly, one at a time, to measure what the index misses "
            "(`lookalike_gateway_sampled_recall`). 0 repeats none."
        ),
    )

    @field_validator("gateway_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("gateway_hosts")
    @classmethod
    def _readable_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        Hosts.of(hosts)
        return hosts
