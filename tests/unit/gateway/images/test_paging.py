"""Page tokens: opaque, and good for one list only."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.paging import make_token, page_size_from, read_token
from lookalike.errors import InvalidArgument


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64))
def test_a_token_gives_back_the_id_it_was_made_of(image_id: str) -> None:
    token = make_token(image_id, "things", "a = 1")
    assert read_token(token, "things", "a = 1") == image_id
    assert token.isascii()


def test_no_token_means_the_start() -> None:
    assert read_token("", "things", "") == ""


def packed(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


DIGEST = json.loads(base64.urlsafe_b64decode(make_token("x", "things", "") + "=="))[0]
UNUSABLE = ["\\ud800", "\\n", "", "x" * 257]
"""Ids that no image can have, as JSON writes them."""


@pytest.mark.parametrize(
    "token",
    [
        *("x", "né", "AAAA", "!!!!", "W10", packed("[1]"), packed("[" * 90_000), packed("9" * 5000), packed("[1, [2]]")),
        *(packed(f'["{DIGEST}", "{text}"]') for text in UNUSABLE),
    ],
    ids=lambda token: token[:8],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_token(token, "things", "")
    assert raised.value.field == "page_token"


@given(st.text(max_size=60))
def test_no_text_at_all_breaks_the_reading(token: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert isinstance(read_token(token, "things", ""), str)


@pytest.mark.parametrize("other", [("others", "a = 1"), ("things", "a = 2")])
def test_a_token_of_another_list_is_refused(other: tuple[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="another list"):
        read_token(make_token("x", "things", "a = 1"), *other)


def test_page_sizes() -> None:
    assert [page_size_from(size) for size in (0, 1, 1000)] == [50, 1, 1000]
    for size in (-1, 1001):
        with pytest.raises(InvalidArgument, match="1 to 1000"):
            page_size_from(size)
