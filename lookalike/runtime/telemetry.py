"""Logs and metrics: one event per line, and the counters of every service. Neither holds image bytes or secrets.

Metrics of every service are named `lookalike_...` and defined here. A service's own are named `lookalike_<service>_...` and
defined beside the code that counts. Names end in Prometheus' base units. Labels have few values, all known beforehand: never an
id, a URI or a text from a caller.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType

import grpc
import structlog
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from lookalike.errors import Internal, LookalikeError, Unavailable
from lookalike.runtime import tracing
from lookalike.runtime.environment import unknown_settings
from lookalike.runtime.metrics_server import start_metrics_server
from lookalike.runtime.settings import LogSettings
from lookalike.wire.status import grpc_code

RPC_SECONDS = Histogram(
    "lookalike_rpc_seconds",
    "Time to serve a call, by gRPC method and status code.",
    ("method", "code"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DEPENDENCY_UP = Gauge(
    "lookalike_dependency_up", "Whether a dependency of this service worked at the last check.", ("dependency",)
)
BUILD = Gauge("lookalike_build_info", "1, with the service's name and version.", ("service", "version"))
RPC_REFUSED = Counter("lookalike_rpc_errors_total", "Calls that ended in an error, by reason.", ("method", "reason"))

_RPC = {"rpc.system": "grpc"}
_INTERNAL_CODES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def configure_logging(settings: LogSettings, service: str) -> None:
    """Send structlog's and the standard library's logs to standard error in one format, each line with `service`, and with its
    trace where it has one. Also export the name of the service to Prometheus."""
    name_to_prometheus(service)
    level = getattr(logging, settings.log_level.upper())

    def with_service(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"service": service, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        with_service,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_defect
    threading.excepthook = _log_defect_of_thread
    for name, meant in unknown_settings(settings, service).items():
        structlog.get_logger().warning("no such setting", name=name, meant=meant or None)
    # Their debug and info lines are about themselves.
    for noisy in ("pymilvus", "httpx", "httpcore", "kombu", "amqp", "asyncio", "uvicorn.access", "tensorflow", "h5py", "grpc"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def name_to_prometheus(service: str) -> None:
    """Export the service and its version. Turn off the creation times of counters: each would be one more series, which
    Prometheus does not use."""
    BUILD.labels(service, version("lookalike")).set(1)
    disable_created_metrics()  # type: ignore[no-untyped-call]


def _log_defect(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """Log uncaught exceptions in the log's format too."""
    if isinstance(error, Exception):
        structlog.get_logger().critical("ended by a defect", exc_info=(kind, error, traceback))
    elif error is not None:
        sys.__excepthook__(kind, error, traceback)  # somebody pressed Ctrl-C


def _log_defect_of_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:  # which ends a thread quietly
        _log_defect(failed.exc_type, failed.exc_value, failed.exc_traceback)


def _with_trace(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**tracing.ids(), **event}


def serve_metrics(port: int | None, *, host: str = "127.0.0.1") -> None:
    """Answer Prometheus at `http://host:port/metrics` from a thread of its own; None turns it off.

    Raises `Unavailable` where the port cannot be bound.
    """
    if port is None:
        return
    try:
        start_metrics_server(host, port)
    except (OSError, UnicodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "there can be no such host"
        raise Unavailable("address", f"cannot serve metrics on {host}:{port}: {problem}") from error


def logged_defect(error: BaseException, event: str, said: str, **fields: object) -> Internal:
    """`Internal` with the number of an incident, under which the log has `error` with its traceback. `said` is what the caller
    reads before that, a sentence without its end."""
    incident = uuid.uuid4().hex[:12]
    structlog.get_logger().error(event, incident=incident, exc_info=error, **fields)
    return Internal(f"{said} as incident {incident}", metadata={"incident": incident})


@contextmanager
def observed(method: str, parent: str = "") -> Iterator[None]:
    """Count, time and trace one call of `method`; `parent` is the caller's `traceparent`.

    Errors pass through: the code that answers the caller translates them.
    """
    started_s = time.perf_counter()
    code = grpc.StatusCode.OK
    try:
        with tracing.span(method, "server", parent=parent, attributes=_RPC):
            yield
    except LookalikeError as error:
        code = grpc_code(error)
        RPC_REFUSED.labels(method, error.reason).inc()
        if code in _INTERNAL_CODES:
            structlog.get_logger().error("call failed", method=method, reason=error.reason, problem=error.message)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        code = grpc.StatusCode.CANCELLED  # The caller has gone, or its deadline has passed.
        raise
    except BaseException:
        code = grpc.StatusCode.INTERNAL
        RPC_REFUSED.labels(method, "INTERNAL").inc()
        raise
    finally:
        RPC_SECONDS.labels(method, code.name).observe(time.perf_counter() - started_s)
