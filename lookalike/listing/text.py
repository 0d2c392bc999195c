"""Lists in text: CSV with a header, JSONL, and plain lists of URIs. Standard library only.

Values of a CSV are text, except that a plain decimal number (`7`, `-2.50`; not `007`, `1e3`, `+1`) is a number, so that filters
such as `year >= 2019` work. An empty cell is an absent key; of `'=1+1` the apostrophe is left out (see `csv_cells`). JSONL
keeps its types. A path in a manifest stands for itself: nothing in it is percent-decoded; a URI is taken as it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, NoReturn

from lookalike.csv_cells import read_back
from lookalike.errors import InvalidArgument
from lookalike.items import Item, broken_item, checked_item, resolve_uri

MAX_LINE_BYTES = 256 * 1024
"""Room for the longest id, URI and metadata, each byte of it escaped."""
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
"""At most 18 digits before the point: any such whole number fits into 64 bits."""


def number_or_text(cell: str) -> str | int | float:
    """A cell of a CSV: a plain decimal number as a number, anything else as the text it is."""
    if not _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return float(cell) if "." in cell else int(cell)


def csv_items(stream: IO[bytes], name: str, base: str) -> Iterator[Item]:
    lines = _CsvLines(stream, name)
    reader = csv.reader(lines, strict=True)
    columns = _columns(reader, name)
    position = 0
    while True:
        line = lines.number + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = f" to {lines.number}" if lines.number > line else ""
            yield broken_item(position, f"line {line}{last}: {_csv_problem(error)}")
            position += 1
            continue
        if row:
            yield _csv_item(position, line, columns, row, base)
            position += 1


class _CsvLines:
    """The lines of a CSV for `csv.reader`, the last one given being `number` (from 1).

    Bytes that are not UTF-8 come through as surrogates, and fail their own row only. A line that is too long is none: cut, it
    could leave a quote open, which would take the rows behind it along. `csv.Error` is raised in its place, after which the
    next one comes.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._lines = _lines(stream, name)
        self.number = 0

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if len(line) >= MAX_LINE_BYTES:
            raise csv.Error(f"is longer than {MAX_LINE_BYTES} bytes")
        return line.decode("utf-8", "surrogateescape")


_CSV_PROBLEMS = {
    "unexpected end of data": "has a quote that is not closed",
    "new-line character seen in unquoted field": "ends in a carriage return alone; save it with line feeds",
    "field larger than field limit": "has a cell that is too long, or a quote that is not closed",
}
"""What the `csv` module says of what a person can mend, by its first words."""


def _csv_problem(error: csv.Error) -> str:
    said = str(error)
    return next((problem for words, problem in _CSV_PROBLEMS.items() if said.startswith(words)), said)


def _columns(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        columns = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        refuse(name, f"has no header that can be read: the line {_csv_problem(error)}")
    if not _is_utf8("".join(columns)):
        refuse(name, "is not UTF-8; save it as UTF-8")
    if any("\0" in column for column in columns):
        refuse(name, "holds zero bytes in its first line, as UTF-16 does; save it as UTF-8")
    if "uri" not in columns:
        found = ", ".join(columns)[:200] or "none"
        refuse(name, f"has no column 'uri' in its first line; columns, separated by commas: {found}")
    doubled = sorted(column for column, count in Counter(columns).items() if column and count > 1)
    if doubled:
        refuse(name, f"has two columns called {doubled[0]!r}")
    return columns


def _csv_item(position: int, line: int, columns: list[str], row: list[str], base: str) -> Item:
    if len(row) != len(columns):
        return broken_item(position, f"line {line}: has {len(row)} cells, the header has {len(columns)}")
    if not _is_utf8("".join(row)):
        return broken_item(position, f"line {line}: is not UTF-8")
    cells = {column: read_back(cell) for column, cell in zip(columns, row, strict=True) if column and cell}
    item_id, uri = cells.pop("id", ""), cells.pop("uri", "")
    return item_of(position, f"line {line}", item_id, uri, {key: number_or_text(cell) for key, cell in cells.items()}, base)


def jsonl_items(stream: IO[bytes], name: str, base: str) -> Iterator[Item]:
    position = 0
    for number, line in enumerate(_lines(stream, name), start=1):
        if line.strip():
            yield _jsonl_item(position, number, line, base)
            position += 1


def uri_items(stream: IO[bytes], name: str, base: str) -> Iterator[Item]:
    position = 0
    for number, line in enumerate(_lines(stream, name), start=1):
        text = line.rstrip(b"\r\n")
        if not text.strip():
            continue
        uri = text.decode("utf-8", "surrogateescape")
        if len(line) >= MAX_LINE_BYTES:
            yield broken_item(position, f"line {number}: is longer than {MAX_LINE_BYTES} bytes")
        elif not _is_utf8(uri):
            yield broken_item(position, f"line {number}: is not UTF-8")
        else:
            yield item_of(position, f"line {number}", "", uri, {}, base)
        position += 1


def _jsonl_item(position: int, line: int, text: bytes, base: str) -> Item:
    if len(text) >= MAX_LINE_BYTES:
        return broken_item(position, f"line {line}: is longer than {MAX_LINE_BYTES} bytes")
    try:
        fields = json.loads(text.decode(), parse_constant=no_constant)
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
    """The item that stands at `where` in a list, or a broken one."""
    if not uri:
        return broken_item(position, f"{where}: has no 'uri'", item_id=item_id)
    if not _is_utf8(uri) or "\0" in uri:
        return broken_item(position, f"{where}: 'uri' cannot be used", uri=uri, item_id=item_id)
    return checked_item(position, item_id, resolve_uri(uri, base), metadata, where=f"{where}: ")


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Lines, the byte order mark taken off. What a line has beyond `MAX_LINE_BYTES` is dropped: it cannot be used anyway."""
    line = stream.readline(MAX_LINE_BYTES)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(name, "is UTF-16; save it as UTF-8")
    line = line.removeprefix(b"\xef\xbb\xbf")
    while line:
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        yield line
        line = stream.readline(MAX_LINE_BYTES)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def refuse(name: str, problem: str) -> NoReturn:
    raise InvalidArgument("manifest", f"{name} {problem}", reason="MANIFEST_INVALID")
