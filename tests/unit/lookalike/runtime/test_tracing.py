"""Spans hang together over threads and calls, say nothing of what users sent, and cost nothing where they are off."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_trace_id

from lookalike.errors import NotFound
from lookalike.runtime import tracing
from lookalike.runtime.settings import TraceSettings
from lookalike.runtime.tracing import configure_tracing, current_traceparent, ids, incoming, note, outgoing, span

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def test_a_span_lies_within_the_one_around_it_and_within_the_callers_trace(spans: InMemorySpanExporter) -> None:
    with span("outer", "server", parent=PARENT), span("inner"):
        carried = outgoing()
    inner, outer = spans.get_finished_spans()
    assert outer.parent is not None
    assert inner.parent is not None
    assert outer.context is not None
    assert format_trace_id(outer.context.trace_id) == PARENT.split("-")[1]
    assert inner.parent.span_id == outer.context.span_id
    assert carried is not None
    assert carried[0][0] == "traceparent"
    assert carried[0][1].split("-")[1] == PARENT.split("-")[1]


def test_a_callers_word_that_is_no_traceparent_begins_a_trace(spans: InMemorySpanExporter) -> None:
    with span("outer", parent="00-nonsense"):
        assert ids()
    assert spans.get_finished_spans()[0].parent is None


def test_an_error_marks_the_span_by_its_reason_and_never_by_its_text(spans: InMemorySpanExporter) -> None:
    error = NotFound("image", "the-secret-id")
    with pytest.raises(NotFound), span("work"):
        raise error
    (failed,) = spans.get_finished_spans()
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, error.reason)
    assert "the-secret-id" not in failed.to_json()


def test_another_trace_may_be_linked(spans: InMemorySpanExporter) -> None:
    with span("chunk", parent="", linked=PARENT):
        note(lookalike__chunk=70)
    (chunk,) = spans.get_finished_spans()
    assert chunk.parent is None
    assert [format_trace_id(link.context.trace_id) for link in chunk.links] == [PARENT.split("-")[1]]
    assert dict(chunk.attributes or {}) == {"lookalike.chunk": 70}


def test_the_parent_comes_from_a_calls_metadata(spans: InMemorySpanExporter) -> None:
    assert incoming([("user-agent", "x"), ("traceparent", PARENT)]) == PARENT
    assert incoming([("traceparent", b"bytes")]) == ""
    assert incoming(None) == ""


def test_nothing_is_traced_where_no_collector_is_named() -> None:
    configure_tracing(TraceSettings(), "test")()
    with span("work"):
        assert (current_traceparent(), outgoing(), ids(), incoming([("traceparent", PARENT)])) == ("", None, {}, "")


def test_the_sdk_is_not_imported_where_it_is_not_wanted() -> None:
    import subprocess

    code = (
        "import sys; from lookalike.runtime import tracing; from lookalike.runtime.settings import TraceSettings\n"
        "tracing.configure_tracing(TraceSettings(), 'x'); print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
