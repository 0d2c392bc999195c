"""Single members of archives, by `tar://MEMBER::ARCHIVE`. `reader` calls it.

A member whose place the plan noted is read by range. The header before it is checked first, since the archive may have been
replaced. A member without a place is looked up in an index of the archive. A few of these indexes are kept.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import FailedPrecondition, NotFound
from lookalike.items import open_file, split_member, unreadable
from lookalike.listing.tars import BLOCK, is_compressed, plain_stream, walk
from lookalike.sources.buckets import Buckets
from lookalike.sources.opening import open_source
from lookalike.sources.roots import Roots
from lookalike.sources.urls import Url

_INDEXES = 4
_MOST_INDEXED_BYTES = 40_000_000
"""Bounds the index of one archive, to about 200,000 members. Shards have a tenth of that. Members beyond the index are searched
for each time."""
_ENTRY_BYTES = 150
"""Memory of an index's entry beside its name."""


@dataclass(frozen=True, slots=True)
class _Index:
    """Offset and size in bytes of an archive's members by name; `whole` says whether it holds all members."""

    places: Mapping[str, tuple[int, int]]
    whole: bool


class Members:
    """Thread-safe."""

    def __init__(self, roots: Roots, buckets: Buckets) -> None:
        self._roots, self._buckets = roots, buckets
        self._indexes: OrderedDict[tuple[str, str], _Index] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, uri: str, offset: int, size_bytes: int, *, max_bytes: int) -> bytes:
        """The content of the member that `uri` names, up to one byte more than `max_bytes`; `offset` is negative if not known.

        Raises `NotFound` SOURCE_NOT_FOUND, `FailedPrecondition` SOURCE_FORBIDDEN, SOURCE_UNREADABLE, SOURCE_INCOMPLETE or
        SOURCE_CHANGED, `InvalidArgument`, `Unavailable` SOURCE_UNAVAILABLE.
        """
        member, archive_uri = split_member(uri)
        place = self._roots.resolve(archive_uri)
        if is_compressed(archive_uri):
            return self._stream_to(member, archive_uri, max_bytes)
        if offset < 0:
            offset, size_bytes = self._find(member, archive_uri, place)
        wanted = min(size_bytes, max_bytes + 1)
        content = self._range(place, offset - BLOCK, BLOCK + wanted)
        if len(content) < BLOCK + wanted or not _is_header(content[:BLOCK], member, size_bytes):
            raise FailedPrecondition(
                f"{archive_uri[:200]!r} has changed since it was listed; ingest it again", reason="SOURCE_CHANGED"
            )
        return content[BLOCK:]

    def _range(self, place: Path | Url, start: int, size_bytes: int) -> bytes:
        if isinstance(place, Url):
            return self._buckets.read(place, start, start + size_bytes)
        try:
            with open_file(place, follow_links=False) as stream:
                stream.seek(start)
                return stream.read(size_bytes)
        except OSError as error:
            raise unreadable(place, f"cannot be read: {error.strerror}") from error

    def _find(self, member: str, archive_uri: str, place: Path | Url) -> tuple[int, int]:
        key = (archive_uri, self._stamp(place))
        with self._lock:
            index = self._indexes.get(key)
        if index is None:
            index = self._index(archive_uri)
            with self._lock:
                self._indexes[key] = index
                while len(self._indexes) > _INDEXES:
                    self._indexes.popitem(last=False)
        found = index.places.get(member)
        if found is None and not index.whole:
            found = self._index(archive_uri, only=member).places.get(member)
        if found is None:
            raise NotFound("source", member[:100], hint=f"{archive_uri[:200]!r} has no such member")
        return found

    def _index(self, archive_uri: str, only: str = "") -> _Index:
        """The places of the members. Of equal names the first counts, as in the listing of an archive."""
        places: dict[str, tuple[int, int]] = {}
        left_bytes = _MOST_INDEXED_BYTES
        with open_source(self._roots, self._buckets, archive_uri) as stream:
            for found, _ in walk(stream, archive_uri[:200], lambda _: 0):
                if found.isreg() and only in ("", found.name) and found.name not in places:
                    places[found.name] = (found.offset_data, found.size)
                    left_bytes -= len(found.name) + _ENTRY_BYTES
                if (places and only) or left_bytes < 0:
                    return _Index(places, whole=False)
        return _Index(places, whole=True)

    def _stream_to(self, member: str, archive_uri: str, max_bytes: int) -> bytes:
        """The content of a member of a compressed archive. Everything before the member has to be read, so the plan keeps such
        members as originals."""
        with open_source(self._roots, self._buckets, archive_uri) as packed:
            stream = plain_stream(packed, archive_uri)
            for found, content in walk(stream, archive_uri[:200], lambda one: max_bytes + 1 if one.name == member else 0):
                if found.isreg() and found.name == member:
                    return content
        raise NotFound("source", member[:100], hint=f"{archive_uri[:200]!r} has no such member")

    def _stamp(self, place: Path | Url) -> str:
        """A value that changes when the archive does."""
        if isinstance(place, Url):
            return self._buckets.stamp(place)
        try:
            status = os.stat(place)  # noqa: PTH116 - as open_file does
        except OSError:
            return ""  # Opening it raises the right error.
        return f"{status.st_mtime_ns} {status.st_size}"


def _is_header(block: bytes, member: str, size_bytes: int) -> bool:
    """Whether this is the header of that member. Names over 100 bytes and sizes over 8 GiB stand elsewhere."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    long = len(os.fsencode(member)) > tarfile.LENGTH_NAME or not member.isascii()
    return header.size == size_bytes and (long or header.name == member)
