"""The pictures of a folder, or of a prefix of an object store. Standard library only."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from lookalike.errors import InvalidArgument, NotFound, Unavailable
from lookalike.items import SOURCE_UNREADABLE, Item, broken_item, checked_item, file_uri

_DECODED = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_NOT_DECODED = frozenset({".avif", ".heic", ".heif", ".jp2", ".jxl"})
"""What cameras and phones write besides. Listed, so that each fails with its reason, and no folder seems smaller than it is."""
IMAGE_SUFFIXES = _DECODED | _NOT_DECODED
_SORTED_IN_MEMORY = 100_000
"""Names of one folder; some 20 MB. More are sorted in a temporary file."""


def is_picture(name: str) -> bool:
    """Whether a file is a picture, told by its suffix."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a name, millions of times


def is_hidden(name: str) -> bool:
    """Whether a part of a path begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def list_folder(root: Path, *, labels_from_folders: bool) -> Iterator[Item]:
    """The pictures (by suffix) under `root` and its sub-folders, in order of path; hidden files and folders are left out.

    With `labels_from_folders`, metadata `label` is the name of the sub-folder of `root` that the picture is in, however deep;
    a picture in `root` itself has none. Links to folders are not followed. Raises `NotFound` ("source"), `InvalidArgument`,
    `Unavailable` where the names of a folder of very many cannot be sorted for want of room.
    """
    top = checked_folder(root)
    for position, (path, problem) in enumerate(_walk(str(top), is_picture)):
        uri = file_uri(path)
        if problem:
            yield broken_item(position, problem, uri=uri, reason=SOURCE_UNREADABLE)
            continue
        first, slash, _ = path[len(str(top)) :].lstrip(os.sep).partition(os.sep)
        labelled = labels_from_folders and slash
        yield checked_item(position, "", uri, {"label": os.fsencode(first).decode("utf-8", "replace")} if labelled else {})


def list_keys(uri: str, prefix: str, keys: Iterable[str], *, labels_from_folders: bool) -> Iterator[Item]:
    """As `list_folder`, of the objects `keys` of the bucket `uri` (`s3://bucket`), all of which begin with `prefix`."""
    position = 0
    for key in keys:
        below = key[len(prefix) :].lstrip("/")
        if is_hidden(below) or not is_picture(key):
            continue
        first, slash, _ = below.partition("/")
        yield checked_item(position, "", f"{uri}/{key}", {"label": first} if labels_from_folders and slash else {})
        position += 1


def files_under(root: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[Path, str]]:
    """The files under `root` whose names are wanted, in order of path; and, with a problem, the folders that cannot be read.

    Raises as `list_folder` does.
    """
    for path, problem in _walk(str(checked_folder(root)), wanted):
        yield Path(path), problem


def checked_folder(root: Path) -> Path:
    """`root`, absolute. Raises `NotFound` ("source"), `InvalidArgument`."""
    if not root.exists():
        raise NotFound("source", str(root), hint="there is no such folder")
    if not root.is_dir():
        raise InvalidArgument("source", f"{root} is not a folder")
    return Path(os.path.normpath(root.absolute()))


def _walk(folder: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Paths of the files whose names are wanted; and, with a problem, of the folders that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = (
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".") and (wanted(entry.name) or entry.is_dir(follow_symlinks=False))
            )
            names = _sorted(found)
            first = next(names, None)
    except OSError as error:
        yield folder, f"the folder cannot be read: {error.strerror}"
        return
    if first is None:
        return
    for name, is_folder in chain((first,), names):
        path = os.path.join(folder, os.fsdecode(name))  # noqa: PTH118 - millions of times
        if is_folder:
            yield from _walk(path, wanted)
        elif not os.path.isdir(path):  # noqa: PTH112 - a link to a folder is not followed
            yield path, ""


def _sorted(found: Iterator[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
    """The names in order of their bytes. All of them have been read when the first one comes."""
    few = list(islice(found, _SORTED_IN_MEMORY))
    if len(few) < _SORTED_IN_MEMORY:
        yield from sorted(few)
        return
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as names:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA cache_size=-16384", "BEGIN"):
                names.execute(statement)
            names.execute("CREATE TABLE names (name BLOB PRIMARY KEY, folder INTEGER) WITHOUT ROWID")
            names.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", chain(few, found))
            few.clear()
            yield from ((name, bool(folder)) for name, folder in names.execute("SELECT name, folder FROM names ORDER BY name"))
    except sqlite3.Error as error:
        raise Unavailable("temporary folder", str(error)) from error
