"""Which names the gateway answers to, and from whose pages it takes requests. Called by `edge`, first of all.

A foreign name that leads here (DNS rebinding) makes a browser take a foreign page and the gateway for one site. Hence `Host`
must be a loopback name, the very address that the connection came to, or a name of the setting. `Origin`, which browsers send
and pages cannot change, must be the same site. Neither is read from `X-Forwarded-Host` and the like, which anybody can send.
gRPC is not checked: a browser cannot speak it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.types import Scope

from lookalike.errors import FailedPrecondition

ANY = "*"
SETTING = "LOOKALIKE_GATEWAY_HOSTS"
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,254})(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#@]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAID = 100
"""Characters of a header that an error repeats."""


class HostUnknown(FailedPrecondition):
    """Meant for another site. Known to HTTP only, where it is 421 (RFC 9110, 15.5.20)."""

    reason, http_code = "HOST_UNKNOWN", 421


class FromOtherSite(FailedPrecondition):
    """Sent by another site's page. Known to HTTP only, where it is 403."""

    reason, http_code = "CROSS_SITE", 403


@dataclass(frozen=True, slots=True)
class Authority:
    """A host in its one spelling (lower case, no dot at the end, addresses as `ipaddress` writes them), and a port if given."""

    host: str
    port: int | None

    @classmethod
    def read(cls, text: str) -> Self | None:
        """`Example.org.:8080` -> example.org, 8080. None for what is no such thing."""
        match = _AUTHORITY.fullmatch(text)
        if match is None or (match[2] and int(match[2]) > 65535):
            return None
        host = match[1].lower().removesuffix(".")
        address = _address(host)
        if not host or (host.startswith("[") and address is None):
            return None
        return cls(host if address is None else str(address), int(match[2]) if match[2] else None)

    @property
    def is_loopback(self) -> bool:
        address = _address(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of this gateway besides loopback ones. A name without a port stands for every port."""

    names: frozenset[Authority] = frozenset()
    any_host: bool = False

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Of entries `NAME`, `NAME:PORT` or `*`. Raises `ValueError`, in words for people, for another."""
        given = frozenset(entries)
        read = {entry: Authority.read(entry) for entry in given - {ANY}}
        if wrong := sorted(entry for entry, name in read.items() if name is None):
            raise ValueError(f"must be names such as lookalike.example.com, NAME:PORT, or {ANY}; {wrong[0]!r} is none of these")
        return cls(frozenset(name for name in read.values() if name is not None), ANY in given)

    def check(self, scope: Scope) -> None:
        """Raises `HostUnknown` for a request that was meant for another site, `FromOtherSite` for one that its page sends."""
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        # Without one it is no browser: HTTP/1.0, such as a load balancer's probe. (h11 refuses HTTP/1.1 without one.)
        asked = [self._own(text, scope) for text in given]
        if len(given) > 1:
            raise HostUnknown("the request has more than one Host")
        for origin in headers.getlist("origin"):
            self._check_origin(origin, asked[0] if asked else None)
        # A second look, at what browsers say of themselves over https and on loopback.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["method"] not in ("GET", "HEAD"):
            raise FromOtherSite("requests that change something are not taken from other web sites")

    def _own(self, text: str, scope: Scope) -> Authority:
        host = Authority.read(text)
        if host is None:
            raise HostUnknown(f"{text[:_SAID]!r} is no Host, such as localhost:8080")
        if not (self.any_host or host.is_loopback or self._named(host) or _came_to(scope, host)):
            raise HostUnknown(
                f"this gateway does not answer to the name {host.host!r}. If it is yours, add it to {SETTING}, or start "
                f"`lookalike up` with --host {host.host}",
                metadata={"host": host.host},
            )
        return host

    def _named(self, asked: Authority) -> bool:
        return asked in self.names or Authority(asked.host, None) in self.names

    def _check_origin(self, text: str, host: Authority | None) -> None:
        scheme, origin = _read_origin(text)
        default = _DEFAULT_PORTS.get(scheme)
        same = (
            origin is not None
            and host is not None
            and (origin.host, origin.port or default) == (host.host, host.port or default)
        )
        # Behind a proxy that sends its own Host, the site is a name of the setting: at its scheme's port, or at the one named.
        named = origin is not None and (
            origin in self.names or (origin.port in (None, default) and Authority(origin.host, None) in self.names)
        )
        if not (same or named):
            raise FromOtherSite(
                f"requests are not taken from pages of another site ({text[:_SAID]}). If it is yours, let the proxy before "
                f"the gateway pass on its Host, or add the site's NAME:PORT to {SETTING}"
            )


def of_absolute_target(scope: Scope) -> Scope:
    """`scope` of `GET http://host/path` (RFC 9112, 3.2.2) as that of `GET /path` with this Host; any other as it is."""
    raw = scope.get("raw_path") or b""
    match = re.match(rb"(?i)https?://([^/?#]*)(/.*)?$", raw)
    if match is None:
        return scope
    _, found, path = scope["path"].partition("://")[2].partition("/")
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    # Both names are looked at: what does not agree is refused.
    hosts = {match[1].lower(), *(value.lower() for name, value in scope["headers"] if name == b"host")}
    return {
        **scope,
        "path": f"/{path}" if found else "/",
        "raw_path": match[2] or b"/",
        "headers": [*((b"host", host) for host in sorted(hosts)), *headers],
    }


def _read_origin(text: str) -> tuple[str, Authority | None]:
    match = _ORIGIN.fullmatch(text)
    return (match[1], Authority.read(match[2])) if match else ("", None)


def _came_to(scope: Scope, asked: Authority) -> bool:
    """Whether `asked` is the address of this end of the connection: probes of a pod and callers by address need no setting."""
    server = scope.get("server")
    here = _address(server[0].partition("%")[0]) if server else None
    return here is not None and asked.host == str(here)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
