"""The embedder's readers, beside the table of formats that the client, the listings and the page go by."""

from __future__ import annotations

import pytest

from embedder.pictures.decode import Decoder, Wanted
from embedder.pictures.formats import READERS, read_header
from lookalike.errors import BadImage
from lookalike.picture_formats import FORMATS
from tests.pictures.made_pictures import encoded, noise

CANVAS = Wanted((3,))


def test_every_format_has_a_reader_and_every_reader_a_format() -> None:
    assert list(READERS) == [read.key for read in FORMATS]


@pytest.mark.parametrize("key", READERS)
def test_a_picture_of_each_format_is_recognised_by_its_own_reader_alone_and_decoded(key: str) -> None:
    data = encoded(noise(30, 47, 3), key)
    assert [name for name, reader in READERS.items() if reader.begins.match(data)] == [key]
    assert read_header(data).format == key
    canvas = Decoder().decode(data, CANVAS).canvas
    assert canvas is not None
    assert canvas.shape == (30, 47, 3)


def test_the_refusal_of_another_file_names_every_format() -> None:
    with pytest.raises(BadImage) as refused:
        read_header(b"RIFF\0\0\0\0SFBK")
    assert all(read.name in refused.value.problem for read in FORMATS)
