"""Tables that lose nothing, on any output. Every command that prints a table calls `put`.

On a terminal a table is printed as it is where it fits. Where it does not fit, a narrower table takes its place. Where none is
given, or it does not fit either, each row is printed as a block with a line for each cell. Where the output is no terminal, a
list is printed as lines of cells with tabs between them, for `cut` and `awk`; any other table is as wide as it must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lookalike.cli.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LEAST = 12
"""Columns that a cell of several words needs at least; with fewer it would be a column of letters."""
GAP = 3
"""Columns between two columns of a table: a padding on either side, and a divider."""
_EDGES = 2


def put(out: Console, rows: Table, *, narrow: Table | None = None, listing: bool = False) -> None:
    """Print the first of `rows` and `narrow` that fits `out`, else `rows` as blocks. Programs read a `listing`."""
    heads, cells = [str(column.header) for column in rows.columns], _cells(rows)
    if not out.is_terminal:
        if listing:
            put_tabbed(out, heads, cells)
            return
        out.width = max(out.width, natural_width(rows))
    for one in (rows, narrow):
        if one is not None and _fits(one, out.width):
            out.print(one, markup=False)
            return
    put_blocks(out, heads, cells, title=str(rows.title or ""))


def put_tabbed(out: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a line for the heads and a line for each row, with tabs between the cells and none within."""
    for cells in (heads, *rows):
        out.file.write("\t".join(" ".join(visible(" ".join(cell.split())).split()) for cell in cells) + "\n")


def put_blocks(out: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print each row as lines of a head and its cell. Cells are folded, never cut; empty cells are left out."""
    from rich.table import Table
    from rich.text import Text

    if title:
        out.print(title, style="bold", markup=False)
    heads = [" ".join(head.split()) for head in heads]
    for cells in rows:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for head, cell in zip(heads, cells, strict=True):
            if cell:
                grid.add_row(Text(head), Text(cell))
        out.print(grid)
        out.print()


def natural_width(rows: Table) -> int:
    """Columns that `rows` takes when no cell is folded."""
    return _width(rows, least=None)


def _fits(rows: Table, width: int) -> bool:
    """Whether every column gets the width that it needs. Where all do, that becomes their least width."""
    if _width(rows, least=LEAST) > width:
        return False
    for column in rows.columns:
        if not column.no_wrap:
            column.min_width = max(min(_widest(column.header, column.cells), LEAST), column.min_width or 0)
    return True


def _width(rows: Table, *, least: int | None) -> int:
    """Columns that `rows` takes where cells that may be folded take `least`, or for None all that they need."""
    needed = 0
    for column in rows.columns:
        whole = _widest(column.header, column.cells)
        needed += whole if least is None or column.no_wrap else max(min(whole, least), column.min_width or 0)
    return needed + GAP * (len(rows.columns) - 1) + _EDGES


def _widest(header: object, cells: Iterable[object]) -> int:
    from rich.cells import cell_len

    texts = [_text(header), *(_text(cell) for cell in cells)]
    return max((cell_len(line) for text in texts for line in text.split("\n")), default=0)


def _cells(rows: Table) -> list[list[str]]:
    """The texts of every row."""
    return [[_text(cell) for cell in row] for row in zip(*(column.cells for column in rows.columns), strict=True)]


def _text(cell: object) -> str:
    from rich.text import Text

    return cell.plain if isinstance(cell, Text) else str(cell)
