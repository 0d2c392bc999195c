"""The way to Redis: the URL of one server, or the Sentinels that know which server is the primary.

`settings` makes it from the operator's values; `lookalike.jobs` opens it, for the ledger and for Celery.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SENTINEL_FORM = "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"
SENTINEL_PORT = 26379
"""The port of a Sentinel whose URL has none; redis.io/docs/latest/operate/oss_and_stack/management/sentinel."""

_URL = re.compile(r"(rediss?)\+sentinel://(?:([^/]*)@)?([^/@?#]*)(?:/([^/?#]*))?(?:/([^/?#]*))?/?")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+))(?::([0-9]+))?")
_SERVICE = re.compile(r"[A-Za-z0-9._-]+")
"""The form of a name that Sentinel takes."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """A Redis of several servers. `username` and `password` are those of the servers; the Sentinels may ask for
    `sentinel_password`. With `tls` both are reached by TLS, with certificates of the authorities in `ca_file`, by default of
    those of the system."""

    addresses: tuple[tuple[str, int], ...]
    service: str
    """The name by which the Sentinels watch the primary: `sentinel monitor NAME ...`."""
    database: int = 0
    username: str = ""
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None


RedisAccess: TypeAlias = str | Sentinels
"""A string is the URL of one server, `redis://` or `rediss://`, with its password and its TLS options."""


def access_by(url: str, *, password: str | None, sentinel_password: str | None, ca_file: Path | None) -> RedisAccess:
    """The way to Redis that `url` describes. `password` takes precedence over a password in the URL. Raises `ValueError` as
    `read_sentinel_url` does."""
    if is_sentinel_url(url):
        sentinels = read_sentinel_url(url)
        own = sentinels.password if password is None else password
        return replace(sentinels, password=own, sentinel_password=sentinel_password, ca_file=ca_file)
    parts = urlsplit(url)
    if password is not None:
        user, host = parts.username or "", parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{quote(unquote(user), safe='')}:{quote(password, safe='')}@{host}")
    if parts.scheme == "rediss":
        # Celery accepts any certificate unless these options say otherwise.
        tls = {"ssl_cert_reqs": "required", **({"ssl_ca_certs": str(ca_file)} if ca_file else {})}
        parts = parts._replace(query=urlencode({**tls, **dict(parse_qsl(parts.query))}))
    return urlunsplit(parts)


def is_sentinel_url(url: str) -> bool:
    return url.partition("://")[0] in SENTINEL_SCHEMES


def read_sentinel_url(url: str) -> Sentinels:
    """`redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],...,HOST[:PORT]/SERVICE[/DB]`, or `rediss+sentinel://` for TLS.

    Raises `ValueError`, whose text never has the password.
    """
    if "?" in url or "#" in url:
        raise ValueError(f"must be {SENTINEL_FORM}, with nothing behind it (? and # in a password are %3F and %23)")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError(f"must be {SENTINEL_FORM}, or rediss+sentinel:// for TLS to the Sentinels and to Redis")
    scheme, credentials, hosts, service, database = parts.groups(default="")
    if not service or (service.isdigit() and not database):
        raise ValueError(f"must be {SENTINEL_FORM}: it lacks SERVICE, the name by which the Sentinels watch the primary")
    if not _SERVICE.fullmatch(service):
        raise ValueError(f"must be {SENTINEL_FORM}; SERVICE has letters, digits, '.', '-' and '_'")
    if database and not database.isdecimal():
        raise ValueError(f"must be {SENTINEL_FORM}; DB is the number of a database")
    if "," in credentials:
        raise ValueError(f"must be {SENTINEL_FORM}; USER:PASSWORD@ stands once, before all hosts (a comma in it is %2C)")
    user, colon, password = credentials.partition(":")
    return Sentinels(
        tuple(_address(host) for host in hosts.split(",")),
        service,
        int(database or 0),
        unquote(user),
        unquote(password) if colon else None,
        tls=scheme == "rediss",
    )


def _address(text: str) -> tuple[str, int]:
    parts = _ADDRESS.fullmatch(text)
    port = int(parts[3] or SENTINEL_PORT) if parts else 0
    if parts is None or not 0 < port < 65536:
        raise ValueError(f"must be {SENTINEL_FORM}; {text!r} is not HOST:PORT of a Sentinel")
    return parts[1] or parts[2], port
