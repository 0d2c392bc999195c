"""What an item of a source is, and what makes one unusable: ids, URIs and their limits. Standard library only."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.metadata import check_metadata
from lookalike.names import check_id, check_uri, id_from_uri

ITEM_INVALID = "ITEM_INVALID"
"""Reason of an item whose line, id, URI or metadata cannot be used."""
IMAGE_FORMAT_UNKNOWN = "IMAGE_FORMAT_UNKNOWN"
"""Reason of a picture of a kind that is not read."""
SOURCE_UNREADABLE = "SOURCE_UNREADABLE"
SOURCE_INCOMPLETE = "SOURCE_INCOMPLETE"
"""Reason of the item that stands for a part of a source that broke off while it was listed."""
INCOMPLETE_REASONS = frozenset({SOURCE_UNREADABLE, SOURCE_INCOMPLETE})
"""Where a listing holds an item with one of these, the source may hold more than was listed."""
SOURCE_HIDDEN, SOURCE_SYSTEM, SOURCE_EXCLUDED = "SOURCE_HIDDEN", "SOURCE_SYSTEM", "SOURCE_EXCLUDED"
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {SOURCE_HIDDEN: "hidden", SOURCE_SYSTEM: "system_file", SOURCE_EXCLUDED: "excluded"}
)
"""Reasons of items that are left out on purpose while a source is listed -> as what they count among the skipped."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_USER = re.compile(r"((?:tar://.*::)?https?://)[^/?#]*@", re.IGNORECASE)
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Not blocking: opening a pipe without a writer would wait for one. The rest by `getattr`, since clients run on Windows too."""
MEMBER_SCHEME = "tar://"
_UNSAFE_IN_MEMBER = re.compile(r"[%\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a source.

    `position` counts from 0. `id` is final, "" only with a problem. `origin` is what people call the item where that is not its
    URI: the client's own path of an uploaded picture. Of a member of an archive, `offset` and `size_bytes` say where in it the
    bytes lie; `offset` is negative where that is not known.
    """

    position: int
    id: str
    uri: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    problem_reason: str = ""
    origin: str = ""
    offset: int = -1
    size_bytes: int = 0


def broken_item(position: int, problem: str, *, uri: str = "", item_id: str = "", reason: str = ITEM_INVALID) -> Item:
    """An item that cannot be used, and why. What is shown of it is cut to what can be stored."""
    return Item(position, _cut(item_id, 256), _cut(uri, 2048), {}, _cut(problem, 1000), reason)


def checked_item(
    position: int,
    item_id: str,
    uri: str,
    metadata: Mapping[str, object],
    *,
    where: str = "",
    problem: str = "",
    reason: str = ITEM_INVALID,
) -> Item:
    """An item whose id, URI and metadata can be stored, its id derived from the URI where it has none; else a broken one. With
    a `problem` it is broken in any case, and its id is known where it can be."""
    if user := _USER.match(uri):
        # What stands before the @ may be a password: it goes no further than here.
        shown, forbidden = f"{user[1]}{uri[user.end() :]}", f"{where}the URI holds a user's name; leave it out"
        return broken_item(position, forbidden, uri=shown, item_id=item_id, reason="SOURCE_FORBIDDEN")
    try:
        check_uri("uri", uri)
        if item_id:
            check_id("id", item_id)
        check_metadata(metadata)
    except InvalidArgument as error:
        return broken_item(position, f"{where}{error.message}", uri=uri, item_id=item_id or _id_of(uri))
    item_id = item_id or id_from_uri(uri)
    if problem:
        return broken_item(position, f"{where}{problem}", uri=uri, item_id=item_id, reason=reason)
    return Item(position, item_id, uri, metadata)


def _id_of(uri: str) -> str:
    """The id that an item without one would have; "" where its URI cannot be stored, so that no image has it."""
    try:
        check_uri("uri", uri)
    except InvalidArgument:
        return ""
    return id_from_uri(uri)


def path_of(uri: str) -> Path:
    """The local path behind a `file://` URI or an absolute path. Raises `InvalidArgument` ("uri") for anything else."""
    if not _SCHEME.match(uri):
        path = Path(uri)
    else:
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise InvalidArgument("uri", f"{_cut(uri, 80)!r} is not a URL: {error}") from error
        if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
            raise InvalidArgument("uri", f"{_cut(uri, 80)!r} does not name a local file")
        # Not `parts.path` alone: in a file's name `?` and `#` may stand unquoted.
        path = Path(os.fsdecode(unquote_to_bytes(uri.split("://", 1)[1].removeprefix(parts.netloc))))
    if not path.is_absolute() or "\0" in str(path):
        raise InvalidArgument("uri", f"{_cut(uri, 80)!r} is not an absolute path or a URI")
    return path


def open_file(path: Path, *, follow_links: bool = True) -> IO[bytes]:
    """The bytes of a regular file; nothing else is waited for, such as a pipe without a writer.

    Raises `NotFound` ("source"), and `FailedPrecondition` SOURCE_UNREADABLE for permission, a folder, a pipe, a broken disk.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS if follow_links else _OPEN_FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound("source", str(path)[:200]) from error
        raise unreadable(path, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unreadable(path, "is not a file")
    return os.fdopen(descriptor, "rb")


def unreadable(path: Path, problem: str) -> FailedPrecondition:
    """The error of a source that is there and cannot be read."""
    return FailedPrecondition(f"{str(path)[:200]!r} {problem}", reason=SOURCE_UNREADABLE)


def resolve_uri(uri: str, base: str) -> str:
    """`uri` as it stands in a manifest -> a URI. A path is taken from the folder `base`, a URI; an absolute one is a file's."""
    if _SCHEME.match(uri):
        return uri
    if base.startswith("file://") or uri.startswith("/"):
        return file_uri(os.path.normpath(os.path.join(_folder_of(base), uri)))  # noqa: PTH118 - ten million times
    scheme, _, folder = base.partition("://")
    bucket, _, folder = folder.partition("/")
    return f"{scheme}://{bucket}{posixpath.normpath(f'/{folder}/{uri}')}"


def file_uri(path: str) -> str:
    """`Path(path).as_uri()` of an absolute path, several times as fast."""
    return "file://" + quote_from_bytes(os.fsencode(path)) if os.sep == "/" else Path(path).as_uri()


def member_uri(member: str, archive_uri: str) -> str:
    """`tar://MEMBER::ARCHIVE`, as fsspec chains them. Of the member's name only what a URI cannot hold is percent-encoded:
    bytes that are not UTF-8, control characters, the percent sign itself."""
    return f"tar://{_UNSAFE_IN_MEMBER.sub(_percent, member)}::{archive_uri}"


def split_member(uri: str) -> tuple[str, str]:
    """(name of the member, URI of the archive) of what `member_uri` made. Raises `InvalidArgument` ("uri")."""
    member, chained, archive_uri = uri.removeprefix(MEMBER_SCHEME).rpartition("::")
    if not chained or not member or archive_uri.startswith(MEMBER_SCHEME):
        raise InvalidArgument("uri", f"{_cut(uri, 80)!r} does not name a member of an archive; tar://MEMBER::ARCHIVE does")
    return os.fsdecode(unquote_to_bytes(member)), archive_uri


@lru_cache(maxsize=16)
def _folder_of(base: str) -> str:
    return str(path_of(base)) if base.startswith("file://") else "/"


def _percent(found: re.Match[str]) -> str:
    return quote_from_bytes(os.fsencode(found[0]), safe="")


def _cut(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")
