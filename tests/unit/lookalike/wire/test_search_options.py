"""How to search, on its way through the contract: every option arrives, and what is absent means what the contract says."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from gateway.http.search_bodies import Options
from lookalike.client.options import SearchKeywords, search_options
from lookalike.errors import InvalidArgument
from lookalike.records.image import Consistency
from lookalike.records.search_options import DEFAULT_TOP_K, SearchOptions
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.search_options import consistency_from, options_from, set_options

REQUESTS = (pb.SearchRequest, pb.SearchBatchRequest)
NAMES = {field.name for field in fields(SearchOptions) if field.compare}
"""What a caller chooses; what is derived of it counts in no comparison."""
CHOSEN = SearchOptions(
    spaces=("histogram", "siamese"),
    top_k=7,
    filter="year > 1",
    include_vectors=True,
    include_query_vectors=True,
    consistency=Consistency.STRONG,
    weights={"siamese": 2.0},
    ef=128,
)


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_option_survives_the_way_there_and_back(kind: Any) -> None:
    assert all(getattr(CHOSEN, name) != getattr(SearchOptions(), name) for name in NAMES), "else nothing is seen to arrive"
    request = kind()
    set_options(request, CHOSEN)
    assert options_from(request) == CHOSEN
    assert options_from(kind()) == SearchOptions()


def test_an_option_of_the_contract_is_one_of_the_record_of_http_and_of_the_client() -> None:
    not_options = {"collection", "image", "vectors", "image_id", "queries"}
    for kind in REQUESTS:
        assert {field.name for field in kind.DESCRIPTOR.fields} - not_options == NAMES
    assert set(Options.model_fields) == NAMES
    assert set(SearchKeywords.__annotations__) == NAMES
    assert set(inspect.signature(search_options).parameters) == NAMES


@pytest.mark.parametrize("kind", REQUESTS)
def test_an_absent_top_k_differs_from_a_top_k_of_nought(kind: Any) -> None:
    assert options_from(kind()).top_k == DEFAULT_TOP_K
    assert options_from(kind(top_k=0)).top_k == 0


@pytest.mark.parametrize(("number", "meant"), [(0, Consistency.BOUNDED), (1, Consistency.BOUNDED), (2, Consistency.STRONG)])
def test_consistency_by_number(number: int, meant: Consistency) -> None:
    assert consistency_from(number) is meant


def test_an_unknown_consistency_is_refused() -> None:
    with pytest.raises(InvalidArgument) as raised:
        consistency_from(3)
    assert raised.value.field == "consistency"


def test_searches_that_differ_only_in_what_does_not_concern_a_space_ask_it_alike() -> None:
    plain = SearchOptions(filter="year > 1", include_vectors=True, consistency=Consistency.STRONG)
    assert hash(plain.of_space(9, 64)) == hash(CHOSEN.of_space(9, 64))
    assert plain.of_space(9, 64) == CHOSEN.of_space(9, 64) != CHOSEN.of_space(10, 64)
