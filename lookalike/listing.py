"""What a source holds, as a stream of items: a folder of pictures, or a CSV or JSONL manifest. Standard library only.

Used by the indexer on the workers, and by the command line before an upload. An item that cannot be used is an `Item` with a
problem, never an exception; exceptions are for sources that cannot be read at all. Memory does not grow with the source, but
for the names of one folder, which are sorted.

Values of a CSV are text, except that a plain decimal number (`7`, `-2.50`; not `007`, `1e3`, `+1`) is a number, so that filters
such as `year >= 2019` work. An empty cell is an absent key. JSONL keeps its types.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from lookalike.errors import InvalidArgument, NotFound
from lookalike.names import MAX_METADATA_BYTES, check_id, check_uri, id_from_uri

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
ITEM_INVALID = "ITEM_INVALID"
"""Reason of an item whose line, id, URI or metadata cannot be used."""
SOURCE_UNREADABLE = "SOURCE_UNREADABLE"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a source. `position` counts from 0; `id` is final, "" only with a problem; `origin` is what people call it."""

    position: int
    id: str
    uri: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    problem_reason: str = ""
    origin: str = ""


def broken_item(position: int, problem: str, *, uri: str = "", item_id: str = "", reason: str = ITEM_INVALID) -> Item:
    """An item that cannot be used, and why. What is shown of it is cut to what can be stored."""
    return Item(position, _cut(item_id, 256), _cut(uri, 2048), {}, _cut(problem, 1000), reason)


def checked_item(position: int, item_id: str, uri: str, metadata: Mapping[str, object], *, where: str = "") -> Item:
    """An item whose id, URI and metadata can be stored, its id derived from the URI where it has none; else a broken one."""
    try:
        check_uri("uri", uri)
        if item_id:
            check_id("id", item_id)
        check_metadata(metadata)
    except InvalidArgument as error:
        return broken_item(position, f"{where}{error.message}", uri=uri, item_id=item_id)
    return Item(position, item_id or id_from_uri(uri), uri, metadata)


def check_metadata(metadata: Mapping[str, object]) -> None:
    """Raise `InvalidArgument` ("metadata") unless it is at most 16 KiB as JSON, in UTF-8, with numbers of at most 64 bits."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size_bytes = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("metadata", f"is not JSON: {error}") from error
    if size_bytes > MAX_METADATA_BYTES:
        raise InvalidArgument("metadata", f"is {size_bytes} bytes long as JSON; at most {MAX_METADATA_BYTES} are allowed")
    if not _fits(metadata):
        raise InvalidArgument("metadata", "holds a whole number of more than 64 bits; write it as text")


def list_folder(root: Path, *, labels_from_folders: bool) -> Iterator[Item]:
    """The pictures (by suffix) under `root` and its sub-folders, in order of path; hidden files and folders are left out.

    With `labels_from_folders`, metadata `label` is the name of the sub-folder of `root` that the picture is in, however deep;
    a picture in `root` itself has none. Links to folders are not followed. Raises `NotFound` ("source"), `InvalidArgument`.
    """
    if not root.exists():
        raise NotFound("source", str(root), hint="there is no such folder")
    if not root.is_dir():
        raise InvalidArgument("source", f"{root} is not a folder")
    position = 0
    for path, problem in _walk(root.absolute()):
        uri = path.as_uri()
        if problem:
            yield broken_item(position, problem, uri=uri, reason=SOURCE_UNREADABLE)
        else:
            parts = path.relative_to(root.absolute()).parts
            label = {"label": os.fsencode(parts[0]).decode("utf-8", "replace")} if len(parts) > 1 else {}
            yield checked_item(position, "", uri, label if labels_from_folders else {})
        position += 1


def folder_of(uri: str) -> str:
    """The folder that a manifest's relative URIs are taken from, as a `file://` URI."""
    return path_of(uri).parent.as_uri()


def path_of(uri: str) -> Path:
    """The local path behind a `file://` URI or an absolute path. Raises `InvalidArgument` ("uri") for anything else."""
    if not _SCHEME.match(uri):
        path = Path(uri)
    else:
        parts = urlsplit(uri)
        if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
            raise InvalidArgument("uri", f"{_cut(uri, 80)!r} does not name a local file")
        # Not `parts.path` alone: in a file's name `?` and `#` may stand unquoted.
        path = Path(os.fsdecode(unquote_to_bytes(uri.split("://", 1)[1].removeprefix(parts.netloc))))
    if not path.is_absolute() or "\0" in str(path):
        raise InvalidArgument("uri", f"{_cut(uri, 80)!r} is not an absolute path or a URI")
    return path


def resolve_uri(uri: str, base: str) -> str:
    """`uri` as it stands in a manifest -> a URI. A path, absolute or relative to the folder `base`, becomes `file://`."""
    if _SCHEME.match(uri):
        return uri
    return Path(os.path.normpath(path_of(base) / PurePosixPath(uri))).as_uri()


def number_or_text(cell: str) -> str | int | float:
    """A cell of a CSV: a plain decimal number, if it is one that 64 bits hold exactly or nearly, else the text."""
    if not _PLAIN_NUMBER.fullmatch(cell):
        return cell
    if "." in cell:
        return float(cell)
    return int(cell) if int(cell) in _INT64 else cell


_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,17})?")


def at(item: Item, position: int) -> Item:
    """The same item at another place."""
    return replace(item, position=position)


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


def _fits(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_fits(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(_fits(inner) for inner in value)
    return not isinstance(value, int) or value in _INT64


def _cut(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")
