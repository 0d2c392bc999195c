"""Which ids came already, or are in a source: a set that takes no memory. Used by `plan` and `finishing.mirror`."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType

from lookalike.errors import Unavailable, one_line


class SeenIds:
    """Ids in a temporary file: 16 bytes of hash each, so that ten million need no memory.

    Every method raises `Unavailable` for a temporary folder that is full, or not there: another worker's may do.
    """

    _CACHE_KIB = 16 * 1024
    _COMMIT_EVERY = 100_000

    def __enter__(self) -> SeenIds:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="lookalike-ids-")
        except OSError as error:
            raise _no_room(error) from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._folder.cleanup()
            raise _no_room(error) from error
        return self

    def add(self, image_id: str) -> bool:
        """Whether this id is new."""
        try:
            new = self._ids.execute("INSERT OR IGNORE INTO ids VALUES (?)", (_key(image_id),)).rowcount == 1
            self._added += new
            if new and self._added % self._COMMIT_EVERY == 0:
                self._ids.execute("COMMIT")
                self._ids.execute("BEGIN")
        except sqlite3.Error as error:
            raise _no_room(error) from error
        return new

    def __contains__(self, image_id: str) -> bool:
        try:
            return self._ids.execute("SELECT 1 FROM ids WHERE id = ?", (_key(image_id),)).fetchone() is not None
        except sqlite3.Error as error:
            raise _no_room(error) from error

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._ids.close()
        self._folder.cleanup()

    def _open(self) -> None:
        self._ids = sqlite3.connect(Path(self._folder.name) / "ids.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{self._CACHE_KIB}", "locking_mode=EXCLUSIVE"):
            self._ids.execute(f"PRAGMA {pragma}")
        self._ids.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._ids.execute("BEGIN")
        self._added = 0


def _key(image_id: str) -> bytes:
    return hashlib.blake2b(image_id.encode(), digest_size=16).digest()


def _no_room(error: Exception) -> Unavailable:
    return Unavailable("temporary folder", one_line(error))
