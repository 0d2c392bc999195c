"""Names, ids and URIs are taken or refused for a reason that names the field."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from lookalike import names
from lookalike.errors import InvalidArgument


@pytest.mark.parametrize("name", ["a", "shoes", "shoes_2024", "a1_b2_c3", "x" * 63])
def test_good_names_are_returned(name: str) -> None:
    assert names.check_name("collection", name) == name


@pytest.mark.parametrize(
    "name", ["", "Shoes", "1shoes", "_shoes", "shoes_", "two__words", "a-b", "a b", "schön", "x" * 64, "a\n", "a;drop"]
)
def test_bad_names_are_refused_naming_the_field(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        names.check_name("collection", name)
    assert refused.value.field == "collection"


@pytest.mark.parametrize("image_id", ["", "x" * 257, "a\x00b", "line\nbreak", "é" * 129, "\ud800"])
def test_bad_ids_are_refused(image_id: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_id("id", image_id)


def test_of_all_characters_controls_and_surrogates_alone_are_refused() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    controls = {character for character in every if unicodedata.category(character) in ("Cc", "Cs")}
    assert {character for character in map(chr, range(sys.maxunicode + 1)) if _refused(character)} == controls
    assert {character for character in controls if not names.control_in_prose(character)} == {"\t", "\n", "\r"}


def _refused(image_id: str) -> bool:
    try:
        names.check_id("id", image_id)
    except InvalidArgument:
        return True
    return False


def test_an_id_may_be_any_printable_text_of_256_bytes() -> None:
    for image_id in ("a/b/c.png", "é" * 128, '"quoted" \\ %', "x" * 256):
        assert names.check_id("id", image_id) == image_id


def test_two_uris_that_only_look_alike_have_two_ids() -> None:
    for other in ("cafe\u0301.png", "CAF\u00c9.png", "caf\u00e9.png ", "caf\u00e9.PNG"):
        assert names.id_from_uri("s3://b/caf\u00e9.png") != names.id_from_uri(f"s3://b/{other}")
    assert names.id_from_uri("file:///a.png") != names.id_from_uri("file:///b.png")


def test_the_physical_name_holds_collection_space_and_fingerprint() -> None:
    assert names.physical_name("shoes", "siamese", "0123456789abcdef") == "shoes__siamese__01234567"
