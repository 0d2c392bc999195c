"""Logs and metrics: one event a line, and the counters that every server has. Nothing here holds image bytes or secrets."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import structlog
from prometheus_client import Counter, Histogram, start_http_server

from lookalike.errors import LookalikeError, Unavailable
from lookalike.runtime.settings import LogSettings
from lookalike.runtime.status import grpc_code

RPC_SECONDS = Histogram(
    "lookalike_rpc_seconds",
    "Time to serve a call, by gRPC method and status code.",
    ("method", "code"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RPC_REFUSED = Counter("lookalike_rpc_errors_total", "Calls that ended in an error, by reason.", ("method", "reason"))

_INTERNAL_CODES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def configure_logging(settings: LogSettings, service: str) -> None:
    """Send structlog's and the standard library's logs to standard error in one format, each line with `service`."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    structlog.contextvars.bind_contextvars(service=service)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, lambda _logger, _name, event: {"service": service, **event}],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Their debug and info lines are about themselves, not about what we do.
    for noisy in ("pymilvus", "httpx", "httpcore", "kombu", "amqp", "asyncio", "uvicorn.access", "tensorflow", "h5py", "grpc"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def serve_metrics(port: int | None, *, host: str = "127.0.0.1") -> None:
    """Answer Prometheus at `http://host:port/metrics` from a thread of its own; None turns it off.

    Raises `Unavailable` where the port cannot be bound.
    """
    if port is None:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise Unavailable("address", f"cannot serve metrics on {host}:{port}: {error.strerror}") from error


@contextmanager
def observed(method: str) -> Iterator[None]:
    """Count and time one call of `method`. Errors pass through: whoever answers the caller translates them."""
    started_s = time.perf_counter()
    code = grpc.StatusCode.OK
    try:
        yield
    except LookalikeError as error:
        code = grpc_code(error)
        RPC_REFUSED.labels(method, error.reason).inc()
        if code in _INTERNAL_CODES:
            structlog.get_logger().error("call failed", method=method, reason=error.reason, problem=error.message)
        raise
    except BaseException:
        code = grpc.StatusCode.INTERNAL
        RPC_REFUSED.labels(method, "INTERNAL").inc()
        raise
    finally:
        RPC_SECONDS.labels(method, code.name).observe(time.perf_counter() - started_s)
