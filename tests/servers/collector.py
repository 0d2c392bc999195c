"""An OpenTelemetry collector for tests: takes spans by OTLP over gRPC, as a real one does, and keeps the last of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Span:
    """What a service exported. Ids are hex; `parent` is "" for the first of a trace; `failed` is why it counts as failed."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: str


class Collector(rpc.TraceServiceServicer):
    """`endpoint` is what `LOOKALIKE_OTLP_ENDPOINT` takes."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self.endpoint = ""

    @property
    def spans(self) -> list[Span]:
        """Those that have come; services send every few seconds."""
        with self._lock:
            return list(self._spans)

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]

    def Export(self, request: Any, context: Any) -> Any:
        with self._lock:
            for resource in request.resource_spans:
                service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
                self._spans.extend(_span(service, span) for scope in resource.scope_spans for span in scope.spans)
        return messages.ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a port of its own."""
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_TraceServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call]
    made.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(0)


def _span(service: str, span: Any) -> Span:
    attributes = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
    failed = span.status.message if span.status.code == 2 else ""
    return Span(service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), attributes, failed)
