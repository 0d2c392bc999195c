"""Spans as text: what is written is read back, and nothing else is taken for a span."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import InvalidArgument
from lookalike.spans import MAX_SPAN, span_of, span_text
from lookalike.wire.values import span_from, span_message

SPANS = st.timedeltas(-MAX_SPAN, MAX_SPAN)


@given(SPANS)
def test_a_span_survives_the_way_to_text_and_to_protobuf_and_back(span: timedelta) -> None:
    assert span_of("grace", span_text(span)) == span
    assert span_from(span_message(span), "grace") == span
    assert span_of("grace", span_message(span).ToJsonString()) == span, "as answers over HTTP have it"


def test_a_span_reads_as_a_person_writes_it() -> None:
    spans = (timedelta(seconds=30), timedelta(milliseconds=250), timedelta(seconds=-1.5), timedelta(), MAX_SPAN)
    assert [span_text(span) for span in spans] == ["30s", "0.25s", "-1.5s", "0s", "315576000000s"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5",
        5,
        None,
        "5 s",
        "5m",
        "1e3s",
        "+5s",
        ".5s",
        "5.s",
        "5s\n",
        "\u0665s",
        "1.1234567890s",
        "9" * 13 + "s",
        "P1D",
    ],
)
def test_other_text_is_no_span(text: object) -> None:
    with pytest.raises(InvalidArgument, match=r"grace: is not a span of seconds such as `3\.5s`"):
        span_of("grace", text)


@pytest.mark.parametrize(
    "message",
    [
        Duration(seconds=315_576_000_001),
        Duration(seconds=-(2**63)),
        Duration(nanos=10**9),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=-1, nanos=1),
    ],
    ids=str,
)
def test_a_duration_that_the_contract_does_not_allow_is_refused_by_its_field(message: Duration) -> None:
    with pytest.raises(InvalidArgument, match="grace: is not a duration"):
        span_from(message, "grace")
    with pytest.raises(InvalidArgument, match="grace: is out of range"):
        span_of("grace", "315576000001s")
