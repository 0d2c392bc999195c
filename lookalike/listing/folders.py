"""The pictures of a folder, or of a prefix of an object store. Standard library only."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from lookalike.errors import InvalidArgument, NotFound, Unavailable
from lookalike.items import IMAGE_FORMAT_UNKNOWN, SOURCE_UNREADABLE, Item, broken_item, checked_item, file_uri
from lookalike.listing.choosing import EVERYTHING_SEEN, Choice, Chooser, left_out_item
from lookalike.picture_formats import is_picture, kind_of

_COUNTED = 100_000
"""Bounds the entries of a folder that is left out which are read to count its pictures: a folder of snapshots holds the source
many times, and must take no more than a few seconds."""
_SORTED_IN_MEMORY = 100_000
"""Bounds the names of a folder that are sorted in memory, some 20 MB. More names are sorted in a temporary file."""


def list_folder(root: Path, *, labels_from_folders: bool, choice: Choice = EVERYTHING_SEEN) -> Iterator[Item]:
    """The pictures (by suffix) under `root` and its sub-folders, in order of path.

    With `labels_from_folders`, metadata `label` is the name of the sub-folder of `root` that the picture is in, however deep; a
    picture in `root` itself has no label. A picture that `choice` leaves out is an item with a reason of `LEFT_OUT`; a picture
    of a kind that is not read is an item with a problem. Links to folders are not followed. Raises `NotFound` ("source"),
    `InvalidArgument`, and `Unavailable` without room to sort the names of a very large folder.
    """
    top = checked_folder(root)
    for position, found in enumerate(_walk(str(top), is_picture, Chooser(choice))):
        uri = file_uri(found.path)
        first, slash, _ = found.path[len(str(top)) :].lstrip(os.sep).partition(os.sep)
        labelled = labels_from_folders and slash
        metadata = {"label": os.fsencode(first).decode("utf-8", "replace")} if labelled else {}
        yield found.item(position, uri) or picture_item(position, uri, found.path, metadata)


def list_keys(
    uri: str, prefix: str, keys: Iterable[str], *, labels_from_folders: bool, choice: Choice = EVERYTHING_SEEN
) -> Iterator[Item]:
    """As `list_folder`, for the objects `keys` of the bucket `uri` (`s3://bucket`), all of which begin with `prefix`."""
    position, chooser = 0, Chooser(choice)
    for key in keys:
        if not is_picture(key):
            continue
        below = key[len(prefix) :].lstrip("/")
        if reason := chooser.reason(below):
            yield left_out_item(position, f"{uri}/{key}", reason)
        else:
            first, slash, _ = below.partition("/")
            yield picture_item(position, f"{uri}/{key}", key, {"label": first} if labels_from_folders and slash else {})
        position += 1


def picture_item(position: int, uri: str, name: str, metadata: Mapping[str, object], *, where: str = "") -> Item:
    """The item of a picture called `name`; with a problem where its kind is not read."""
    kind = kind_of(name)
    if kind is not None and not kind.read:
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name
        problem = f"is {kind.name} ({suffix[:20]}), a kind of picture that is not read"
        return checked_item(position, "", uri, metadata, where=where, problem=problem, reason=IMAGE_FORMAT_UNKNOWN)
    return checked_item(position, "", uri, metadata, where=where)


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder that cannot be read, for its `problem`. `reason` is the reason why it is left out, or ""."""

    path: str
    problem: str = ""
    reason: str = ""

    def item(self, position: int, uri: str) -> Item | None:
        """The item of a file or folder that cannot be read or is left out; else None."""
        if self.problem:
            return broken_item(position, self.problem, uri=uri, reason=SOURCE_UNREADABLE)
        return left_out_item(position, uri, self.reason) if self.reason else None


def files_under(root: Path, wanted: Callable[[str], bool], choice: Choice = EVERYTHING_SEEN) -> Iterator[Found]:
    """The files under `root` whose names are wanted, in order of path, also those that are left out, and the folders that
    cannot be read. Raises as `list_folder` does.
    """
    return _walk(str(checked_folder(root)), wanted, Chooser(choice))


def checked_folder(root: Path) -> Path:
    """`root`, absolute. Raises `NotFound` ("source"), `InvalidArgument`."""
    if not root.exists():
        raise NotFound("source", str(root), hint="there is no such folder")
    if not root.is_dir():
        raise InvalidArgument("source", f"{root} is not a folder")
    return Path(os.path.normpath(root.absolute()))


@dataclass(slots=True)
class _Open:
    """A folder under way. In a folder that is left out, `left` more entries are read."""

    path: str
    parts: tuple[str, ...]
    reason: str = ""
    left: list[int] = field(default_factory=list)
    entries: Iterator[_Entry] = field(default_factory=lambda: iter(()))


_Entry = tuple[bytes, bool, str]
"""Name, whether it is a folder, and the reason why it is left out."""


def _walk(top: str, wanted: Callable[[str], bool], chooser: Chooser) -> Iterator[Found]:
    """Files whose names are wanted, and folders that cannot be read, in order. Without recursion, for folders of any depth."""
    opened = [_Open(top, ())]
    opened[0].entries = _entries(opened[0], wanted, chooser)
    while opened:
        here = opened[-1]
        try:
            entry = next(here.entries, None)
        except OSError as error:
            opened.pop()
            if not here.reason:
                yield Found(here.path, f"the folder cannot be read: {error.strerror}")
            continue
        if entry is None:
            opened.pop()
            continue
        raw, is_folder, reason = entry
        name = os.fsdecode(raw)
        path = os.path.join(here.path, name)  # noqa: PTH118 - millions of times
        if is_folder:
            inner = _Open(path, (*here.parts, name), reason, here.left if here.reason else [_COUNTED])
            inner.entries = _entries(inner, wanted, chooser)
            opened.append(inner)
        elif not os.path.isdir(path):  # noqa: PTH112 - a link to a folder is not followed
            yield Found(path, "", reason)


def _entries(folder: _Open, wanted: Callable[[str], bool], chooser: Chooser) -> Iterator[_Entry]:
    """The wanted files and the folders of a folder, in order. Raises `OSError`, before the first, where it cannot be read."""
    with os.scandir(folder.path) as entries:
        yield from _sorted(_looked_at(folder, entries, wanted, chooser))


def _looked_at(
    folder: _Open, entries: Iterable[os.DirEntry[str]], wanted: Callable[[str], bool], chooser: Chooser
) -> Iterator[_Entry]:
    for entry in entries:
        if folder.reason:
            folder.left[0] -= 1
            if folder.left[0] < 0:
                return
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder or wanted(entry.name):
            reason = folder.reason or chooser.of_entry((*folder.parts, entry.name), is_folder=is_folder)
            yield os.fsencode(entry.name), is_folder, reason


def _sorted(found: Iterator[_Entry]) -> Iterator[_Entry]:
    """The names in order of their bytes. All of them have been read when the first one comes."""
    few = list(islice(found, _SORTED_IN_MEMORY))
    if len(few) < _SORTED_IN_MEMORY:
        yield from sorted(few)
        return
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as names:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA cache_size=-16384", "BEGIN"):
                names.execute(statement)
            names.execute("CREATE TABLE names (name BLOB PRIMARY KEY, folder INTEGER, reason TEXT) WITHOUT ROWID")
            names.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", chain(few, found))
            few.clear()
            ordered = names.execute("SELECT name, folder, reason FROM names ORDER BY name")
            yield from ((name, bool(folder), reason) for name, folder, reason in ordered)
    except sqlite3.Error as error:
        raise Unavailable("temporary folder", str(error)) from error
