"""The members of a tar file, in order, none of them held in memory. Standard library only.

`archives` lists them, and `lookalike.sources` looks for one of them.
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
"""Bounds the headers before the content of a member: names, and attributes of its file system, which are kilobytes. Python's
`tarfile` holds them in memory, and a few bytes of a packed archive make gigabytes."""
_MOST_GLOBALS = 1000
"""Bounds the global entries, which apply to all members; archives of git have one."""
_MOST_DIGITS = 300
"""Bounds the consecutive digits of a pax header, beyond the length of any name."""
_PAX_LENGTH = re.compile(rb"([0-9]{1,7}) ")
_DIGITS = re.compile(rb"[0-9]+")
_BUFFER = 256 * 1024
_CHECK_BYTES = 16 * 1024 * 1024
"""Bytes unpacked between two checks whether the listing is still wanted: a tenth of a second."""
_MOST_UNPACKED = 200
_ALWAYS_UNPACKED_BYTES = 1024**3
"""Bounds the unpacked size of an archive, to 1 GiB and 200 times its own size. Pictures are packed already; even bitmaps shrink
to no less than a twentieth, while gzip shrinks zeros to a thousandth."""


def is_archive(name: str) -> bool:
    """Whether a file is a tar, by its suffix."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_compressed(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES[1:])


def plain_stream(stream: IO[bytes], name: str, check: Callable[[], None] = lambda: None) -> IO[bytes]:
    """The bytes of the tar itself. In a compressed tar reading on is cheap, and going back means reading from the start.
    `check` is called now and then while it is unpacked, and may raise."""
    return io.BufferedReader(_Unpacked(stream, check), _BUFFER) if is_compressed(name) else stream


def walk(stream: IO[bytes], name: str, wanted: Callable[[tarfile.TarInfo], int]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every regular member, each with the first `wanted` bytes of its content, and every link, without any.

    A member comes only when all of its bytes are known to be there. Raises `InvalidArgument` ("archive") ARCHIVE_INVALID for a
    file that is not a tar. Where a tar breaks off, or would take more memory or time than a tar may, raises
    `FailedPrecondition` SOURCE_INCOMPLETE after its whole members. Memory stays flat whatever the archive claims.
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
            if last is not None:  # The bytes after it were read, so it is whole.
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
    """The content of a gzip file, piece by piece, so that all bytes before a break are unpacked."""

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
    """An archive would take more memory or time than a tar may."""


_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, ArithmeticError, LookupError, RecursionError)
"""Errors of `tarfile` for damaged archives, also for numbers of a million digits and headers that name headers."""


class _Headers:
    """The archive for `tarfile`, which reads only its headers, as long as they claim to be; this bounds them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, MAX_HEADER_BYTES
        self.begun = self.is_pax = False
        """Whether the next header has begun, and whether the next read is the content of a pax header."""

    def next_of(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member, which `tar` does not keep."""
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
    """Raise `tarfile.ReadError` unless these are records `LENGTH KEY=VALUE\\n`, one after the other, as in POSIX.

    Of other texts `tarfile` makes overlapping records, whose memory is the square of the header's, and its patterns take the
    square of the longest number's length. Later Pythons check this themselves (CVE-2024-6232, CVE-2025-8194).
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
    """Raise where a tar does not end with empty blocks: `tarfile` stops in silence at a damaged or missing header."""
    stream.seek(offset)
    block = stream.read(BLOCK)
    if len(block) < BLOCK:
        raise EOFError("its end is missing")
    if block.strip(b"\0"):
        raise tarfile.ReadError("a header is damaged")
