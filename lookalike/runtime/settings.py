"""Settings that several services share, with their meanings and ranges. `environment` reads them.

Secrets are never values: a setting ending in `_FILE` names the file that holds one. A service's `settings.py` joins the classes
below with its own fields.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from lookalike.runtime.environment import PREFIX, ServiceSettings, read_secret
from lookalike.runtime.redis_access import (
    SENTINEL_FORM,
    SENTINEL_SCHEMES,
    RedisAccess,
    access_by,
    is_sentinel_url,
    read_sentinel_url,
)

Seconds = Annotated[float, Field(le=10 * 365 * 86_400, allow_inf_nan=False)]
"""A time in seconds. Ten years stand for never, since infinity and numbers near it break timers and clocks."""


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host.isascii() or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:50051")
    return value


Address = Annotated[str, AfterValidator(_address)]
"""`HOST:PORT` to listen on or to call; port 0 lets the system choose one to listen on."""


def _redis_url(value: str) -> str:
    if is_sentinel_url(value):
        read_sentinel_url(value)
        return value
    try:
        url = urlsplit(value)
        good = url.scheme in ("redis", "rediss") and url.hostname and url.port != 0 and re.fullmatch(r"(/[0-9]*)?", url.path)
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            "must be redis://HOST:PORT/DB, or rediss:// for TLS, such as redis://127.0.0.1:6379/0; "
            f"behind Sentinels {SENTINEL_FORM}"
        )
    return value


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
"""The URL of a Redis that the ledger's client and Celery's broker both reach; Celery knows no `unix://`. See `redis_access`."""


def _milvus_uri(value: str) -> str:
    if not _is_server(value):
        raise ValueError(
            "must be http://HOST:PORT, or https:// for TLS, such as http://127.0.0.1:19530; "
            "a token or password belongs into the file that LOOKALIKE_MILVUS_TOKEN_FILE names"
        )
    return value


MilvusUri = Annotated[str, AfterValidator(_milvus_uri)]
"""The URL of a Milvus server; a path names its database. A file of milvus-lite and a password are refused."""


class LogSettings(ServiceSettings):
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to log.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object per line, or text for people.")


def _endpoint(value: str) -> str:
    if value and not _is_server(value):
        raise ValueError(
            "must be http://HOST:PORT of a collector's OTLP gRPC port, such as http://127.0.0.1:4317, without a password; "
            "empty is off"
        )
    return value


def _is_server(value: str) -> bool:
    """Whether it is an HTTP URL with a host, perhaps a port, and without a user name and a password."""
    try:
        url = urlsplit(value)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and "@" not in url.netloc
    except ValueError:
        return False


class TraceSettings(ServiceSettings):
    otlp_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "",
        description="Collector of traces, by OTLP over gRPC, such as http://otel-collector:4317. Empty, the default, is off.",
    )
    trace_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the traces that begin here which are kept, in [0, 1]; a caller's choice counts.",
    )


class MilvusSettings(ServiceSettings):
    milvus_uri: MilvusUri = Field("http://127.0.0.1:19530", description="URL of Milvus; `https://` for TLS.")
    milvus_token_file: Path | None = Field(None, description="File with Milvus' token or user:password.")
    milvus_ca_file: Path | None = Field(
        None, description="PEM file with the authorities of Milvus' certificate. By default public ones."
    )

    @property
    def milvus_token(self) -> str | None:
        """Content of `milvus_token_file`, or None."""
        return read_secret(self.milvus_token_file, "MILVUS_TOKEN_FILE")

    @field_validator("milvus_ca_file")
    @classmethod
    def _only_with_tls(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return _needs_scheme(path, info, "milvus_uri", "https")


class RedisSettings(ServiceSettings):
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis that holds the ledger and carries tasks: `redis://HOST:PORT/DB`, or "
        f"`{SENTINEL_FORM}` to follow the primary of SERVICE. `rediss...` for TLS, to Sentinels and servers alike.",
    )
    redis_password_file: Path | None = Field(None, description="File with Redis' password; not the Sentinels'.")
    redis_sentinel_password_file: Path | None = Field(
        None, description="File with the password of the Sentinels. By default none, also where Redis has a password."
    )
    redis_ca_file: Path | None = Field(
        None, description="PEM file with the authorities of Redis' certificate. By default the system's."
    )
    indexer_stall_s: Seconds = Field(
        300.0,
        gt=0,
        description="Seconds without progress after which a job counts as stalled; gateway and workers need the same.",
    )

    @property
    def redis_access(self) -> RedisAccess:
        """`redis_url` with the passwords from their files and the TLS options. Never log it."""
        return access_by(
            self.redis_url,
            password=read_secret(self.redis_password_file, "REDIS_PASSWORD_FILE"),
            sentinel_password=read_secret(self.redis_sentinel_password_file, "REDIS_SENTINEL_PASSWORD_FILE"),
            ca_file=self.redis_ca_file,
        )

    @field_validator("redis_ca_file")
    @classmethod
    def _only_with_tls(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return _needs_scheme(path, info, "redis_url", "rediss", "rediss+sentinel")

    @field_validator("redis_sentinel_password_file")
    @classmethod
    def _only_with_sentinels(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return _needs_scheme(path, info, "redis_url", *SENTINEL_SCHEMES)


def _needs_scheme(path: Path | None, info: ValidationInfo, url_field: str, *schemes: str) -> Path | None:
    """Refuse a file that its URL does not use: authorities without TLS, or a password for Sentinels without Sentinels."""
    # A wrong URL is not among the data, and has its own line.
    if path is not None and url_field in info.data and info.data[url_field].partition("://")[0] not in schemes:
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"is of use only where {PREFIX}{url_field.upper()} begins with {allowed}")
    return path


def _place(value: str) -> str:
    """A folder or fsspec URL that names the same place in every process, and holds no password."""
    scheme, found, rest = value.partition("://")
    if not found and not Path(value).is_absolute():
        raise ValueError("must be an absolute path or a URL, such as file:///var/lib/lookalike/artifacts or s3://bucket/prefix")
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise ValueError(f"must not hold a password; {scheme} reads credentials from its own files or variables")
    return value


Place = Annotated[str, AfterValidator(_place)]


class ArtifactSettings(ServiceSettings):
    artifacts_url: Place = Field(
        "file:///var/lib/lookalike/artifacts",
        description="fsspec URL that the gateway and all workers reach, for manifests, outcomes, originals and thumbnails.",
    )
    source_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Folders and URLs that jobs may read from (`/data`, `s3://bucket/photos/`, `https://images.example.com/`, "
        f"or `https://` for every public host), separated by {os.pathsep!r}. None by default.",
    )

    @field_validator("source_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return split_roots(value)

    @field_validator("source_roots")
    @classmethod
    def _absolute(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if "://" not in root and not Path(root).is_absolute():
                raise ValueError(f"must be absolute paths and URLs; {root!r} is neither")
        return roots


class EmbedderAddress(ServiceSettings):
    embedder_target: Address = Field("127.0.0.1:50052", description="Address of the embedder.")


def split_paths(value: object) -> object:
    """`a:b` (`;` on Windows) -> ("a", "b"); anything but a string is passed on."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def split_roots(value: object) -> object:
    """As `split_paths`, where the parts may be URLs: `/a:s3://b/c:https://h:8443/` -> ("/a", "s3://b/c", "https://h:8443/")."""
    if not isinstance(value, str) or os.pathsep != ":":
        return split_paths(value)
    roots: list[str] = []
    for part in value.split(":"):
        if roots and (_begins_url(roots[-1], part) or _is_port(roots[-1], part)):
            roots[-1] += f":{part}"
        else:
            roots.append(part)
    return tuple(filter(None, roots))


def _begins_url(before: str, part: str) -> bool:
    return part.startswith("//") and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", before) is not None


def _is_port(before: str, part: str) -> bool:
    """Whether `part` continues the host at the end of `before`, by its port or (in brackets) by more of its address."""
    host = re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+://([^/]*)", before)
    if host is None or not host[1]:
        return False
    return re.match(r"[0-9]+(/|$)", part) is not None or ("[" in host[1] and "]" not in host[1])
