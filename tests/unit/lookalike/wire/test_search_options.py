"""How to search, on its way through the contract: every option arrives, and what is absent means what the contract says."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from lookalike.client.options import SearchKeywords, search_options
from lookalike.errors import InvalidArgument
from lookalike.records.image import Consistency, ImageView
from lookalike.records.search_options import DEFAULT_TOP_K, SearchOptions
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.search_options import consistency_from, options_from, options_message, view_from
from tests.messages import made

NAMES = {field.name for field in fields(SearchOptions) if field.compare}
"""What a caller chooses; what is derived of it counts in no comparison."""
CHOSEN = SearchOptions(
    spaces=("histogram", "siamese"),
    top_k=7,
    filter="year > 1",
    weights={"siamese": 2.0},
    ef=128,
    consistency=Consistency.STRONG,
    view=ImageView.FULL,
    include_query_vectors=True,
)


def test_every_option_survives_the_way_there_and_back() -> None:
    assert all(getattr(CHOSEN, name) != getattr(SearchOptions(), name) for name in NAMES), "else nothing is seen to arrive"
    assert options_from(options_message(CHOSEN)) == CHOSEN
    assert options_from(pb.SearchOptions()) == SearchOptions()


def test_an_option_of_the_contract_is_one_of_the_record_and_of_the_client() -> None:
    assert set(pb.SearchOptions.DESCRIPTOR.fields_by_name) == NAMES
    assert set(SearchKeywords.__annotations__) == NAMES
    assert set(inspect.signature(search_options).parameters) == NAMES


def test_an_absent_top_k_differs_from_a_top_k_of_nought() -> None:
    assert options_from(pb.SearchOptions()).top_k == DEFAULT_TOP_K
    assert options_from(pb.SearchOptions(top_k=0)).top_k == 0


@pytest.mark.parametrize(("number", "meant"), [(0, Consistency.BOUNDED), (1, Consistency.BOUNDED), (2, Consistency.STRONG)])
def test_consistency_by_number(number: int, meant: Consistency) -> None:
    assert consistency_from(number) is meant


@pytest.mark.parametrize(
    ("number", "meant"), [(0, ImageView.BASIC), (1, ImageView.ID), (2, ImageView.BASIC), (3, ImageView.FULL)]
)
def test_view_by_number(number: int, meant: ImageView) -> None:
    assert view_from(number) is meant


@pytest.mark.parametrize("number", [-1, 4, 99])
def test_a_number_that_an_enum_does_not_have_is_refused_with_the_names_that_it_has(number: int) -> None:
    views = f"{number} is unknown; IMAGE_VIEW_ID, IMAGE_VIEW_BASIC and IMAGE_VIEW_FULL are allowed"
    for call, message in (
        (lambda: view_from(number), f"view: {views}"),
        (lambda: options_from(made(pb.SearchOptions, view=number)), f"options.view: {views}"),
        (
            lambda: consistency_from(number),
            f"consistency: {number} is unknown; CONSISTENCY_BOUNDED and CONSISTENCY_STRONG are allowed",
        ),
    ):
        with pytest.raises(InvalidArgument) as raised:
            call()
        assert raised.value.message == message


def test_searches_that_differ_only_in_what_does_not_concern_a_space_ask_it_alike() -> None:
    plain = SearchOptions(filter="year > 1", view=ImageView.FULL, consistency=Consistency.STRONG)
    assert hash(plain.of_space(9, 64)) == hash(CHOSEN.of_space(9, 64))
    assert plain.of_space(9, 64) == CHOSEN.of_space(9, 64) != CHOSEN.of_space(10, 64)
