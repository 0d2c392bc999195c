"""What a table of images loses on a terminal that is too narrow for it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lookalike.cli.listing import ImageTable, shortened

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
URI = "file:///home/person/pictures/shoes/ankle-boots/17.png"


def printed(width: int, image_id: str, uri: str = URI, *, terminal: bool = True) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    rows = ImageTable(out, "#", "indexed", numbers=("#",))
    rows.add("1", "2026-11-23T23:48:14", image_id=image_id, metadata={"label": "Coat", "year": 2019}, uri=uri)
    rows.print()
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_narrow_terminal_shows_the_uri_under_the_id_without_its_first_folders() -> None:
    header, _, first, second = printed(80, SHA[:32])
    assert header.split() == ["#", "indexed", "id,", "uri", "metadata"]
    assert first.split() == ["1", "2026-11-23T23:48:14", SHA[:32], "label=Coat"]
    uri, year = second.split()
    assert uri.startswith("…")
    assert URI.endswith(uri[1:])
    assert uri.endswith("shoes/ankle-boots/17.png")
    assert year == "year=2019"


def test_a_wide_terminal_shows_everything_side_by_side() -> None:
    header, _, row = printed(160, SHA[:32])
    assert header.split() == ["#", "indexed", "id", "metadata", "uri"]
    assert row.split() == ["1", "2026-11-23T23:48:14", SHA[:32], "label=Coat", "year=2019", URI]


def test_an_id_too_long_for_a_narrow_terminal_keeps_both_ends_on_one_line() -> None:
    _, _, first, _ = printed(80, SHA)
    shown = first.split()[2]
    head, tail = shown.split("…")
    assert SHA.startswith(head)
    assert SHA.endswith(tail)
    assert min(len(head), len(tail)) >= 16


def test_nothing_is_cut_where_nobody_looks() -> None:
    heads, row = printed(2000, SHA + SHA, URI * 20, terminal=False)
    assert heads.split("\t") == ["#", "indexed", "id", "metadata", "uri"]
    assert row.split("\t") == ["1", "2026-11-23T23:48:14", SHA + SHA, "label=Coat year=2019", URI * 20]


def test_a_terminal_with_no_room_for_a_table_shows_blocks() -> None:
    block = printed(40, SHA)
    assert [line.split()[0] for line in block[:3]] == ["#", "indexed", "id"]
    assert "".join(line.split()[-1] for line in block[2:6]).replace("label=Coat", "").startswith(SHA[:40])


@pytest.mark.parametrize(
    ("text", "width", "middle", "expected"),
    [
        ("coat/17.png", 11, False, "coat/17.png"),
        ("coat/17.png", 8, False, "…/17.png"),
        ("0123456789", 7, True, "012…789"),
        ("0123456789", 6, True, "012…89"),
        ("コート/17.png", 9, False, "…/17.png"),
        ("コート/17.png", 10, False, "…ト/17.png"),
        ("abc", 1, False, "abc"),
    ],
)
def test_a_text_is_cut_to_the_cells_there_are(text: str, width: int, middle: bool, expected: str) -> None:
    assert shortened(text, width, middle=middle) == expected
