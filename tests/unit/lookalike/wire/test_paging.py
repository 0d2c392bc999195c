"""Page sizes, and page tokens: opaque, and good for one list only."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import InvalidArgument
from lookalike.v1 import collection_service_pb2, embedder_service_pb2, ingest_service_pb2, search_service_pb2
from lookalike.wire.paging import page_size_of, place_of, token_after

LISTS = (
    search_service_pb2.ListImagesRequest,
    ingest_service_pb2.ListIngestJobsRequest,
    ingest_service_pb2.ListIngestFailuresRequest,
    collection_service_pb2.ListCollectionsRequest,
    embedder_service_pb2.ListModelsRequest,
)


def asked(**fields: Any) -> search_service_pb2.ListImagesRequest:
    return search_service_pb2.ListImagesRequest(**{"collection": "things", "filter": "a = 1", **fields})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64))
def test_a_token_gives_back_the_place_it_was_made_of_whatever_the_size_of_its_page(place: str) -> None:
    token = token_after(place, asked(page_size=5))
    assert place_of(asked(page_size=7, page_token=token)) == place
    assert token_after(place, asked(page_token=token)) == token, "the pages of one list belong together"
    assert token.isascii()


def test_no_token_means_the_start_and_no_place_the_end() -> None:
    assert (place_of(asked()), token_after("", asked())) == ("", "")


def packed(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


DIGEST = json.loads(base64.urlsafe_b64decode(token_after("x", asked()) + "=="))[0]
UNUSABLE = ["\\ud800", "\\n", "", "x" * 257]
"""Places that no list has, as JSON writes them."""


@pytest.mark.parametrize(
    "token",
    [
        *("x", "né", "AAAA", "!!!!", "W10", packed("[1]"), packed("[" * 90_000), packed("9" * 5000), packed("[1, [2]]")),
        *(packed(f'["{DIGEST}", "{text}"]') for text in UNUSABLE),
    ],
    ids=lambda token: token[:8],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a token") as raised:
        place_of(asked(page_token=token))
    assert raised.value.field == "page_token"


@given(st.text(max_size=60))
def test_no_text_at_all_breaks_the_reading(token: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert isinstance(place_of(asked(page_token=token)), str)


@pytest.mark.parametrize("other", [{"collection": "others"}, {"filter": "a = 2"}, {"consistency": 2}], ids=str)
def test_a_token_of_another_list_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="another list"):
        place_of(asked(**other, page_token=token_after("x", asked())))


@pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.__name__)
def test_every_list_has_pages_of_one_kind(kind: type[Message]) -> None:
    sizes = [page_size_of(made(kind, page_size=size)) for size in (0, 1, 1000, 1001, 2**31 - 1)]
    assert sizes == [50, 1, 1000, 1000, 1000]
    with pytest.raises(InvalidArgument, match="page_size: -1 is negative; 1 to 1000 are allowed"):
        page_size_of(made(kind, page_size=-1))
    for other in LISTS:
        request = made(kind, page_token=token_after("x", other()))
        if other is kind:
            assert place_of(request) == "x"
        else:
            with pytest.raises(InvalidArgument, match="another list"):
                place_of(request)


def made(kind: type[Message], **fields: Any) -> Message:
    return kind(**fields)
