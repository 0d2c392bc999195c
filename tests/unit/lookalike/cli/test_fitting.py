"""What `put` makes of tables of any shape on anything that they may be printed on."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lookalike.cli.fitting import put
from lookalike.cli.terminal import table

HEADS = ("name", "images", "what it is")


def printed(width: int, rows: Sequence[tuple[str, ...]], *, is_terminal: bool = True, listing: bool = False) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None, markup=False, emoji=False)
    made = table(*HEADS, title="all", numbers=("images",))
    for row in rows:
        made.add_row(*row)
    put(out, made, listing=listing)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


_CELLS = st.tuples(st.text("abc海[]\u0301 ", max_size=90), st.integers(0, 10**12).map(str), st.text("xyz界/- ", max_size=200))


@given(st.lists(_CELLS, min_size=1, max_size=3), st.sampled_from([40, 60, 80, 100, 200]))
@settings(max_examples=60, deadline=None)
def test_no_letter_of_a_cell_is_lost_at_any_width(rows: Sequence[tuple[str, ...]], width: int) -> None:
    lines = printed(width, rows)
    assert all(cell_len(line) <= width for line in lines)
    shown = Counter("".join(lines))
    wanted = Counter("".join("".join(row) for row in rows)) - Counter(" ")
    wanted.pop(" ", None)
    assert not wanted - shown


def test_a_table_that_does_not_fit_is_shown_in_blocks() -> None:
    rows = [("shoes", "1,234,567,890", "x" * 60), ("boots", "1", "")]
    assert any("───" in line for line in printed(80, rows))
    lines = [line.rstrip() for line in printed(30, rows)]
    assert lines[:3] == ["all", "name        shoes", "images      1,234,567,890"]
    assert "".join(lines).count("x") == 60
    assert [line for line in lines if line][-2:] == ["name    boots", "images  1"]


@pytest.mark.parametrize("length", [10, 5000])
def test_where_nobody_looks_every_row_is_a_line(length: int) -> None:
    rows = [("shoes\tand\nboots", "5", "x" * length)]
    assert printed(60, rows, is_terminal=False, listing=True) == [
        "name\timages\twhat it is", f"shoes and boots\t5\t{'x' * length}",
    ]  # fmt: skip
    lines = printed(60, [("shoes", "5", "x" * length)], is_terminal=False)
    assert lines[-2].split() == ["shoes", "5", "x" * length]
