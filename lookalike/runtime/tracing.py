"""Traces by OpenTelemetry: which service called which, and where the time went. The only importer of `opentelemetry`.

Traces are off unless `LOOKALIKE_OTLP_ENDPOINT` names a collector. While they are off, `span` costs one read of a variable, and
the SDK is not imported. Context travels between services as W3C `traceparent` in gRPC metadata and HTTP headers, and with an
ingest job in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Literal

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lookalike.errors import LookalikeError
from lookalike.runtime.settings import TraceSettings

Kind = Literal["internal", "server", "client"]
Attribute = str | bool | int | float

HEADER = "traceparent"
_LONGEST = 128
"""Bounds the characters of a `traceparent`: 55 in W3C's version 00, and some that a later version may add."""
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_PROPAGATOR = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None
"""Set once, by `configure_tracing`. Process-wide, as OpenTelemetry's own provider is."""


def configure_tracing(settings: TraceSettings, service: str) -> Callable[[], None]:
    """Export spans of `service` to the collector of the settings; return a function that sends the last ones, for the end.

    A thread sends the spans. A collector that is away loses them, and delays no call. Call this after any fork.
    """
    global _tracer
    if not settings.otlp_endpoint:
        return _nothing
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    own = version("lookalike")
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"lookalike-{service}", "service.version": own}),
        # The caller decides for all: a trace is recorded whole or not at all.
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=5)))
    _tracer = provider.get_tracer("lookalike", own)
    return provider.shutdown


@contextmanager
def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str | None = None,
    linked: str | None = None,
    attributes: Mapping[str, Attribute] | None = None,
) -> Iterator[None]:
    """A span for the block: within the span under way, or within `parent` (a `traceparent`; "" begins a trace).

    `linked` is the `traceparent` of another, related trace. An exception marks the span as failed, and is passed on.
    """
    if _tracer is None:
        yield
        return
    within = None if parent is None else _context_of(parent)
    with _tracer.start_as_current_span(
        name,
        context=within,
        kind=_KINDS[kind],
        attributes=attributes,
        links=_links(linked),
        record_exception=False,  # Texts of exceptions may quote what users sent; the log has them.
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, _reason(error)))
            raise


def note(**attributes: Attribute) -> None:
    """Add attributes, named with `__` for a dot, to the span under way."""
    if _tracer is not None:
        trace.get_current_span().set_attributes({name.replace("__", "."): value for name, value in attributes.items()})


def current_traceparent() -> str:
    """The span under way, as W3C writes it; "" where there is none."""
    if _tracer is None:
        return ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(HEADER, "")


def outgoing() -> tuple[tuple[str, str], ...] | None:
    """gRPC metadata that carries the span under way to the service that is called; None where there is none."""
    parent = current_traceparent()
    return ((HEADER, parent),) if parent else None


def incoming(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The `traceparent` that came with a call, or "". Callers may send any value: one that is not a `traceparent` begins a new
    trace."""
    if _tracer is None:
        return ""
    return next((known(value) for name, value in metadata or () if name == HEADER and isinstance(value, str)), "")


def known(parent: str) -> str:
    """A caller's `traceparent`, or "" for a value that is too long: OpenTelemetry would log a line about each."""
    return parent if len(parent) <= _LONGEST else ""


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` (hex) of the span under way, for the log; empty where there is none."""
    if _tracer is None:
        return {}
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(current.trace_id), "span_id": trace.format_span_id(current.span_id)}


def _context_of(parent: str) -> contexts.Context:
    return _PROPAGATOR.extract({HEADER: parent}, context=contexts.Context()) if parent else contexts.Context()


def _links(linked: str | None) -> list[Link]:
    if not linked:
        return []
    other = trace.get_current_span(_context_of(linked)).get_span_context()
    return [Link(other)] if other.is_valid else []


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, LookalikeError) else type(error).__name__


def _nothing() -> None:
    """Send nothing."""
