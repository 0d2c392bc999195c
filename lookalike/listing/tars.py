"""The members of a tar file, in order, without holding any of them. Standard library only.

Used by `archives` to list them, and by `lookalike.sources` to find one.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.items import SOURCE_INCOMPLETE, SOURCE_UNREADABLE

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
BLOCK = tarfile.BLOCKSIZE
_BUFFER = 256 * 1024


def is_archive(name: str) -> bool:
    """Whether a file is a tar, told by its suffix."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_compressed(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES[1:])


def plain_stream(stream: IO[bytes], name: str) -> IO[bytes]:
    """The bytes of the tar itself. Of a compressed one reading on is cheap, and going back means from the start."""
    return io.BufferedReader(_Unpacked(stream), _BUFFER) if is_compressed(name) else stream


def walk(stream: IO[bytes], name: str, wanted: Callable[[tarfile.TarInfo], int]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every regular member, each with the first `wanted` bytes of its content, and every link, without any.

    A member comes only when all of its bytes are known to be there. Raises `InvalidArgument` ("archive") ARCHIVE_INVALID for
    what is no tar, and where one breaks off, after what is whole, `FailedPrecondition` SOURCE_INCOMPLETE.
    """
    last: tuple[tarfile.TarInfo, bytes] | None = None
    started = False
    try:
        with tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                if last is not None:
                    yield last
                started, last = True, None
                tar.members = []  # type: ignore[attr-defined]  # It would keep every one.
                if member.isreg():
                    last = (member, _content(stream, member, wanted(member)))
                elif member.islnk() or member.issym():
                    last = (member, b"")
            if last is not None:  # What comes behind it was looked at, so it is whole.
                yield last
                last = None
            _check_end(stream, tar.offset)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if not started:
            raise InvalidArgument("archive", f"{name} is not a tar file: {error}", reason="ARCHIVE_INVALID") from error
        where = f"in {last[0].name!r}" if last is not None else "between two members"
        raise FailedPrecondition(f"{name} breaks off {where}: {error}", reason=SOURCE_INCOMPLETE) from error
    except OSError as error:
        raise FailedPrecondition(f"{name} cannot be read: {error.strerror}", reason=SOURCE_UNREADABLE) from error


class _Unpacked(io.RawIOBase):
    """What gzip holds, piece by piece as it comes, so that of what breaks off nothing is lost that can be unpacked."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=packed, mode="rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        piece = self._file.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


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
