"""Reads a picture by its URI: `artifact://`, `file://` or an absolute path, `http(s)://`, `s3://`, `tar://MEMBER::ARCHIVE`.

Only regular files are read, since others may block.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lookalike.artifacts import SCHEME, Artifacts
from lookalike.errors import BadImage, NotFound
from lookalike.items import MEMBER_SCHEME, open_file, unreadable
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.sources.buckets import Buckets
from lookalike.sources.members import Members
from lookalike.sources.roots import Roots
from lookalike.sources.urls import Url
from lookalike.sources.web import Web

READ_TIMEOUT_S = 30.0


class Reader:
    """Reads pictures. Thread-safe; keeps only connections open. `roots` are folders and URLs, see `Roots`."""

    def __init__(
        self,
        artifacts: Artifacts,
        roots: Sequence[Path | str],
        *,
        max_bytes: int = MAX_IMAGE_BYTES,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.artifacts = artifacts
        self.roots = Roots(roots)
        self.buckets = Buckets()
        self._web = Web(self.roots, timeout_s=timeout_s)
        self._members = Members(self.roots, self.buckets)
        self._max_bytes = max_bytes

    def read(self, uri: str, *, offset: int = -1, size_bytes: int = 0) -> bytes:
        """The bytes behind `uri`, at most `max_bytes`. For a member of an archive `offset` and `size_bytes` are its place,
        where that is known.

        Raises `NotFound` SOURCE_NOT_FOUND, `FailedPrecondition` SOURCE_FORBIDDEN (outside the roots, needs credentials),
        SOURCE_UNREADABLE (permission, not a file, broken disk), SOURCE_CHANGED or SOURCE_INCOMPLETE (archives), `BadImage`
        IMAGE_TOO_LARGE without reading it whole or IMAGE_EMPTY, `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED,
        `DeadlineExceeded` SOURCE_TIMEOUT, `Unavailable` SOURCE_UNAVAILABLE where the place of `uri` answers none of several
        attempts, and `Unavailable` with another reason where the artifacts do not answer.
        """
        content = self._read(uri, offset, size_bytes)
        if len(content) > self._max_bytes:
            raise BadImage(f"is larger than {self._max_bytes} bytes", reason="IMAGE_TOO_LARGE")
        if not content:
            raise BadImage("is empty", reason="IMAGE_EMPTY")
        return content

    def _read(self, uri: str, offset: int, size_bytes: int) -> bytes:
        if uri.startswith(SCHEME):
            return self._read_artifact(uri)
        if uri.startswith(MEMBER_SCHEME):
            return self._members.read(uri, offset, size_bytes, max_bytes=self._max_bytes)
        place = self.roots.resolve(uri)
        if not isinstance(place, Url):
            return self._read_file(place)
        if place.scheme == "s3":
            return self.buckets.read(place, 0, self._max_bytes + 1)
        return self._web.read(place, max_bytes=self._max_bytes)

    def _read_artifact(self, uri: str) -> bytes:
        try:
            return self.artifacts.read(uri.removeprefix(SCHEME), max_bytes=self._max_bytes)
        except NotFound as error:
            raise NotFound("source", uri[:200]) from error

    def _read_file(self, path: Path) -> bytes:
        try:
            with open_file(path, follow_links=False) as stream:
                size_bytes = os.fstat(stream.fileno()).st_size
                if size_bytes > self._max_bytes:
                    raise BadImage(
                        f"is {size_bytes} bytes long; at most {self._max_bytes} are allowed", reason="IMAGE_TOO_LARGE"
                    )
                return stream.read(self._max_bytes + 1)
        except OSError as error:
            raise unreadable(path, f"cannot be read: {error.strerror}") from error
