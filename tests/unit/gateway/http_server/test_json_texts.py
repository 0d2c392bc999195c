"""JSON that is read and written a piece at a time is what it would be in one go, and what is wrong with it has a place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http_server import json_texts
from gateway.http_server.json_texts import json_pieces, read_json
from lookalike.errors import InvalidArgument

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=200)
@given(DOCUMENTS, st.sampled_from([1, 7, 40, 10_000]), st.sampled_from([None, 2]), st.booleans())
def test_a_document_is_read_as_python_reads_it_in_pieces_of_any_length(
    document: Any, piece: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(json_texts, "PIECE", piece)
        changed.setattr(json_texts, "_MOST_LEVELS", 50)
        assert read_json(text.encode()) == document


def test_a_long_picture_is_read_whether_its_slashes_are_escaped_or_not() -> None:
    picture = "AAAA/+" * 300_000
    for written in (picture, picture.replace("/", "\\/")):
        body = f'{{"queries": [{{"image": "{written}"}}, {{"image_id": "b"}}], "top_k": 3}}'
        assert read_json(body.encode()) == {"queries": [{"image": picture}, {"image_id": "b"}], "top_k": 3}


@pytest.mark.parametrize(
    ("content", "field", "problem"),
    [
        (b"", "body", "expecting value at character 0"),
        (b"{", "body", "at character 1"),
        (b'{"a" 1}', "body", "at character 5"),
        (b"[1,]", "body", "at character"),
        (b"1 2", "body", "more after its end at character 2"),
        (b"\xff\xfe", "body", "is not UTF-8"),
        (b"[" * 90_000, "body", "nested too deeply"),
        (b'{"a":' * 90_000, "body", "nested too deeply"),
        (b'{"a": {"b": ["x", "\\ud800"]}}', "a.b[1]", "lone surrogate"),
        (b'{"a": {"\\udfff": 1}}', "a.\\udfff", "lone surrogate"),
        (b'"\\ude00\\ud83d"', "body", "lone surrogate"),
        (b"[" + b"0," * 2_000_000 + b"0]", "body", "more than 2,000,000 values"),
        (b'{"a":[' + b'"' + b"x" * 2_000_000 + b'"' + b",0" * 50_000 + b"]}", "a", "more than 40,000 values"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_what_is_wrong_with_a_document_is_said_by_its_place(content: bytes, field: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_json(content)
    assert raised.value.field == field
    assert problem in raised.value.message


def test_pairs_of_surrogates_are_characters() -> None:
    assert read_json(b'["\\ud83d\\ude00", "\\\\ud800"]') == ["\U0001f600", "\\ud800"]


@given(st.dictionaries(WORDS, DOCUMENTS, max_size=3))
def test_what_is_written_in_pieces_is_the_document(document: Any) -> None:
    assert json.loads(b"".join(json_pieces(document))) == document
