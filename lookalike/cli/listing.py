"""A table of images that fits the terminal: `lookalike search` and `lookalike images list` fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lookalike.cli.terminal import metadata_text, table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table

_WIDE = 120
"""Columns from which id, metadata and URI stand side by side; below, the URI stands under the id."""
_METADATA = 18
"""Columns that a narrow table leaves to the metadata, with the gap before it: a word or two a line."""
_LEAST = 16


class ImageTable:
    """Rows of `facts` about an image, then the image: id, metadata, URI. Facts are short; the image gets what room is left.

    An id stays on one line and is cut in its middle where it must be; a URI loses its folders first; metadata is wrapped.
    Nothing is cut where the output is no terminal.
    """

    def __init__(self, out: Console, *facts: str, numbers: Sequence[str] = ()) -> None:
        self._out = out
        self._wide = out.width >= _WIDE or not out.is_terminal
        image = ("id", "metadata", "uri") if self._wide else ("id, uri", "metadata")
        self._rows: Table = table(*facts, *image, numbers=numbers)
        for column in self._rows.columns[: len(facts)]:
            column.no_wrap = True
        taken = sum(max(map(len, fact.split("\n"))) + 3 for fact in facts)
        self._room = max(_LEAST, out.width - taken - _METADATA)
        if not self._wide:
            self._rows.columns[len(facts)].no_wrap = True

    def add(self, *facts: str, image_id: str, metadata: Mapping[str, object], uri: str) -> None:
        """One row, with as many facts as there are columns for them."""
        from rich.console import Group

        told = metadata_text(metadata)
        if not self._out.is_terminal:
            self._rows.add_row(*facts, image_id, told, uri)
        elif self._wide:
            # Ids of up to 64 characters, such as a SHA-256, are whole on a wide terminal.
            self._rows.add_row(*facts, _Shortened(image_id, most=64, middle=True), told, _Shortened(uri))
        else:
            image = Group(_Shortened(image_id, most=self._room, middle=True), _Shortened(uri, most=self._room))
            self._rows.add_row(*facts, image, told)

    def print(self) -> None:
        """Write the table."""
        self._out.print(self._rows, markup=False)


class _Shortened:
    """A text that takes one line of a table: where that is too short, an ellipsis stands for a part of it."""

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
