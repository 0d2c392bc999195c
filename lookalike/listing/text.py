"""Lists in text: CSV with a header, JSONL, and plain lists of URIs. Standard library only.

Values of a CSV are text, except that a plain decimal number (`7`, `-2.50`; not `007`, `1e3`, `+1`) is a number, so that filters
such as `year >= 2019` work; a whole number beyond 64 bits stays text. An empty cell is an absent key; of `'=1+1` the apostrophe
is left out (see `csv_cells`). JSONL keeps its types. A path in a manifest stands for itself: nothing in it is percent-decoded;
a URI is taken as it is.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from lookalike.csv_cells import read_back
from lookalike.errors import InvalidArgument
from lookalike.items import Item, broken_item, checked_item, resolve_uri
from lookalike.metadata import LEAST_WHOLE, MOST_WHOLE, read_json

MAX_LINE_BYTES = 256 * 1024
"""Bounds a line, with room for the longest id, URI and metadata, each byte escaped."""
_CHECK_BYTES = 1024 * 1024
"""Bytes read between two checks whether the listing is still wanted."""
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,17})?")
"""At most 19 digits before the point, as whole numbers of 64 bits have."""


Check = Callable[[], None]
"""A function that is called now and then while a list is read. It may raise, which ends the reading."""


def unchecked() -> None:
    """The check of a list that is read to its end."""


def number_or_text(cell: str) -> str | int | float:
    """The value of a CSV's cell: a number for a plain decimal number, else the text itself."""
    if not _PLAIN_NUMBER.fullmatch(cell):
        return cell
    if "." in cell:
        return float(cell)
    whole = int(cell)
    return whole if LEAST_WHOLE <= whole <= MOST_WHOLE else cell


def csv_items(stream: IO[bytes], name: str, base: str, check: Check = unchecked) -> Iterator[Item]:
    rows = csv_rows(stream, name, check)
    columns = _columns(next(rows, None), name)
    for position, row in enumerate(rows):
        if row.problem:
            yield broken_item(position, f"{row.where}: {row.problem}")
        else:
            yield _csv_item(position, row.where, columns, row.cells, base)


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row, or its problem; `where` is its line (from 1), or lines. Bytes that are not UTF-8 are surrogates."""

    where: str
    cells: list[str]
    problem: str = ""


def csv_rows(stream: IO[bytes], name: str, check: Check = unchecked) -> Iterator[CsvRow]:
    """The rows of a CSV without empty ones, each of at most `MAX_LINE_BYTES`, however many lines its cells take.

    Raises `InvalidArgument` ("manifest") where it is UTF-16.
    """
    lines = _CsvLines(stream, name, check)
    reader = csv.reader(lines, strict=True)
    while True:
        line = lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = f" to {lines.number}" if lines.number > line else ""
            yield CsvRow(f"line {line}{last}", [], _csv_problem(error))
            continue
        if cells:
            yield CsvRow(f"line {line}", cells)


class _CsvLines:
    """The lines of a CSV for `csv.reader`, the last one given being `number` (from 1).

    Bytes that are not UTF-8 come through as surrogates, and fail only their own row. A line that is too long is not cut, since
    a quote left open would swallow the rows after it: `csv.Error` is raised in its place, and then the next line follows. The
    same holds for a row whose lines are too long together, all of which `csv.reader` would hold.
    """

    def __init__(self, stream: IO[bytes], name: str, check: Check) -> None:
        self._lines = _lines(stream, name, check)
        self._left = MAX_LINE_BYTES
        self.number = 0

    def begin_row(self) -> int:
        """The first line of the next row."""
        self._left = MAX_LINE_BYTES
        return self.number + 1

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self._left -= len(line)
        if len(line) >= MAX_LINE_BYTES:
            raise csv.Error(f"is longer than {MAX_LINE_BYTES} bytes")
        if self._left <= 0:
            raise csv.Error(f"has cells of more than {MAX_LINE_BYTES} bytes together, or a quote that is not closed")
        return line.decode("utf-8", "surrogateescape")


_CSV_PROBLEMS = {
    "unexpected end of data": "has a quote that is not closed",
    "new-line character seen in unquoted field": "ends in a carriage return alone; save it with line feeds",
    "field larger than field limit": "has a cell that is too long, or a quote that is not closed",
}
"""Errors of the `csv` module that the user can fix in the file, by their first words."""


def _csv_problem(error: csv.Error) -> str:
    said = str(error)
    return next((problem for words, problem in _CSV_PROBLEMS.items() if said.startswith(words)), said)


def _columns(header: CsvRow | None, name: str) -> list[str]:
    if header is not None and header.problem:
        refuse(name, f"has no header that can be read: the line {header.problem}")
    columns = [column.strip() for column in header.cells] if header is not None else []
    if not is_utf8("".join(columns)):
        refuse(name, "is not UTF-8; save it as UTF-8")
    if any("\0" in column for column in columns):
        refuse(name, "holds zero bytes in its first line, as UTF-16 does; save it as UTF-8")
    if "uri" not in columns:
        found = ", ".join(columns)[:200] or "none"
        refuse(name, f"has no column 'uri' in its first line; columns, separated by commas: {found}")
    doubled = sorted(column for column, count in Counter(columns).items() if column and count > 1)
    if doubled:
        refuse(name, f"has two columns called {doubled[0][:80]!r}")
    return columns


def _csv_item(position: int, where: str, columns: list[str], row: list[str], base: str) -> Item:
    if len(row) != len(columns):
        return broken_item(position, f"{where}: has {len(row)} cells, the header has {len(columns)}")
    if not is_utf8("".join(row)):
        return broken_item(position, f"{where}: is not UTF-8")
    cells = {column: read_back(cell) for column, cell in zip(columns, row, strict=True) if column and cell}
    item_id, uri = cells.pop("id", ""), cells.pop("uri", "")
    return item_of(position, where, item_id, uri, {key: number_or_text(cell) for key, cell in cells.items()}, base)


def jsonl_items(stream: IO[bytes], name: str, base: str, check: Check = unchecked) -> Iterator[Item]:
    position = 0
    for number, line in enumerate(_lines(stream, name, check), start=1):
        if line.strip():
            yield _jsonl_item(position, number, line, base)
            position += 1


def uri_items(stream: IO[bytes], name: str, base: str, check: Check = unchecked) -> Iterator[Item]:
    position = 0
    for number, line in enumerate(_lines(stream, name, check), start=1):
        text = line.rstrip(b"\r\n")
        if not text.strip():
            continue
        uri = text.decode("utf-8", "surrogateescape")
        if len(line) >= MAX_LINE_BYTES:
            yield broken_item(position, f"line {number}: is longer than {MAX_LINE_BYTES} bytes")
        elif not is_utf8(uri):
            yield broken_item(position, f"line {number}: is not UTF-8")
        else:
            yield item_of(position, f"line {number}", "", uri, {}, base)
        position += 1


def _jsonl_item(position: int, line: int, text: bytes, base: str) -> Item:
    if len(text) >= MAX_LINE_BYTES:
        return broken_item(position, f"line {line}: is longer than {MAX_LINE_BYTES} bytes")
    try:
        fields = read_json(text.decode())
    except UnicodeDecodeError:
        return broken_item(position, f"line {line}: is not UTF-8")
    except (ValueError, RecursionError) as error:
        return broken_item(position, f"line {line}: is not JSON: {error}")
    if not isinstance(fields, dict):
        return broken_item(position, f"line {line}: is not a JSON object")
    item_id, uri = fields.pop("id", None), fields.pop("uri", None)
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(uri, str | None) or not isinstance(item_id, str | None):
        return broken_item(position, f"line {line}: 'uri' and 'id' must be text")
    return item_of(position, f"line {line}", item_id or "", uri or "", fields, base)


def item_of(position: int, where: str, item_id: str, uri: str, metadata: dict[str, Any], base: str) -> Item:
    """The item at `where` in a list, or a broken item."""
    if not uri:
        return broken_item(position, f"{where}: has no 'uri'", item_id=item_id)
    if not is_utf8(uri) or "\0" in uri:
        return broken_item(position, f"{where}: 'uri' cannot be used", uri=uri, item_id=item_id)
    return checked_item(position, item_id, resolve_uri(uri, base), metadata, where=f"{where}: ")


def _lines(stream: IO[bytes], name: str, check: Check) -> Iterator[bytes]:
    """Lines, without a byte order mark. The bytes of a line beyond `MAX_LINE_BYTES` are dropped, since such a line cannot be
    used anyway.

    `check` is called now and then, also in a line without end, and in any number of empty lines.
    """
    line = stream.readline(MAX_LINE_BYTES)
    read_bytes = len(line)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(name, "is UTF-16; save it as UTF-8")
    line = line.removeprefix(b"\xef\xbb\xbf")
    while line:
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
            check()
        yield line
        line = stream.readline(MAX_LINE_BYTES)
        read_bytes += len(line)
        if read_bytes > _CHECK_BYTES:
            check()
            read_bytes = 0


def is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse(name: str, problem: str) -> NoReturn:
    raise InvalidArgument("manifest", f"{name} {problem}", reason="MANIFEST_INVALID")
