"""The normal form of URLs of object stores and of the web. `roots` and the readers of URLs call it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote_to_bytes, urlsplit

from lookalike.errors import FailedPrecondition, InvalidArgument

WEB_PORTS = {"http": 80, "https": 443}
SCHEMES = (*WEB_PORTS, "s3")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""The last part of a host that counts as an IPv4 address: also `127.1`, `0x7f.1` and 2130706433 (WHATWG's URL standard)."""
_MOST_ENCODED = 8
"""Bounds how often a path may be percent-encoded: a proxy or two decode it once each."""
_IIS = re.compile(rb"%u([0-9A-Fa-f]{4})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]|[\xf8-\xfd][\x80-\xbf]{3}")
"""Overlong encodings of UTF-8, which RFC 3629 forbids."""
_SLASHES = re.compile(r"[/\\]")
_DOTS = re.compile(r"[\s\ufeff\u200b]*\.+(?![\w.-])")
"""Dots alone, or before characters that some server cuts off: `..;x=1`, `..?`, `.. `, `...`. Not `.name`, `..name` and `.-`."""
_SAFE = "%/!$&'()*+,;=:@~-._"
"""Characters that RFC 3986 allows in a path, and the percent sign of encoded ones."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL. `host` is the bucket of an `s3` URL, and "" only in a root that means every host. `path` begins with "/" or is
    empty; on the web it is percent-encoded, in a bucket it is the key as it is. `port` is 0 for a bucket."""

    scheme: str
    host: str
    port: int = 0
    path: str = ""
    query: str = ""

    @property
    def key(self) -> str:
        """The name of the object in its bucket."""
        return self.path[1:]

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where the port is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == WEB_PORTS.get(self.scheme, 0) else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The target of a web request: path and query."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    def covers(self, other: Url) -> bool:
        """Whether `other` lies under this URL: on the same host, with the same path or a path in its folder."""
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
    """The scheme of a URI in lower case; "" for a path."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def parse_url(uri: str) -> Url:
    """`uri` of one of `SCHEMES` in its normal form, the fragment dropped.

    Raises `InvalidArgument` ("uri") for a text that is not a URL, and `FailedPrecondition` SOURCE_FORBIDDEN for a URL that
    climbs, or that some server could read so, and for a URL with a user's name.
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
        host = host if host.isascii() else host.encode("idna").decode().rstrip(".")
    except (ValueError, UnicodeError) as error:
        raise InvalidArgument("uri", f"{uri[:80]!r} is not a URL: {error}") from error
    if parts.username is not None or parts.password is not None:
        # The text before the @ may be a password, so it is not shown.
        raise FailedPrecondition(f"the URL at {host[:80]!r} holds a user's name; leave it out", reason="SOURCE_FORBIDDEN")
    if "\\" in parts.path:
        raise InvalidArgument("uri", f"{uri[:80]!r} is not a URL: it holds a backslash")
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE + "?[]")
    return Url(parts.scheme.lower(), _checked_host(uri, host), port or WEB_PORTS[parts.scheme.lower()], path, query)


def _checked_host(uri: str, host: str) -> str:
    """`host`, if every program reads it alike: a name, or an IP address in its usual form."""
    numeric = _NUMBER.fullmatch(host.rpartition(".")[2])
    if not host or (_NAME.fullmatch(host) and not numeric):
        return host
    try:
        ip = ip_address(host)
    except ValueError:
        if numeric:  # Some programs take it for an address, and not all for the same.
            problem = f"{host[:80]!r} is no IP address in its usual spelling; write it as 192.0.2.1 is written"
            raise FailedPrecondition(problem, reason="SOURCE_FORBIDDEN") from None
        raise InvalidArgument("uri", f"{uri[:80]!r} is not a URL: {host[:80]!r} is not the name of a host") from None
    if getattr(ip, "scope_id", None) is not None:
        problem = f"the address {host[:80]!r} has a zone, so it is not public; only public addresses are read"
        raise FailedPrecondition(problem, reason="SOURCE_FORBIDDEN")
    return str(ip)


def _refuse_climbing(url: Url) -> None:
    """Read the path as the most lenient server would, and refuse it where a segment then is, or begins like, `.` or `..`."""
    shown = f"{str(url)[:200]!r}"
    path = url.path.encode("utf-8", "surrogatepass")
    for _ in range(_MOST_ENCODED):
        decoded = _decoded(path, shown)
        if decoded == path:
            break
        path = decoded
    else:
        raise FailedPrecondition(f"{shown} is percent-encoded over and over; write its path plainly", reason="SOURCE_FORBIDDEN")
    # Fullwidth dots and slashes among them, which some servers take for plain ones.
    for segment in _SLASHES.split(unicodedata.normalize("NFKC", path.decode("utf-8", "replace"))):
        if _DOTS.match(segment):
            raise FailedPrecondition(
                f"{shown} climbs, or some server could think so ('.' or '..' in its path); write the path without",
                reason="SOURCE_FORBIDDEN",
            )


def _decoded(path: bytes, shown: str) -> bytes:
    """`path` percent-decoded once. Raises `FailedPrecondition` for control characters, and for overlong UTF-8, which some
    servers accept."""
    decoded = unquote_to_bytes(_IIS.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "surrogatepass"), path))
    if _CONTROL.search(decoded) or _OVERLONG.search(decoded):
        problem = "holds control characters, or letters that are not encoded as UTF-8 demands, in its path"
        raise FailedPrecondition(f"{shown} {problem}", reason="SOURCE_FORBIDDEN")
    return decoded
