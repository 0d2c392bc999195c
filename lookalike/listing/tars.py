"""The members of a tar file, in order, without holding any of them. Standard library only.

Used by `archives` to list them, and by `lookalike.sources` to find one.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.items import SOURCE_INCOMPLETE, SOURCE_UNREADABLE

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1024 * 1024
"""What may stand before the content of one member: names, and attributes of its file system, which are kilobytes. Python's
`tarfile` holds them in memory, and of a packed archive a few bytes make gigabytes."""
_MOST_GLOBALS = 1000
"""Entries that stand for all members; archives of git have one."""
_MOST_DIGITS = 300
"""Consecutive digits in a pax header: more than a name may be long."""
_PAX_LENGTH = re.compile(rb"([0-9]{1,7}) ")
_DIGITS = re.compile(rb"[0-9]+")
_BUFFER = 256 * 1024
_CHECK_BYTES = 16 * 1024 * 1024
"""Unpacked between two looks at whether anybody still wants it: a tenth of a second."""
_MOST_UNPACKED = 200
_ALWAYS_UNPACKED_BYTES = 1024**3
"""An archive may hold 1 GiB and 200 times its own size, and no more. Pictures are packed already; even bitmaps shrink to a
twentieth, while what gzip makes of nothing is a thousandth."""


def is_archive(name: str) -> bool:
    """Whether a file is a tar by its suffix."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_compressed(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES[1:])


def plain_stream(stream: IO[bytes], name: str, check: Callable[[], None] = lambda: None) -> IO[bytes]:
    """The bytes of the tar itself. Of a compressed one reading on is cheap, and going back means from the start; `check` is
    called now and then while it is unpacked, and may raise."""
    return io.BufferedReader(_Unpacked(stream, check), _BUFFER) if is_compressed(name) else stream


def walk(stream: IO[bytes], name: str, wanted: Callable[[tarfile.TarInfo], int]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every regular member, each with the first `wanted` bytes of its content, and every link, without any.

    A member comes only when all of its bytes are known to be there. Raises `InvalidArgument` ("archive") ARCHIVE_INVALID for
    what is no tar, and where one breaks off, or asks for more memory or time than a tar may, after what is whole,
    `FailedPrecondition` SOURCE_INCOMPLETE. Memory stays flat whatever the archive says.
    """
    headers: Any = _Headers(stream)
    last: tuple[tarfile.TarInfo, bytes] | None = None
    started = False
    try:
        with tarfile.open(fileobj=headers, mode="r:", tarinfo=_Member, errors="surrogateescape") as tar:
            while (member := headers.next_of(tar)) is not None:
                if last is not None:
                    yield last
                started, last = True, None
                if member.isreg():
                    last = (member, _content(stream, member, wanted(member)))
                elif member.islnk() or member.issym():
                    last = (member, b"")
            if last is not None:  # What comes behind it was looked at, so it is whole.
                yield last
                last = None
            _check_end(stream, tar.offset)
    except _DAMAGED as error:
        problem = "its headers are nested without end" if isinstance(error, RecursionError) else str(error)
        if last is not None and headers.begun:
            yield last
        if not started:
            said = "cannot be read" if isinstance(error, _TooMuch) else "is not a tar file"
            raise InvalidArgument("archive", f"{name} {said}: {problem}", reason="ARCHIVE_INVALID") from error
        where = f"{'behind' if headers.begun else 'in'} {last[0].name[:200]!r}" if last is not None else "between two members"
        raise FailedPrecondition(f"{name} breaks off {where}: {problem}", reason=SOURCE_INCOMPLETE) from error
    except OSError as error:
        raise FailedPrecondition(f"{name} cannot be read: {error.strerror}", reason=SOURCE_UNREADABLE) from error


class _Unpacked(io.RawIOBase):
    """What gzip holds, piece by piece as it comes, so that of what breaks off nothing is lost that can be unpacked."""

    def __init__(self, packed: IO[bytes], check: Callable[[], None]) -> None:
        self._packed, self._check, self._checked = packed, check, 0
        self._file = gzip.GzipFile(fileobj=packed, mode="rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._file.tell():
            return self._file.seek(offset, whence)
        while (left := offset - self._file.tell()) and self._next(left):
            continue
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        piece = self._next(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _next(self, size_bytes: int) -> bytes:
        piece = self._file.read1(min(size_bytes, _BUFFER))
        at = self._file.tell()
        if not 0 <= at - self._checked < _CHECK_BYTES:
            self._checked = at
            self._check()
            if at > _ALWAYS_UNPACKED_BYTES + _MOST_UNPACKED * self._packed.tell():
                raise _TooMuch(f"it unpacks to more than {_MOST_UNPACKED} times its size and {_ALWAYS_UNPACKED_BYTES:,} bytes")
        return piece


class _TooMuch(tarfile.ReadError):
    """An archive asks for more than a tar may."""


_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, ArithmeticError, LookupError, RecursionError)
"""What `tarfile` raises for what is wrong in an archive: numbers of a million digits and headers that name headers among it."""


class _Headers:
    """The archive as `tarfile` reads it: only its headers, of which it would read as much as they say."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, MAX_HEADER_BYTES
        self.begun = self.is_pax = False
        """Whether the next header has been come to; whether what is read next is what a pax header holds."""

    def next_of(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member. `tar` is left without what it would keep of it."""
        self._left, self.begun = MAX_HEADER_BYTES, False
        member = tar.next()
        tar.members = []  # type: ignore[attr-defined]  # The tar would keep every member.
        if member is not None and (member.size < 0 or tar.offset < member.offset_data):
            raise tarfile.ReadError("a header gives a size below zero")
        kept = tar.pax_headers
        if len(kept) > _MOST_GLOBALS or sum(len(key) + len(value) for key, value in kept.items()) > _BUFFER:
            raise _TooMuch(f"its global headers are longer than {_MOST_GLOBALS:,} entries or {_BUFFER:,} characters")
        return member

    def read(self, size_bytes: int) -> bytes:
        self.begun = self.begun or size_bytes >= BLOCK
        self._left -= max(size_bytes, BLOCK)
        if self._left < 0 or size_bytes < 0:
            raise _TooMuch(f"a header is longer than {MAX_HEADER_BYTES:,} bytes")
        content = self._stream.read(size_bytes)
        if self.is_pax:
            self.is_pax = False
            _check_pax(content)
        return content

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


class _Member(tarfile.TarInfo):
    def _proc_pax(self, tar: Any) -> tarfile.TarInfo:
        tar.fileobj.is_pax = True
        found: tarfile.TarInfo = super()._proc_pax(tar)  # type: ignore[misc]
        return found


def _check_pax(content: bytes) -> None:
    """Raise `tarfile.ReadError` unless these are records `LENGTH KEY=VALUE\\n`, one behind the other, as POSIX has it.

    Of others `tarfile` makes overlapping ones, whose memory is the square of the header's, and its patterns take the square of
    the longest number's length. Later Pythons look themselves (CVE-2024-6232, CVE-2025-8194).
    """
    at = 0
    while at < len(content) and content[at]:
        found = _PAX_LENGTH.match(content, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(content) or content[end - 1] != ord("\n"):
            raise tarfile.ReadError("a pax header is damaged")
        if content.find(b"=", found.end(), end) < 0:
            raise tarfile.ReadError("a pax header is damaged")
        at = end
    if any(len(digits) > _MOST_DIGITS for digits in _DIGITS.findall(content)):
        raise _TooMuch(f"a pax header has a number of more than {_MOST_DIGITS} digits")


def _content(stream: IO[bytes], member: tarfile.TarInfo, size_bytes: int) -> bytes:
    if not size_bytes:
        return b""
    stream.seek(member.offset_data)
    return stream.read(min(size_bytes, member.size))


def _check_end(stream: IO[bytes], offset: int) -> None:
    """`tarfile` stops without a word where the next header is damaged or missing; a whole tar ends with empty blocks."""
    stream.seek(offset)
    block = stream.read(BLOCK)
    if len(block) < BLOCK:
        raise EOFError("its end is missing")
    if block.strip(b"\0"):
        raise tarfile.ReadError("a header is damaged")
