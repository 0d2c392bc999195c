"""The table of picture formats: what it says of each, against Pillow, and that no suffix stands twice in it."""

from __future__ import annotations

import pytest
from PIL import Image

from lookalike.picture_formats import _MISLEADING, _NOT_READ, FORMATS, KINDS, SUFFIXES, PictureFormat, is_picture, kind_of


@pytest.mark.parametrize("read", FORMATS, ids=lambda read: read.key)
def test_pillow_knows_a_format_by_the_same_suffixes_and_media_type(read: PictureFormat) -> None:
    extensions = Image.registered_extensions()
    assert Image.MIME.get(read.key, read.media_type) == read.media_type
    assert extensions[f".{read.suffixes[0]}"] == read.key
    others = {other.key for other in FORMATS} - {read.key}
    assert not others & {extensions.get(f".{suffix}") for suffix in read.suffixes}


def test_no_suffix_stands_for_two_kinds() -> None:
    suffixes = [suffix for read in FORMATS for suffix in read.suffixes]
    suffixes += [suffix for table in (_MISLEADING, _NOT_READ) for line in table.values() for suffix in line.split()]
    assert len(suffixes) == len(set(suffixes)) == len(KINDS)
    assert kind_of("no suffix") is kind_of(".jpg") is kind_of("a.") is kind_of("a.jpgx") is None


def test_a_suffix_of_every_format_that_is_read_is_listed_and_fetched() -> None:
    for suffix in SUFFIXES:
        kind = kind_of(f"A{suffix.upper()}")
        assert kind is not None
        assert kind.read
    assert is_picture("a.nef")
    assert ".nef" not in SUFFIXES
