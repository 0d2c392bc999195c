"""What a source holds, as a stream of items: a folder of pictures, or a CSV or JSONL manifest. Standard library only.

Used by the indexer on the workers, and by the command line before an upload. An item that cannot be used is an `Item` with a
problem, never an exception; exceptions are for sources that cannot be read at all. Memory does not grow with the source, but
for the names of one folder, which are sorted.

Values of a CSV are text, except that a plain decimal number (`7`, `-2.50`; not `007`, `1e3`, `+1`) is a number, so that filters
such as `year >= 2019` work. An empty cell is an absent key. JSONL keeps its types. A path in a manifest stands for itself:
nothing in it is percent-decoded; a URI is taken as it is.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import SOURCE_UNREADABLE, Item, broken_item, checked_item, open_file, resolve_uri

__all__ = ["Item", "list_folder", "list_manifest"]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_LINE_BYTES = 256 * 1024
"""Room for the longest id, URI and metadata, each byte of it escaped."""
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
"""At most 18 digits before the point: any such whole number fits into 64 bits."""


def list_folder(root: Path, *, labels_from_folders: bool) -> Iterator[Item]:
    """The pictures (by suffix) under `root` and its sub-folders, in order of path; hidden files and folders are left out.

    With `labels_from_folders`, metadata `label` is the name of the sub-folder of `root` that the picture is in, however deep;
    a picture in `root` itself has none. Links to folders are not followed. Raises `NotFound` ("source"), `InvalidArgument`.
    """
    if not root.exists():
        raise NotFound("source", str(root), hint="there is no such folder")
    if not root.is_dir():
        raise InvalidArgument("source", f"{root} is not a folder")
    top = Path(os.path.normpath(root.absolute()))
    for position, (path, problem) in enumerate(_walk(top)):
        if problem:
            yield broken_item(position, problem, uri=path.as_uri(), reason=SOURCE_UNREADABLE)
            continue
        parts = path.relative_to(top).parts
        label = {"label": os.fsencode(parts[0]).decode("utf-8", "replace")} if len(parts) > 1 else {}
        yield checked_item(position, "", path.as_uri(), label if labels_from_folders else {})


def list_manifest(source: Path | IO[bytes], name: str, base: str) -> Iterator[Item]:
    """The items of a CSV (with a header) or JSONL file, told apart by the suffix of `name`; `source` is its path or bytes.

    `uri` is required, `id` optional, every other column or key is metadata. Relative URIs are taken from the folder `base`, a
    `file://` URI. Lines that cannot be used become items with a problem that names the line (from 1). Raises `InvalidArgument`
    ("manifest") for a file that cannot be read at all: another suffix, not UTF-8, no `uri` column; `NotFound` ("source").
    """
    suffix = Path(name).suffix.lower()
    if suffix not in (".csv", ".jsonl", ".ndjson"):
        _refuse(name, "must be a CSV or JSONL file, named .csv, .jsonl or .ndjson")
    read = _csv_items if suffix == ".csv" else _jsonl_items
    if not isinstance(source, Path):
        yield from read(source, name, base)
        return
    try:
        with open_file(source) as stream:
            yield from read(stream, name, base)
    except FailedPrecondition as error:
        raise InvalidArgument("manifest", error.message, reason="MANIFEST_INVALID") from error
    except OSError as error:
        _refuse(name, f"cannot be read: {error.strerror}")


def number_or_text(cell: str) -> str | int | float:
    """A cell of a CSV: a plain decimal number as a number, anything else as the text it is."""
    if not _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return float(cell) if "." in cell else int(cell)


def _csv_items(stream: IO[bytes], name: str, base: str) -> Iterator[Item]:
    # Bytes that are not UTF-8 come through as surrogates, and fail their own line only.
    lines = (line.decode("utf-8", "surrogateescape") for line in _lines(stream, name))
    reader = csv.reader(lines, strict=True)
    columns = _columns(reader, name)
    position = 0
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = f" to {reader.line_num}" if reader.line_num > line else ""
            yield broken_item(position, f"line {line}{last}: {error}")
            position += 1
            continue
        if row:
            yield _csv_item(position, line, columns, row, base)
            position += 1


def _columns(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        columns = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        _refuse(name, f"has no header that can be read: {error}")
    if not _is_utf8("".join(columns)):
        _refuse(name, "is not UTF-8; save it as UTF-8")
    if "uri" not in columns:
        found = ", ".join(columns)[:200] or "none"
        _refuse(name, f"has no column 'uri' in its first line; columns, separated by commas: {found}")
    doubled = sorted({column for column in columns if column and columns.count(column) > 1})
    if doubled:
        _refuse(name, f"has two columns called {doubled[0]!r}")
    return columns


def _csv_item(position: int, line: int, columns: list[str], row: list[str], base: str) -> Item:
    if len(row) != len(columns):
        return broken_item(position, f"line {line}: has {len(row)} cells, the header has {len(columns)}")
    if not _is_utf8("".join(row)):
        return broken_item(position, f"line {line}: is not UTF-8")
    cells = {column: cell for column, cell in zip(columns, row, strict=True) if column and cell}
    item_id, uri = cells.pop("id", ""), cells.pop("uri", "")
    return _item(position, line, item_id, uri, {key: number_or_text(cell) for key, cell in cells.items()}, base)


def _jsonl_items(stream: IO[bytes], name: str, base: str) -> Iterator[Item]:
    position = 0
    for number, line in enumerate(_lines(stream, name), start=1):
        if line.strip():
            yield _jsonl_item(position, number, line, base)
            position += 1


def _jsonl_item(position: int, line: int, text: bytes, base: str) -> Item:
    if len(text) >= MAX_LINE_BYTES:
        return broken_item(position, f"line {line}: is longer than {MAX_LINE_BYTES} bytes")
    try:
        fields = json.loads(text.decode(), parse_constant=_no_constant)
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
    return _item(position, line, item_id or "", uri or "", fields, base)


def _item(position: int, line: int, item_id: str, uri: str, metadata: dict[str, Any], base: str) -> Item:
    if not uri:
        return broken_item(position, f"line {line}: has no 'uri'", item_id=item_id)
    if not _is_utf8(uri) or "\0" in uri:
        return broken_item(position, f"line {line}: 'uri' cannot be used", uri=uri, item_id=item_id)
    return checked_item(position, item_id, resolve_uri(uri, base), metadata, where=f"line {line}: ")


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Lines, the byte order mark taken off. What a line has beyond `MAX_LINE_BYTES` is dropped: it cannot be used anyway."""
    line = stream.readline(MAX_LINE_BYTES)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(name, "is UTF-16; save it as UTF-8")
    line = line.removeprefix(b"\xef\xbb\xbf")
    while line:
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        yield line
        line = stream.readline(MAX_LINE_BYTES)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name[0] != ".")
    except OSError as error:
        yield folder, f"the folder cannot be read: {error.strerror}"
        return
    for name, is_folder in names:
        if is_folder:
            yield from _walk(folder / name)
        elif Path(name).suffix.lower() in IMAGE_SUFFIXES and not (folder / name).is_dir():
            yield folder / name, ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(name: str, problem: str) -> NoReturn:
    raise InvalidArgument("manifest", f"{name} {problem}", reason="MANIFEST_INVALID")
