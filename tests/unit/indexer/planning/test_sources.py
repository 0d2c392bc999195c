"""Every kind of source has what lists it, and every kind that a caller can name is named where none is."""

from __future__ import annotations

from typing import get_args

import pytest

from indexer.planning.sources import Sources
from lookalike import client
from lookalike.errors import InvalidArgument
from lookalike.records.source import SOURCES, Source
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import create_job_from


def test_every_source_of_the_contract_is_a_record_with_a_lister() -> None:
    assert set(SOURCES) == {field.name for field in pb.Source.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(SOURCES.values()) == set(Sources._LISTERS)


def test_the_client_exports_every_source_that_a_caller_can_name() -> None:
    assert {source.__name__ for source in get_args(Source)} <= set(client.__all__)


def test_a_request_without_a_source_is_refused_with_what_it_can_name() -> None:
    with pytest.raises(InvalidArgument, match="source: is missing; name a folder, a manifest, an archive") as refused:
        create_job_from(pb.CreateIngestJobRequest(source=pb.Source(failures=pb.FailuresSource(job_id="x"))))
    assert all(f" {source.kind}" in refused.value.problem for source in get_args(Source))
    assert "failures" not in refused.value.problem
