"""Pictures of the web, behind the guard. `reader` calls it.

urllib3 connects to a given address, and sends the name and checks its certificate. The connection goes to the address that was
looked up and found public, so a name that changes its address in between gains nothing. botocore, below s3fs, uses urllib3 too.
No proxy is used. A redirect is a new URL, which must pass the guard again.
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import urllib3

from lookalike.errors import (
    BadImage,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LookalikeError,
    NotFound,
    Unavailable,
)
from lookalike.items import SOURCE_UNREADABLE
from lookalike.sources.addresses import is_public
from lookalike.sources.roots import FORBIDDEN, Roots
from lookalike.sources.urls import Url

SOURCE_TIMEOUT = "SOURCE_TIMEOUT"
SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
"""Reason of an item whose host answers no attempt, or answers each that it is unavailable."""

_ATTEMPTS = 4
_BACKOFF_S = 0.5
"""The wait before the second attempt. The wait doubles each time, and half of it is random: 4 attempts wait 2 to 3.5 seconds
altogether."""
_RETRY_AFTER_MOST_S = 10.0
_REDIRECTS = 5
_CONNECT_S = 5.0
_PIECE = 64 * 1024
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "lookalike", "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}


class _Passing(Exception):
    """A failure that may pass with another attempt."""

    def __init__(self, problem: str, retry_after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.problem, self.retry_after_s = problem, retry_after_s


@dataclass(frozen=True, slots=True)
class _Clock:
    """The time that one read may still take."""

    ends_s: float
    allowed_s: float

    def left_s(self) -> float:
        left_s = self.ends_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(f"took longer than {self.allowed_s:g} s to read", reason=SOURCE_TIMEOUT)
        return left_s


class Web:
    """A client of the web. Thread-safe; keeps some connections open."""

    def __init__(self, roots: Roots, *, timeout_s: float, backoff_s: float = _BACKOFF_S) -> None:
        self._roots, self._timeout_s, self._backoff_s = roots, timeout_s, backoff_s
        self._pools = urllib3.PoolManager(num_pools=64, maxsize=16, ssl_context=ssl.create_default_context())

    def read(self, url: Url, *, max_bytes: int) -> bytes:
        """The body behind `url`, which has passed the guard; a body over `max_bytes` is not read to its end.

        Raises `NotFound` SOURCE_NOT_FOUND; `FailedPrecondition` SOURCE_FORBIDDEN (needs credentials, redirects out of the
        roots, has a private address) or SOURCE_UNREADABLE; `BadImage` IMAGE_TOO_LARGE; `DeadlineExceeded` SOURCE_TIMEOUT; and,
        after some attempts, `Unavailable` SOURCE_UNAVAILABLE.
        """
        clock = _Clock(time.monotonic() + self._timeout_s, self._timeout_s)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._follow(url, max_bytes, clock)
            except _Passing as passing:
                if attempt == _ATTEMPTS:
                    raise Unavailable(
                        url.authority, f"{passing.problem} ({_ATTEMPTS} attempts)", reason=SOURCE_UNAVAILABLE
                    ) from passing
                wait_s = self._backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311
                time.sleep(min(max(wait_s, min(passing.retry_after_s, _RETRY_AFTER_MOST_S)), clock.left_s()))
        raise AssertionError  # The last attempt returns or raises.

    def _follow(self, url: Url, max_bytes: int, clock: _Clock) -> bytes:
        for _ in range(_REDIRECTS + 1):
            found = self._get(url, max_bytes, clock)
            if isinstance(found, bytes):
                return found
            url = found
        raise FailedPrecondition(f"{str(url)[:200]!r} redirects more than {_REDIRECTS} times", reason=SOURCE_UNREADABLE)

    def _get(self, url: Url, max_bytes: int, clock: _Clock) -> bytes | Url:
        """Make a request; returns the body, or the URL of a redirect."""
        response = self._ask(url, clock)
        try:
            if response.status in _REDIRECT_STATUSES and "Location" in response.headers:
                return self._redirected(url, response.headers["Location"])
            _check_status(url, response)
            body = _body(response, max_bytes, clock)
        except urllib3.exceptions.HTTPError as error:
            raise _Passing(_said(error)) from error
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return body

    def _ask(self, url: Url, clock: _Clock) -> urllib3.BaseHTTPResponse:
        problem = "has no address"
        for address in self._addresses(url):
            left_s = clock.left_s()
            names = {"server_hostname": url.host, "assert_hostname": url.host} if url.scheme == "https" else {}
            pool = self._pools.connection_from_host(address, url.port, url.scheme, pool_kwargs=names)
            timeout = urllib3.Timeout(connect=min(_CONNECT_S, left_s), read=left_s)
            try:
                return pool.urlopen(
                    "GET",
                    url.target,
                    headers=_HEADERS | {"Host": url.authority},
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=timeout,
                )
            except urllib3.exceptions.SSLError as error:
                raise FailedPrecondition(
                    f"{url.authority} has no certificate that can be trusted: {_said(error)}", reason=SOURCE_UNREADABLE
                ) from error
            except urllib3.exceptions.ReadTimeoutError as error:
                clock.left_s()
                problem = _said(error)
            except urllib3.exceptions.HTTPError as error:
                problem = _said(error)
        raise _Passing(problem)

    def _addresses(self, url: Url) -> list[str]:
        """The addresses of `url`. Raises `FailedPrecondition` where its name has an address that is not public."""
        try:
            found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                raise NotFound("source", str(url)[:200], hint=f"there is no host {url.host!r}") from error
            raise _Passing(f"its name cannot be looked up: {error.strerror}") from error
        except UnicodeError as error:
            raise InvalidArgument("uri", f"{str(url)[:80]!r} names a host that cannot be: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._roots.names_host(url) and not all(map(is_public, addresses)):
            raise FailedPrecondition(
                f"the address of {url.host!r} is not public; name the host in LOOKALIKE_SOURCE_ROOTS if it is meant",
                reason=FORBIDDEN,
            )
        return addresses

    def _redirected(self, url: Url, location: str) -> Url:
        try:
            target = self._roots.check(urljoin(str(url), location))
        except LookalikeError as error:
            raise FailedPrecondition(f"{str(url)[:200]!r} redirects: {error.message}", reason=FORBIDDEN) from error
        if not isinstance(target, Url) or target.scheme not in ("http", "https"):
            raise FailedPrecondition(f"{str(url)[:200]!r} redirects out of the web", reason=FORBIDDEN)
        return target


def _check_status(url: Url, response: urllib3.BaseHTTPResponse) -> None:
    status, shown = response.status, str(url)[:200]
    if status == 200:
        return
    if status in (404, 410):
        raise NotFound("source", shown, hint=f"{url.authority} answered {status}")
    if status in (401, 403, 407):
        raise FailedPrecondition(
            f"{shown!r} needs credentials, or is not for everybody ({url.authority} answered {status}); only what can be read "
            "without can be ingested",
            reason=FORBIDDEN,
        )
    if status in _TRANSIENT_STATUSES:
        raise _Passing(f"answered {status}", _retry_after_s(response.headers))
    raise FailedPrecondition(f"{shown!r} cannot be read: {url.authority} answered {status}", reason=SOURCE_UNREADABLE)


def _body(response: urllib3.BaseHTTPResponse, max_bytes: int, clock: _Clock) -> bytes:
    length = response.headers.get("Content-Length", "")
    size_bytes = int(length) if length.isdecimal() else None
    if size_bytes is not None and size_bytes > max_bytes:
        raise BadImage(f"is {size_bytes} bytes long; at most {max_bytes} are allowed", reason="IMAGE_TOO_LARGE")
    pieces: list[bytes] = []
    received = 0
    while piece := response.read1(_PIECE):
        clock.left_s()
        pieces.append(piece)
        received += len(piece)
        if received > max_bytes:
            raise BadImage(f"is larger than {max_bytes} bytes", reason="IMAGE_TOO_LARGE")
    if size_bytes is not None and received < size_bytes:
        raise _Passing(f"sent {received} bytes of {size_bytes}")
    return b"".join(pieces)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """The seconds of the header; 0 for a date, which the header may hold too."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def _said(error: Exception) -> str:
    """The text of a library's error, without the names of its objects."""
    text = " ".join(str(error).split())
    return text.split("): ", 1)[-1][:200] or type(error).__name__
