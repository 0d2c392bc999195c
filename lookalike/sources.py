"""URI -> bytes, guarded. The only code that reads pictures from where a caller says; used by the indexer and the gateway.

A URI is `artifact://...`, or a `file://` URI or absolute path inside one of the configured roots. Links are resolved first, so
that none leads out; only regular files are read, so that none blocks. `Artifacts` is offered from here too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lookalike.artifacts import SCHEME, Artifacts, ArtifactWriter
from lookalike.errors import BadImage, FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import open_file, path_of, unreadable
from lookalike.names import MAX_IMAGE_BYTES

__all__ = ["ArtifactWriter", "Artifacts", "Reader", "Roots"]

SUPPORTED = "artifact://, file:// and absolute paths"


class Roots:
    """The folders that files may be read from. None means that no file may."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._given = tuple(Path(os.path.normpath(root.absolute())) for root in roots)

    def check(self, uri: str) -> Path:
        """The path behind `uri` if its text lies inside a root; nothing is looked at, so this works where the files are not.

        Raises `FailedPrecondition` SOURCE_FORBIDDEN, `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED.
        """
        path = _local(uri)
        inside = Path(os.path.normpath(path))
        if not any(inside.is_relative_to(root) for root in (*self._given, *map(_real, self._given))):
            raise self._forbidden(path)
        return inside

    def resolve(self, uri: str) -> Path:
        """The path behind `uri`, all links resolved, if it lies inside a root. Raises as `check` does."""
        path = _local(uri)
        real = _real(path)
        if not any(real.is_relative_to(_real(root)) for root in self._given):
            raise self._forbidden(path)
        return real

    def _forbidden(self, path: Path) -> FailedPrecondition:
        allowed = ", ".join(map(str, self._given)) or "none are configured; set LOOKALIKE_SOURCE_ROOTS"
        return FailedPrecondition(
            f"{str(path)[:200]!r} is outside the folders that may be read ({allowed})",
            reason="SOURCE_FORBIDDEN",
            metadata={"path": str(path)[:200]},
        )


class Reader:
    """Reads pictures. Thread-safe; holds nothing open."""

    def __init__(self, artifacts: Artifacts, roots: Sequence[Path], *, max_bytes: int = MAX_IMAGE_BYTES) -> None:
        self.artifacts = artifacts
        self.roots = Roots(roots)
        self._max_bytes = max_bytes

    def read(self, uri: str) -> bytes:
        """The bytes behind `uri`, at most `max_bytes`.

        Raises `NotFound` SOURCE_NOT_FOUND, `FailedPrecondition` SOURCE_FORBIDDEN (outside the roots) or SOURCE_UNREADABLE
        (permission, not a file, broken disk), `BadImage` IMAGE_TOO_LARGE without reading it whole or IMAGE_EMPTY,
        `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED, and `Unavailable` where the artifacts do not answer.
        """
        content = self._read_artifact(uri) if uri.startswith(SCHEME) else self._read_file(self.roots.resolve(uri))
        if len(content) > self._max_bytes:
            raise BadImage(f"is larger than {self._max_bytes} bytes", reason="IMAGE_TOO_LARGE")
        if not content:
            raise BadImage("is empty", reason="IMAGE_EMPTY")
        return content

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


def _local(uri: str) -> Path:
    try:
        return path_of(uri)
    except InvalidArgument as error:
        scheme = urlsplit(uri).scheme if "://" in uri else ""
        if scheme and scheme != "file":
            raise InvalidArgument(
                "uri", f"{scheme}:// is not supported; {SUPPORTED} are", reason="SOURCE_SCHEME_UNSUPPORTED"
            ) from error
        raise


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
