"""No cell that is written is a formula, and every cell reads back as the text it was."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lookalike
from lookalike.csv_cells import csv_text, read_back
from lookalike.listing import list_manifest

_SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_AWKWARD = st.text(st.sampled_from([*_SIGNS, "'", '"', " ", ",", ";", "1", "a", "\u200b"]))


def written(cell: object) -> str:
    ((found,),) = csv.reader(io.StringIO(csv_text([[cell]]), newline=""))
    return found


@pytest.mark.parametrize("sign", _SIGNS)
def test_a_cell_that_begins_like_a_formula_begins_with_an_apostrophe(sign: str) -> None:
    for text in (f"{sign}cmd|' /C calc'!A0", f" {sign}1+1", f"\u200b{sign}x", f"''{sign}x"):
        assert written(text) == f"'{text}"


def test_numbers_and_plain_text_stand_as_they_are() -> None:
    for cell in (-5, -2.5, 0, "-5", "+4.9", "-1e3", "a=b", "1-2", "'quoted'", "", "file:///a.png", "a, b"):
        assert written(cell) == str(cell)
    assert csv_text([[None, "a"]]) == ",a\r\n"


@given(_AWKWARD | st.text(st.characters(exclude_categories=["Cs", "Nd"])))
def test_every_text_reads_back_as_it_was(text: str) -> None:
    assert read_back(written(text)) == text
    assert written(text)[:1] not in set(_SIGNS) or text.strip("+-").isdigit(), "nothing but a number begins with a sign"


def test_a_manifest_that_was_written_is_read_as_it_was() -> None:
    rows = [("uri", "id", "label", "note"), ("/a.png", "=1+1", "-shirt", "'-x"), ("/b.png", "@b", "-5", "'quoted'")]
    a, b = list_manifest(io.BytesIO(csv_text(rows).encode()), "m.csv", "file:///data")
    assert (a.id, a.metadata) == ("=1+1", {"label": "-shirt", "note": "'-x"})
    assert (b.id, b.metadata) == ("@b", {"label": -5, "note": "'quoted'"})


def test_csv_is_written_in_one_place_only() -> None:
    top = Path(lookalike.__file__).parents[1]
    sources = [path for package in ("lookalike", "gateway", "indexer", "embedder") for path in (top / package).rglob("*.py")]
    assert len(sources) > 200
    writers = {
        str(path.relative_to(top))
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("writer", "DictWriter", "to_csv", "write_csv")
    }
    assert writers == {"lookalike/csv_cells.py"}
