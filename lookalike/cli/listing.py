"""A table of images that fits the terminal. `lookalike search` and `lookalike images list` fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lookalike.cli.fitting import GAP, LEAST, put_blocks, put_tabbed
from lookalike.cli.terminal import metadata_text, table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement

_WIDE = 120
"""Columns from which id, metadata and URI stand side by side; below, the URI stands under the id."""
_METADATA = 20
"""Columns that a narrow table leaves to the metadata, with the gap before it: a word or two per line."""
_LEAST = 16


class ImageTable:
    """Rows of short `facts` about an image, then its id, metadata and URI, which get the rest of the width.

    An id stays on one line; a long id is cut in its middle. A long URI loses its folders first. Metadata is wrapped. On a
    terminal too narrow for that, each image is a block of lines. Where the output is no terminal, each is a line with tabs.
    """

    def __init__(self, out: Console, *facts: str, numbers: Sequence[str] = ()) -> None:
        self._out, self._facts, self._numbers = out, facts, numbers
        self._rows: list[tuple[tuple[str, ...], str, str, str]] = []

    def add(self, *facts: str, image_id: str, metadata: Mapping[str, object], uri: str) -> None:
        """Add a row with a fact for each of the table's `facts`."""
        self._rows.append((facts, image_id, metadata_text(metadata), uri))

    def print(self) -> None:
        """Print the table."""
        heads = [*self._facts, "id", "metadata", "uri"]
        every = [[*facts, image_id, metadata, uri] for facts, image_id, metadata, uri in self._rows]
        if not self._out.is_terminal:
            put_tabbed(self._out, heads, every)
            return
        if self._taken() + _LEAST + LEAST + GAP > self._out.width:
            put_blocks(self._out, heads, every)
            return
        wide = self._out.width >= _WIDE
        rows = table(*self._facts, *(("id", "metadata", "uri") if wide else ("id, uri", "metadata")), numbers=self._numbers)
        for column in rows.columns[: len(self._facts)]:
            column.no_wrap = True
        if wide:
            for facts, image_id, metadata, uri in self._rows:
                rows.add_row(*facts, *self._side_by_side(image_id, metadata, uri))
        else:
            rows.columns[len(self._facts)].no_wrap = True
            room = max(_LEAST, self._out.width - self._taken() - _METADATA)
            for facts, image_id, metadata, uri in self._rows:
                rows.add_row(*facts, _stacked(image_id, uri, room), metadata)
        self._out.print(rows, markup=False)

    def _side_by_side(self, image_id: str, metadata: str, uri: str) -> tuple[RenderableType, RenderableType, RenderableType]:
        # Ids of up to 64 characters, such as a SHA-256, are not cut where the URI leaves room for them.
        return _Shortened(image_id, most=64, middle=True), metadata, _Shortened(uri)

    def _taken(self) -> int:
        """Columns that the facts take, with the gaps after them."""
        every = zip(*(self._facts, *(facts for facts, *_ in self._rows)), strict=True)
        return sum(max(len(line) for cell in cells for line in cell.split("\n")) + GAP for cells in every)


def _stacked(image_id: str, uri: str, room: int) -> RenderableType:
    from rich.console import Group

    return Group(_Shortened(image_id, most=room, middle=True), _Shortened(uri, most=room))


class _Shortened:
    """A text on one line of a table. Where the line is too short, an ellipsis replaces a part of the text."""

    def __init__(self, text: str, *, most: int | None = None, middle: bool = False) -> None:
        self.text, self.most, self.middle = text, most, middle

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.cells import cell_len
        from rich.measure import Measurement

        width = min(cell_len(self.text), self.most or options.max_width)
        return Measurement(min(width, _LEAST), width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width = min(options.max_width, self.most or options.max_width)
        yield Text(shortened(self.text, width, middle=self.middle), no_wrap=True, overflow="crop")


def shortened(text: str, width: int, *, middle: bool = False) -> str:
    """`text` in at most `width` cells of a terminal: `…coat/17.png` or, with `middle`, `fashi…00042`."""
    from rich.cells import cell_len, set_cell_size

    spare = width - 1
    if cell_len(text) <= width or spare < 1:
        return text
    head = set_cell_size(text, spare - spare // 2).rstrip() if middle else ""
    start = len(text)
    while start > 0 and cell_len(head) + cell_len(text[start - 1 :]) <= spare:
        start -= 1
    return f"{head}…{text[start:]}"
