"""The artifacts: one fsspec URL that gateway and workers all reach. Manifests, outcome files, uploaded originals, thumbnails.

    jobs/{id}/...                the manifest of an ingest job, and its outcomes
    uploads/{id}/items.jsonl     the items of a complete upload
    originals/ab/{sha256}        uploaded pictures, by content
    thumbnails/ab/{sha256}.jpg   small JPEGs, made when first asked for

The workers remove unused files (`indexer.sweeping`).

A file exists as a whole or not at all. In a local folder it is written beside its place, forced to the disk and renamed; other
file systems of fsspec publish a file when it is committed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lookalike.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable, one_line

SCHEME = "artifact://"
ORIGINALS, THUMBNAILS = "originals", "thumbnails"
UNUSED_KEPT_S = 86_400.0
"""Bounds the age of a removed original from below, and the time of an upload from above: originals of an upload under way are
young, and no list names them yet."""
_MADE_YOUNG_S = UNUSED_KEPT_S / 2
"""Age from which on an original that is uploaded again is written again."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""The names of the time of a file in fsspec's file systems."""

_creating = threading.Lock()
"""fsspec's own exclusive creation checks first and writes after that, so two threads of one process could both succeed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a folder. `modified` is UTC, and the present for a store that gives no time."""

    name: str
    modified: datetime


class Artifacts:
    """Files under one fsspec URL, by relative path. Thread-safe.

    Raises `NotFound` ("artifact") for a missing file, `InvalidArgument` for a path that leaves the folder, and
    `Unavailable` where the file system fails.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise InvalidArgument("artifacts_url", f"cannot be used: {error}") from error
        self._local = isinstance(self._files, LocalFileSystem)

    def write(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write a whole file. Without `durable` it may be lost with the machine's power, until `settle` has returned."""
        writer = self.open_write(path, durable=durable)
        try:
            with translated(path):
                writer.stream.write(content)
            writer.commit()
        except BaseException:
            writer.discard()
            raise

    def write_new(self, path: str, content: bytes) -> None:
        """Write a whole file that does not exist yet. Raises `AlreadyExists` where it does: of several writers one wins.

        That holds between processes in a local folder (a hard link), and on those object stores whose fsspec file system makes
        `mode="create"` a conditional write, as s3fs does; on others only between the threads of one process.
        """
        with translated(path):
            if self._local:
                _link_new(Path(self._at(path)), content)
                return
            at = self._at(path)
            with _creating:
                try:
                    self._files.pipe_file(at, content, mode="create")
                except OSError as error:
                    # Stores have many words for a condition that does not hold (s3fs: EINVAL), and an answer that is lost looks
                    # like a failure. Whether the file is there now decides.
                    self._files.invalidate_cache(at.rpartition("/")[0])
                    if not self._files.exists(at):
                        raise
                    if self._files.cat_file(at) != content:
                        raise AlreadyExists("artifact", path) from error

    def open_write(self, path: str, *, durable: bool = True) -> ArtifactWriter:
        """Begin a file that appears when it is committed. Write to its stream within `translated`."""
        with translated(path):
            if self._local:
                return _LocalWriter(Path(self._at(path)), durable=durable)
            return ArtifactWriter(self._files.open(self._at(path), "wb", autocommit=False))

    def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        """A file's content; with `max_bytes` at most one byte more than that."""
        with self.open_read(path) as stream:
            return stream.read() if max_bytes is None else stream.read(max_bytes + 1)

    @contextmanager
    def open_read(self, path: str) -> Iterator[IO[bytes]]:
        """A file's bytes as a stream that can seek. Errors of later reads are translated too."""
        with translated(path), self._files.open(self._at(path), "rb") as stream:
            yield stream

    def exists(self, path: str) -> bool:
        with translated(path):
            return bool(self._files.exists(self._at(path)))

    def size_bytes(self, path: str) -> int | None:
        """A file's size; None where there is no such file."""
        try:
            with translated(path):
                return int(self._files.info(self._at(path))["size"])
        except NotFound:
            return None

    def stamp(self, path: str) -> str | None:
        """A value that changes whenever the file does (its size, time or tag); None where there is no such file."""
        try:
            with translated(path):
                at = self._at(path)
                self._files.invalidate_cache(at.rpartition("/")[0])
                return str(self._files.ukey(at))
        except NotFound:
            return None

    def names(self, path: str = "") -> list[str]:
        """Names in a folder (in the whole, where none is named), in order; none where there is no such folder."""
        try:
            with translated(path):
                at = self._at(path) if path else str(self._root)
                self._files.invalidate_cache(at)
                found = self._files.ls(at, detail=False)
        except NotFound:
            return []
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    def entries(self, path: str) -> list[Entry]:
        """The files and folders in a folder, in order of name, with times; none where there is no such folder."""
        try:
            with translated(path):
                at = self._at(path)
                self._files.invalidate_cache(at)
                found = self._files.ls(at, detail=True)
        except NotFound:
            return []
        # A store may list a folder that is empty as what is in it.
        there = ((str(info["name"]).rstrip("/"), info) for info in found)
        entries = (Entry(name.rsplit("/", 1)[-1], _modified(info)) for name, info in there if name != at.rstrip("/"))
        return sorted(entries, key=lambda entry: entry.name)

    def delete_unless_newer(self, path: str, time: datetime) -> bool:
        """Delete a file that was last written before `time`; whether it was.

        A file that is being written again stays: in a local folder always, in a store unless the write falls between the check
        and the delete.
        """
        with suppress(NotFound), translated(path):
            at = self._at(path)
            if self._local:
                return _delete_unless_newer(Path(at), time)
            self._files.invalidate_cache(at.rpartition("/")[0])
            if _modified(self._files.info(at)) < time:
                self._files.rm_file(at)
                return True
        return False

    def is_there(self) -> bool:
        """Whether the place exists: a local folder may be a volume that is unmounted. A store is not asked, since its folders
        exist only with files in them."""
        with translated(""):
            return not self._local or Path(str(self._root)).is_dir()

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        with suppress(NotFound), translated(path):
            self._files.rm_file(self._at(path))

    def delete_tree(self, path: str) -> None:
        """Delete a folder and its content, if it exists."""
        with suppress(NotFound), translated(path):
            self._files.rm(self._at(path), recursive=True)

    def keep_original(self, content: bytes) -> str:
        """Keep a picture by its content, unless it is kept already; return its URI. The copy is durable after `settle`."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.original_path(sha256)
        # Not only whether it is there: one written shortly before the power failed may be torn, and an old one may be about to
        # be removed.
        if not self._is_young(path, len(content)):
            self.write(path, content, durable=False)
        return self.original_uri(sha256)

    def _is_young(self, path: str, size_bytes: int) -> bool:
        try:
            with translated(path):
                info = self._files.info(self._at(path))
        except NotFound:
            return False
        age = datetime.now(UTC) - _modified(info)
        return int(info["size"]) == size_bytes and age.total_seconds() < _MADE_YOUNG_S

    def settle(self) -> None:
        """Force everything written so far to the disk: one call for many small files costs far less than one each."""
        if self._local:
            os.sync()

    @staticmethod
    def original_path(sha256: str) -> str:
        """The path of the original with this SHA-256 (64 hex digits)."""
        return f"{ORIGINALS}/{sha256[:2]}/{sha256}"

    @staticmethod
    def original_uri(sha256: str) -> str:
        """The URI of that original in a collection: `artifact://originals/ab/<sha256>`."""
        return SCHEME + Artifacts.original_path(sha256)

    @staticmethod
    def thumbnail_path(sha256: str) -> str:
        """The path of the thumbnail of the picture with this SHA-256."""
        return f"{THUMBNAILS}/{sha256[:2]}/{sha256}.jpg"

    def _at(self, path: str) -> str:
        parts = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise InvalidArgument("uri", f"{path[:80]!r} is not a path inside the artifacts")
        return f"{str(self._root).rstrip('/')}/{path}"


class ArtifactWriter:
    """A file being written. It appears on `commit`, and never without it or after `discard`."""

    def __init__(self, stream: Any) -> None:
        self.stream: IO[bytes] = stream

    def commit(self) -> None:
        with translated("a new file"):
            self.stream.close()
            self.stream.commit()  # type: ignore[attr-defined]  # fsspec's files have it

    def discard(self) -> None:
        with suppress(OSError, LookalikeError):
            self.stream.discard()  # type: ignore[attr-defined]  # fsspec's files have it


class _LocalWriter(ArtifactWriter):
    def __init__(self, path: Path, *, durable: bool) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise Unavailable("artifacts", f"the folder {path.parent.name!r} cannot be made: {error.strerror}") from error
        self._path, self._durable = path, durable
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        super().__init__(self._part.open("xb"))

    def commit(self) -> None:
        with translated(self._path.name):
            self.stream.flush()
            if self._durable:
                os.fsync(self.stream.fileno())
            self.stream.close()
            self._part.rename(self._path)
            if self._durable:
                _sync_folder(self._path.parent)

    def link(self) -> None:
        """As `commit`, but raises `AlreadyExists` where the file exists."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        try:
            os.link(self._part, self._path)
        except FileExistsError as error:
            raise AlreadyExists("artifact", self._path.name) from error
        _sync_folder(self._path.parent)

    def discard(self) -> None:
        # Closing writes what is buffered, which fails on a full disk; the file goes all the same.
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


def _modified(info: Mapping[str, Any]) -> datetime:
    found = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(found, datetime):
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    if isinstance(found, str):
        with suppress(ValueError):
            return _modified({"mtime": datetime.fromisoformat(found)})
    return datetime.fromtimestamp(found, UTC) if isinstance(found, int | float) else datetime.now(UTC)


def _delete_unless_newer(path: Path, time: datetime) -> bool:
    """Aside first: between a look and a delete somebody could put a new file in its place."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    path.rename(aside)
    try:
        if datetime.fromtimestamp(aside.stat().st_mtime, UTC) < time:
            return True
        with suppress(FileExistsError):  # A newer one of the same content has come meanwhile.
            os.link(aside, path)
        return False
    finally:
        aside.unlink(missing_ok=True)


def _link_new(path: Path, content: bytes) -> None:
    """Whole and durable, then linked to its name: unlike a rename, a link never replaces. Raises `AlreadyExists`."""
    writer = _LocalWriter(path, durable=True)
    try:
        writer.stream.write(content)
        writer.link()
    finally:
        writer.discard()


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Every error of the file system leaves this block as a `LookalikeError`: `NotFound`, `Unavailable`, or
    `FailedPrecondition` ARTIFACTS_READ_ONLY where it is of a kind that cannot be written to."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("artifact", path) from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:
            raise  # Not of the file system: pyarrow's word for a file that is damaged.
        if error.errno in (errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR):
            raise NotFound("artifact", path) from error
        raise Unavailable("artifacts", error.strerror or one_line(error)) from error
    except NotImplementedError as error:
        problem = f"{path!r} cannot be written there: file systems of that kind can only be read"
        raise FailedPrecondition(problem, reason="ARTIFACTS_READ_ONLY") from error
    except _let_through() as error:
        raise Unavailable("artifacts", one_line(error)) from error


def _let_through() -> tuple[type[Exception], ...]:
    """What s3fs lets through of the libraries below it, where anything has loaded them: a server that is away, credentials that
    are not there (yet: those of a role come from a server too)."""
    modules = ((sys.modules.get("botocore.exceptions"), "BotoCoreError"), (sys.modules.get("aiohttp"), "ClientError"))
    return tuple(getattr(module, name) for module, name in modules if module is not None)
