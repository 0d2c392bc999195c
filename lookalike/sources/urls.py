"""What a URL of an object store or of the web means, in one normal form. Used by `roots` and by those who read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from lookalike.errors import FailedPrecondition, InvalidArgument

WEB_PORTS = {"http": 80, "https": 443}
SCHEMES = (*WEB_PORTS, "s3")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SAFE = "%/!$&'()*+,;=:@~-._"
"""What RFC 3986 allows in a path, and the percent sign of what is encoded already."""


@dataclass(frozen=True, slots=True)
class Url:
    """`host` is the bucket of an `s3` URL, and "" only in a root that means every host. `path` begins with "/" or is empty; of
    the web it is percent-encoded, of a bucket it is the key as it is. `port` is 0 for a bucket."""

    scheme: str
    host: str
    port: int = 0
    path: str = ""
    query: str = ""

    @property
    def key(self) -> str:
        """Of a bucket: the name of the object."""
        return self.path[1:]

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where that is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == WEB_PORTS.get(self.scheme, 0) else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Of the web: what a request asks the host for."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    def covers(self, other: Url) -> bool:
        """Whether `other` lies under this one: the same place, and its path in this one's folder or the same."""
        if (self.scheme, self.host or other.host, self.port if self.host else other.port) != (
            other.scheme,
            other.host,
            other.port,
        ):
            return False
        folder = self.path.rstrip("/")
        return other.path == self.path or other.path == folder or other.path.startswith(folder + "/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}{'?' + self.query if self.query else ''}"


def scheme_of(uri: str) -> str:
    """The scheme of a URI in lower case; "" of a path."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def parse_url(uri: str) -> Url:
    """`uri` of one of `SCHEMES` in its normal form, the fragment dropped.

    Raises `InvalidArgument` ("uri") for one that means nothing, `FailedPrecondition` SOURCE_FORBIDDEN for one that climbs
    (`..`, encoded or not: who knows how a server climbs) or holds a user's name.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in uri):
        raise InvalidArgument("uri", f"{uri[:80]!r} holds control characters")
    if scheme_of(uri) == "s3":
        bucket, slash, key = uri.split("://", 1)[1].partition("/")
        url = Url("s3", bucket, 0, slash + key)
    else:
        url = _parse_web(uri)
    _refuse_climbing(url)
    return url


def _parse_web(uri: str) -> Url:
    try:
        parts = urlsplit(uri)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise InvalidArgument("uri", f"{uri[:80]!r} is not a URL: {error}") from error
    if parts.username is not None or parts.password is not None:
        # Not shown: what stands before the @ may be a password.
        raise FailedPrecondition(f"the URL at {host!r} holds a user's name; leave it out", reason="SOURCE_FORBIDDEN")
    if "\\" in parts.path or "\\" in host or " " in host:
        raise InvalidArgument("uri", f"{uri[:80]!r} is not a URL: it holds a backslash, or a space in its host")
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE + "?[]")
    return Url(parts.scheme.lower(), host, port or WEB_PORTS[parts.scheme.lower()], path, query)


def _refuse_climbing(url: Url) -> None:
    path, decoded = url.path, unquote(url.path)
    while decoded != path:  # Encoded more than once, for a server that decodes more than once.
        path, decoded = decoded, unquote(decoded)
    segments = path.replace("\\", "/").split("/")
    if ".." in segments or "." in segments:
        raise FailedPrecondition(
            f"{str(url)[:200]!r} climbs ('.' or '..' in its path); write the path without", reason="SOURCE_FORBIDDEN"
        )
