"""What makes an item of a source unusable."""

from __future__ import annotations

import pytest

from lookalike.items import checked_item


@pytest.mark.parametrize(
    "uri", ["https://me:secret@host/x.png", "HTTP://secret@host:80", "tar://a.png::https://me:secret@host/x.tar"]
)
def test_a_user_s_name_in_a_url_goes_no_further(uri: str) -> None:
    item = checked_item(0, "a", uri, {})
    assert (item.id, item.problem_reason) == ("a", "SOURCE_FORBIDDEN")
    assert "user's name" in item.problem
    assert "secret" not in repr(item)
    assert "host" in item.uri


@pytest.mark.parametrize("uri", ["https://host/@me.png", "https://host/a?to=me@host", "file:///a@b.png", "s3://bucket/a@b"])
def test_an_at_elsewhere_in_a_uri_is_no_user(uri: str) -> None:
    assert checked_item(0, "a", uri, {}).problem == ""


def test_an_item_that_cannot_be_stored_keeps_the_id_that_its_uri_gives() -> None:
    good = checked_item(0, "", "file:///a.png", {})
    assert checked_item(0, "", "file:///a.png", {"n": "x" * 20_000}).id == good.id
    assert checked_item(0, "", "x" * 3000, {}).id == ""
