"""The pictures of tar files, WebDataset's shards among them. Standard library only.

A picture is known by its suffix. Its metadata is in a `.json` (an object) and a `.txt` (metadata `caption`) anywhere in the
archive, which have the picture's own name, or else, as in WebDataset, its name up to the first dot. The members of an archive
are gathered in a temporary SQLite database, so that memory does not grow with the archive.
"""

from __future__ import annotations

import posixpath
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import IO, Any

from lookalike.errors import FailedPrecondition, InvalidArgument, Unavailable
from lookalike.items import SOURCE_INCOMPLETE, Item, broken_item, member_uri
from lookalike.listing.choosing import EVERYTHING_SEEN, Choice, Chooser, left_out_item
from lookalike.listing.folders import picture_item
from lookalike.listing.tars import walk
from lookalike.listing.text import MAX_LINE_BYTES
from lookalike.metadata import read_json
from lookalike.picture_formats import is_picture

_SIDES = (".json", ".txt")
_MOST_SIDES = 8
"""Bounds the files of one sample that make its metadata."""
_CHECK_EVERY = 16
_MOST_NAME_BYTES = 4096
"""Bounds the kept part of a member's name. No file system has a longer path; the beginning of a longer name identifies it."""
_PACKED_FROM_BYTES = 1024
"""The length from which metadata is packed in the database, so that an archive that unpacks to much takes no more room
there."""


def list_archive(
    stream: IO[bytes],
    name: str,
    uri: str,
    *,
    start: int = 0,
    check: Callable[[], None] = lambda: None,
    choice: Choice = EVERYTHING_SEEN,
) -> Iterator[Item]:
    """The pictures of the tar in `stream` (of a compressed tar: its unpacked content, see `plain_stream`), in its order. A
    picture whose name `choice` leaves out is an item with a reason of `LEFT_OUT`.

    `uri` names the archive; positions count from `start`; `check` is called now and then, and may raise. `offset` of an item is
    its place in the stream. Where the tar breaks off, the last item is SOURCE_INCOMPLETE. Raises `InvalidArgument` ("archive")
    ARCHIVE_INVALID for a file that is not a tar, and `Unavailable` without room for a temporary file.
    """
    position = start
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as members:
            end = _gather(members, stream, name, check)
            chooser = Chooser(choice)
            for picture in members.execute("SELECT name, offset, size, problem FROM pictures ORDER BY number"):
                yield _item(position, name, uri, _Picture(*picture), members, chooser)
                position += 1
    except sqlite3.Error as error:
        raise Unavailable("temporary folder", str(error)) from error
    if end:
        yield broken_item(position, end, uri=uri, reason=SOURCE_INCOMPLETE)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture of an archive, and the place of its bytes."""

    name: bytes
    offset: int
    size_bytes: int
    problem: str


@dataclass(frozen=True, slots=True)
class _Name:
    """`set/7.seg.png`: `stem` is `set/7.seg`, `sample` `set/7`, `middle` `seg`, `kind` `.png`."""

    stem: bytes
    sample: bytes
    middle: str
    kind: str

    @classmethod
    def of(cls, member: str) -> _Name:
        folder, last = posixpath.split(member)
        stem, kind = posixpath.splitext(last)
        hidden = "." if stem.startswith(".") else ""
        first, _, middle = stem.removeprefix(hidden).partition(".")
        whole, sample = (f"{folder}/{part}".encode("utf-8", "surrogateescape") for part in (stem, hidden + first))
        return cls(whole, sample, middle, kind.lower())


_TABLES = (
    "PRAGMA journal_mode=OFF",
    "PRAGMA cache_size=-16384",
    "CREATE TABLE pictures (number INTEGER PRIMARY KEY, stem BLOB, name BLOB, offset INTEGER, size INTEGER, problem TEXT)",
    "CREATE INDEX pictures_stems ON pictures (stem)",
    "CREATE TABLE sides (stem BLOB, kind TEXT, sample BLOB, middle TEXT, content BLOB, PRIMARY KEY (stem, kind)) WITHOUT ROWID",
    "CREATE INDEX sides_samples ON sides (sample, kind)",
    "BEGIN",
)


def _gather(members: sqlite3.Connection, stream: IO[bytes], name: str, check: Callable[[], None]) -> str:
    """Read the whole archive. Returns the place where it broke off, if it did."""
    for statement in _TABLES:
        members.execute(statement)
    try:
        for number, (member, content) in enumerate(walk(stream, name, _side_bytes)):
            if number % _CHECK_EVERY == 0:
                check()
            _note(members, member, content)
    except FailedPrecondition as error:
        if error.reason != SOURCE_INCOMPLETE:
            raise
        return error.message
    return ""


def _note(members: sqlite3.Connection, member: tarfile.TarInfo, content: bytes) -> None:
    raw = member.name.encode("utf-8", "surrogateescape")
    name = _Name.of(member.name[:_MOST_NAME_BYTES])
    if name.kind in _SIDES and member.isreg():
        if len(raw) <= _MOST_NAME_BYTES:
            row = (name.stem, name.kind, name.sample, name.middle, _packed(content))
            members.execute("INSERT OR IGNORE INTO sides VALUES (?, ?, ?, ?, ?)", row)
    elif is_picture(member.name):
        place = (name.stem, raw[:_MOST_NAME_BYTES], member.offset_data, member.size, _unusable(member))
        members.execute("INSERT INTO pictures (stem, name, offset, size, problem) VALUES (?, ?, ?, ?, ?)", place)


def _unusable(member: tarfile.TarInfo) -> str:
    """The reason why the bytes of a picture cannot be read at their place; "" where they can."""
    if not member.isreg():
        return "is a link to another file; pack the archive with what links name (tar --dereference --hard-dereference)"
    return "is stored as a sparse file; pack the archive without (tar without --sparse)" if member.sparse is not None else ""


def _side_bytes(member: tarfile.TarInfo) -> int:
    """The number of bytes of a member to read for metadata: one more than allowed shows that the member is too long."""
    return MAX_LINE_BYTES + 1 if member.name.lower().endswith(_SIDES) else 0


def _item(position: int, archive: str, uri: str, picture: _Picture, members: sqlite3.Connection, chooser: Chooser) -> Item:
    member = picture.name.decode("utf-8", "surrogateescape")
    place = member_uri(member, uri)
    if reason := chooser.reason(member):
        return left_out_item(position, place, reason)
    shown = f"{archive}: {picture.name.decode('utf-8', 'replace')[:200]}: "
    if picture.problem:
        return broken_item(position, shown + picture.problem, uri=place)
    try:
        metadata = _metadata(members, _Name.of(member))
    except InvalidArgument as error:
        return broken_item(position, shown + error.message, uri=place)
    item = picture_item(position, place, member, metadata, where=shown)
    return item if item.problem else replace(item, offset=picture.offset, size_bytes=picture.size_bytes)


def _metadata(members: sqlite3.Connection, picture: _Name) -> dict[str, Any]:
    """The metadata of a picture. Raises `InvalidArgument` for files that hold none."""
    metadata: dict[str, Any] = {}
    for middle, content in _beside(members, picture, ".json"):
        found = _json(f".{middle}.json" if middle else ".json", content)
        if not isinstance(found, dict) and not middle:
            raise InvalidArgument("its .json", "is not a JSON object")
        metadata = (found if isinstance(found, dict) else {middle: found}) | metadata
    for _, content in _beside(members, picture, ".txt")[:1]:
        metadata.setdefault("caption", _caption(content))
    return metadata


def _beside(members: sqlite3.Connection, picture: _Name, kind: str) -> list[tuple[str, bytes]]:
    """(the name between sample and kind, content) of the picture's own file of that kind: `22.05.json` for `22.05.png`; else of
    the sample's file: `7.json` for `7.seg.png`; else of all files of the sample that belong to no other picture: `7.cls.json`.
    """
    own = "SELECT content FROM sides WHERE stem = ? AND kind = ?"
    if found := members.execute(own, (picture.stem, kind)).fetchone():
        return [("", _unpacked(found[0]))]
    part = not picture.middle or picture.middle[0].isalpha()
    if not part and members.execute("SELECT 1 FROM pictures WHERE stem = ?", (picture.sample,)).fetchone():
        return []  # `22.05.png` beside `22.png` is a picture of its own.
    if found := members.execute(own, (picture.sample, kind)).fetchone():
        return [("", _unpacked(found[0]))]
    rows = members.execute(_OTHERS, (picture.sample, kind, _MOST_SIDES))
    return [(middle, _unpacked(content)) for middle, content in rows]


_OTHERS = """
SELECT middle, content FROM (SELECT * FROM sides WHERE sample = ? AND kind = ? ORDER BY stem LIMIT 64) AS some
WHERE middle GLOB '[A-Za-z]*' AND NOT EXISTS (SELECT 1 FROM pictures WHERE pictures.stem = some.stem)
ORDER BY stem LIMIT ?
"""
"""The query looks at 64 files at most: a sample may have a million files, and as many pictures that would each read them."""


def _packed(content: bytes) -> bytes:
    return zlib.compress(content, 1) if len(content) > _PACKED_FROM_BYTES else b"=" + content


def _unpacked(content: bytes) -> bytes:
    return content[1:] if content.startswith(b"=") else zlib.decompress(content)


def _json(kind: str, content: bytes) -> Any:
    try:
        return read_json(_text(kind, content))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"its {kind}", f"is not JSON: {error}") from error


def _caption(content: bytes) -> str:
    return _text(".txt", content).strip()


def _text(kind: str, content: bytes) -> str:
    if len(content) > MAX_LINE_BYTES:
        raise InvalidArgument(f"its {kind}", f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"its {kind}", "is not UTF-8") from error
