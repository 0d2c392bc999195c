"""The guard: which folders and URLs may be read. Every place that a caller names passes it first.

Links are resolved, so that no link leads out of a folder. A URL that climbs is refused, so that no URL leads out of its prefix.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.items import path_of
from lookalike.sources.urls import SCHEMES, Url, parse_url, scheme_of

SUPPORTED = "artifact://, file://, http://, https://, s3://, tar:// and absolute paths"
FORBIDDEN = "SOURCE_FORBIDDEN"


class Roots:
    """Folders and prefixes of URLs that may be read. Without roots nothing may be read.

    `/data`, `s3://bucket/photos/`, `https://images.example.com/`, or `https://` for any host whose address is public. A host
    that is named may have any address. Raises `InvalidArgument` for a root that is neither a folder nor such a URL.
    """

    def __init__(self, roots: Sequence[Path | str]) -> None:
        texts = [str(root) for root in roots]
        self._given = tuple(Path(os.path.normpath(path_of_root(text).absolute())) for text in texts if not scheme_of_url(text))
        self._urls = tuple(_root_url(text) for text in texts if scheme_of_url(text))

    def check(self, uri: str) -> Path | Url:
        """The path or URL behind `uri` if its text lies inside a root. No file is read, so this works on machines without the
        files. Raises `FailedPrecondition` SOURCE_FORBIDDEN, `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED.
        """
        if scheme_of_url(uri):
            return self._check_url(uri)
        path = _local(uri)
        inside = Path(os.path.normpath(path))
        if not any(inside.is_relative_to(root) for root in (*self._given, *map(_real, self._given))):
            raise self._forbidden(str(path))
        return inside

    def resolve(self, uri: str) -> Path | Url:
        """As `check`, but with all links resolved where `uri` names a file."""
        if scheme_of_url(uri):
            return self._check_url(uri)
        path = _local(uri)
        real = _real(path)
        if not any(real.is_relative_to(_real(root)) for root in self._given):
            raise self._forbidden(str(path))
        return real

    def names_host(self, url: Url) -> bool:
        """Whether a root names the host of `url`, so that its address may be a private one."""
        return any(root.host and root.covers(url) for root in self._urls)

    def _check_url(self, uri: str) -> Url:
        url = parse_url(uri)
        if not url.host:
            raise InvalidArgument("uri", f"{uri[:80]!r} names no {'bucket' if url.scheme == 's3' else 'host'}")
        if not any(root.covers(url) for root in self._urls):
            raise self._forbidden(str(url))
        return url

    def _forbidden(self, place: str) -> FailedPrecondition:
        allowed = ", ".join(map(str, (*self._given, *self._urls))) or "none are configured; set LOOKALIKE_SOURCE_ROOTS"
        return FailedPrecondition(
            f"{place[:200]!r} is outside the folders and URLs that may be read ({allowed})",
            reason=FORBIDDEN,
            metadata={"path": place[:200]},
        )


def _root_url(text: str) -> Url:
    """The URL that a root names. A query is refused: it would not be compared, and so seem to forbid URLs that it does not."""
    try:
        url = parse_url(text)
    except FailedPrecondition as error:
        raise InvalidArgument("LOOKALIKE_SOURCE_ROOTS", error.message) from error
    if url.query or ("#" in text and url.scheme != "s3"):
        raise InvalidArgument("LOOKALIKE_SOURCE_ROOTS", f"{text[:80]!r} has a query or a fragment; a root ends with its path")
    return url


def scheme_of_url(uri: str) -> str:
    """The scheme of a URL, where it can be read and is not that of files; else ""."""
    scheme = scheme_of(uri)
    return scheme if scheme in SCHEMES else ""


def path_of_root(text: str) -> Path:
    """The folder that a root names: a path, which may be relative, or a `file://` URI."""
    scheme = scheme_of(text)
    if scheme and scheme != "file":
        raise InvalidArgument("LOOKALIKE_SOURCE_ROOTS", f"{text[:80]!r} is neither a folder nor a URL of {', '.join(SCHEMES)}")
    return path_of(text) if scheme else Path(text)


def _local(uri: str) -> Path:
    try:
        return path_of(uri)
    except InvalidArgument as error:
        scheme = scheme_of(uri)
        if scheme and scheme != "file":
            raise InvalidArgument(
                "uri", f"{scheme}:// is not supported here; {SUPPORTED} are", reason="SOURCE_SCHEME_UNSUPPORTED"
            ) from error
        raise


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
