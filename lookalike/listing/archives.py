"""What tar files hold, WebDataset's shards among them. Standard library only.

Members that share a name up to the first dot of its last part belong together, wherever they stand: pictures (by suffix), and
their metadata in `.json` (an object) or `.txt` (metadata `caption`). What one archive holds is gathered in a temporary database
of SQLite's, so that memory does not grow with it.
"""

from __future__ import annotations

import json
import posixpath
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import IO, Any

from lookalike.errors import FailedPrecondition, InvalidArgument, Unavailable
from lookalike.items import SOURCE_INCOMPLETE, Item, broken_item, checked_item, member_uri
from lookalike.listing.folders import is_hidden, is_picture
from lookalike.listing.tars import walk
from lookalike.listing.text import MAX_LINE_BYTES, no_constant

_CHECK_EVERY = 256


def list_archive(
    stream: IO[bytes], name: str, uri: str, *, start: int = 0, check: Callable[[], None] = lambda: None
) -> Iterator[Item]:
    """The pictures of the tar in `stream` (of a compressed one: what it holds, see `plain_stream`), in its order.

    `uri` names the archive; positions count from `start`; `check` is called now and then, and may raise. `offset` of an item is
    its place in the stream. Where the tar breaks off, a last item says so: it is SOURCE_INCOMPLETE. Raises `InvalidArgument`
    ("archive") ARCHIVE_INVALID for what is no tar, `Unavailable` where there is no room for a temporary file.
    """
    position = start
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as members:
            end = _gather(members, stream, name, check)
            for row in members.execute(_JOINED):
                yield _item(position, name, uri, *row)
                position += 1
    except sqlite3.Error as error:
        raise Unavailable("temporary folder", str(error)) from error
    if end:
        yield broken_item(position, end, uri=uri, reason=SOURCE_INCOMPLETE)


_JOINED = """
SELECT name, offset, size, problem,
    (SELECT content FROM sides WHERE sides.key = pictures.key AND kind = '.json'),
    (SELECT content FROM sides WHERE sides.key = pictures.key AND kind = '.txt')
FROM pictures ORDER BY number
"""


def _gather(members: sqlite3.Connection, stream: IO[bytes], name: str, check: Callable[[], None]) -> str:
    """Read the archive through. Returns where it broke off, if it did."""
    for statement in (
        "PRAGMA journal_mode=OFF",
        "PRAGMA cache_size=-16384",
        "CREATE TABLE pictures (number INTEGER PRIMARY KEY, key BLOB, name BLOB, offset INTEGER, size INTEGER, problem TEXT)",
        "CREATE TABLE sides (key BLOB, kind TEXT, content BLOB, PRIMARY KEY (key, kind)) WITHOUT ROWID",
        "BEGIN",
    ):
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
    name = member.name.encode("utf-8", "surrogateescape")
    key, kind = _key_and_kind(member.name)
    if kind in (".json", ".txt") and member.isreg():
        members.execute("INSERT OR IGNORE INTO sides VALUES (?, ?, ?)", (key, kind, content))
    elif is_picture(member.name) and not is_hidden(member.name):
        place = (member.offset_data, member.size, _unusable(member))
        members.execute("INSERT INTO pictures (key, name, offset, size, problem) VALUES (?, ?, ?, ?, ?)", (key, name, *place))


def _unusable(member: tarfile.TarInfo) -> str:
    """Why the bytes of a picture cannot be read where they should lie; "" where they can."""
    if not member.isreg():
        return "is a link to another file; pack the archive with what links name (tar --dereference --hard-dereference)"
    return "is stored as a sparse file; pack the archive without (tar without --sparse)" if member.sparse is not None else ""


def _key_and_kind(name: str) -> tuple[bytes, str]:
    """`set/7.seg.png` -> (`set/7`, `.seg.png`)."""
    folder, last = posixpath.split(name)
    stem, dot, kind = last.partition(".") if not last.startswith(".") else (last, "", "")
    return f"{folder}/{stem}".encode("utf-8", "surrogateescape"), (dot + kind).lower()


def _side_bytes(member: tarfile.TarInfo) -> int:
    """Of how many bytes of a member metadata is made: one more than allowed shows that it is too long."""
    return MAX_LINE_BYTES + 1 if _key_and_kind(member.name)[1] in (".json", ".txt") else 0


def _item(
    position: int,
    archive: str,
    uri: str,
    name: bytes,
    offset: int,
    size: int,
    problem: str,
    side: bytes | None,
    text: bytes | None,
) -> Item:
    member = name.decode("utf-8", "surrogateescape")
    place = member_uri(member, uri)
    shown = name.decode("utf-8", "replace")[:200]
    if problem:
        return broken_item(position, f"{archive}: {shown}: {problem}", uri=place)
    try:
        metadata: dict[str, Any] = _object(side) if side is not None else {}
        if text is not None:
            metadata.setdefault("caption", _caption(text))
    except InvalidArgument as error:
        return broken_item(position, f"{archive}: {shown}: {error.message}", uri=place)
    item = checked_item(position, "", place, metadata, where=f"{archive}: {shown}: ")
    return item if item.problem else replace(item, offset=offset, size_bytes=size)


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(_text(".json", content), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("its .json", f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument("its .json", "is not a JSON object")
    return found


def _caption(content: bytes) -> str:
    return _text(".txt", content).strip()


def _text(kind: str, content: bytes) -> str:
    if len(content) > MAX_LINE_BYTES:
        raise InvalidArgument(f"its {kind}", f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"its {kind}", "is not UTF-8") from error
