"""The connection to Milvus: opening it, calling through it within a deadline, and the one translation of pymilvus' errors.

`catalogue` and `vectors` call Milvus through `Connection` only. Works with Milvus 2.3 to 3.x and milvus-lite's server.
A connection may be used by several threads; it must be opened after a fork, as gRPC channels do not survive one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from lookalike.errors import (
    BadFilter,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    LookalikeError,
    NotFound,
    Overloaded,
    Unavailable,
)
from lookalike.runtime import tracing
from lookalike.runtime.call import Deadline

_DEPENDENCY = "milvus"
_LITE_VERSIONS = ("milvus-lite", "milvus_lite")
"""The first words of milvus-lite's version. The version of a real server may *end* in `-lite` (that of PyPI's `milvus`)."""

_CHANNEL_OPTIONS = {
    # gRPC's own back-off grows to two minutes; a Milvus that is back must be found within seconds.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2000,
    # pymilvus pings every 10 s, also without a call under way. milvus-lite's server may then end the connection ("too many
    # pings"), and a call that has just begun with it.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_permit_without_calls": 0,
}
_CONNECT_POLL_S = 0.2

# Codes of Milvus' `status.code` (its pkg/util/merr/errors.go, the same from 2.3 on; milvus-lite sends those it knows).
_NOT_READY = {2, 103, 106, 500, 502, 503, 901, 902, 903}
"""Service unavailable, collection not fully loaded or recovering, channels and nodes on the move. 1 (service not ready) is not
among them: milvus-lite says 1 for every failure without a code of its own."""
_BUSY = {3, 4, 7, 8, 9}
"""Memory, request and disk limits, rate limit, writes denied by quota."""
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101
_AUTHENTICATION = 1400

_TLS_PROBLEM = re.compile(r"SSL routines:[^:]*:(?P<code>[A-Z0-9_]+)(: (?P<why>[^:]+))?")
"""BoringSSL's error in gRPC's text: `...SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired`. The
text after other codes does not explain them."""

_CHANNEL_MOVES = re.compile(r"channel not available|delegator closed", re.IGNORECASE)
"""The error of a read whose channel its query node gave up while the read waited for it. Milvus 2.3 loses its code, 503, on the
way through the proxy, which answers 65535 (unexpected)."""

_EXPRESSION = re.compile(r"(parse|plan|invalid|end of).{0,40}\bexpr|query plan|\bat column \d", re.IGNORECASE)
"""The errors of Milvus 2.3 to 3.x for an expression that they do not understand (`cannot parse expression`, `failed to create
query plan`), and of milvus-lite (`unexpected end of expression at column 3`)."""

_OVERLOADED_RPC = {grpc.StatusCode.RESOURCE_EXHAUSTED}
_REFUSED_RPC = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class Connection:
    """An open connection. Made by `connect`; raises lookalike errors only."""

    def __init__(self, client: MilvusClient, *, is_lite: bool) -> None:
        self._client = client
        self.is_lite = is_lite
        """Whether the server is milvus-lite: no HNSW worth using, no segment states, collections not loaded after a restart."""

    def call(self, method: str, /, collection_name: str, *, deadline: Deadline, subject: str = "", **arguments: Any) -> Any:
        """Call `MilvusClient.<method>(collection_name, ...)` once, within the deadline.

        `subject` is the caller's name of the collection, for errors. Raises `NotFound` when the collection does not exist (any
        more), `Unavailable`, `Overloaded`, `DeadlineExceeded`, and `Internal` for calls that Milvus refuses. A collection that
        the server has not loaded (milvus-lite after each restart) is loaded, and the call is repeated.
        """
        try:
            with _translated(subject or collection_name):
                return self._invoke(method, collection_name, deadline, arguments)
        except _NotLoaded:
            with _translated(subject or collection_name):
                self._invoke("load_collection", collection_name, deadline, {})
                return self._invoke(method, collection_name, deadline, arguments)

    def has_collection(self, name: str, *, deadline: Deadline) -> bool:
        return bool(self.call("has_collection", name, deadline=deadline))

    def list_collections(self, *, deadline: Deadline) -> list[str]:
        """Names of all physical collections, sorted."""
        with _translated():
            return sorted(self._client.list_collections(timeout=deadline.remaining_s()))

    def aliases(self, collection_name: str, *, deadline: Deadline) -> list[str]:
        """The aliases of a physical collection. Raises `NotFound` when there is no such collection."""
        return list(self.call("list_aliases", collection_name, deadline=deadline)["aliases"])

    def drop_alias(self, alias: str, *, deadline: Deadline) -> None:
        """Remove an alias; no error when there is none."""
        with _translated():
            self._client.drop_alias(alias, timeout=deadline.remaining_s())

    def ping(self, timeout_s: float = 2.0) -> None:
        """Return when the server answers; else raise `Unavailable` (or `DeadlineExceeded`) within `timeout_s`."""
        with _translated():
            self._client.get_server_version(timeout=timeout_s)

    def close(self) -> None:
        """Close the channel. Calls after this raise `Unavailable`."""
        with _translated():
            self._client.close()

    def _invoke(self, method: str, collection_name: str, deadline: Deadline, arguments: dict[str, Any]) -> Any:
        attributes = {"db.system.name": "milvus", "db.operation.name": method, "db.collection.name": collection_name}
        with tracing.span(f"milvus {method}", "client", attributes=attributes):
            # The caller waits where its rate is refused; pymilvus would sleep past the deadline.
            return getattr(self._client, method)(
                collection_name, timeout=deadline.remaining_s(), retry_on_rate_limit=False, **arguments
            )


class _NotLoaded(Unavailable):
    """The collection exists, but is not in memory."""


class MilvusAccessDenied(Unavailable):
    """Milvus refuses the token. This passes, as when passwords are changed: jobs wait, and searches may be tried again."""

    reason = "MILVUS_ACCESS_DENIED"

    def __init__(self) -> None:
        super().__init__(_DEPENDENCY, "it refuses the credentials; see LOOKALIKE_MILVUS_TOKEN_FILE")


class _TlsFails(Unavailable):
    """The two sides do not agree on TLS, or the certificate is not trusted. Waiting alone rarely helps."""

    def __init__(self, problem: str) -> None:
        super().__init__(_DEPENDENCY, problem)
        self.problem = problem


def connect(uri: str, token: str | None = None, ca_file: Path | None = None, *, timeout_s: float = 10.0) -> Connection:
    """Open a connection to the Milvus or milvus-lite server at `uri` (`http://host:port`, or `https://` for TLS with a
    certificate of the authorities in `ca_file`, PEM, by default of public ones).

    The function waits for a server that is still starting. Raises `Unavailable` when no server has answered after `timeout_s`,
    or at once where TLS fails, and `MilvusAccessDenied` when the server refuses `token`.
    """
    # pymilvus logs each failed call with a traceback at ERROR; the same failure is raised, and logged where it is handled.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    deadline = Deadline.after(timeout_s)
    while True:
        try:
            return _open(uri, token, ca_file, deadline)
        except MilvusAccessDenied:
            raise
        except _TlsFails as error:
            raise Unavailable(_DEPENDENCY, f"{_host(uri)}: {error.problem}") from error
        except Unavailable:
            time.sleep(_CONNECT_POLL_S)
            try:
                deadline.remaining_s()
            except DeadlineExceeded:
                raise Unavailable(_DEPENDENCY, f"no answer from {_host(uri)} within {timeout_s:g} s") from None


def _open(uri: str, token: str | None, ca_file: Path | None, deadline: Deadline) -> Connection:
    with _translated():
        client = MilvusClient(
            uri,
            token=token or "",
            timeout=deadline.remaining_s(),
            dedicated=True,
            grpc_options=_CHANNEL_OPTIONS,
            server_pem_path=str(ca_file or ""),
        )
        # On a failed call pymilvus resets the channel under a lock of the whole process, waits for it, and tries again until
        # the timeout has passed, and sleeps past it. gRPC reconnects by itself, and the callers decide about trying again, so a
        # failure is raised at once. pymilvus has no public switch for it.
        client._handler._on_rpc_error = _raise_at_once  # noqa: SLF001
        version = str(client.get_server_version(timeout=deadline.remaining_s()))
    return Connection(client, is_lite=version.startswith(_LITE_VERSIONS))


def _raise_at_once(error: Exception) -> bool:
    if isinstance(error, grpc.RpcError):
        raise error
    return False


def _host(uri: str) -> str:
    """`uri` without user and password."""
    scheme, _, rest = uri.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]


@contextmanager
def _translated(subject: str = "") -> Iterator[None]:
    """Translate every error of pymilvus and gRPC that leaves the block to one of `lookalike.errors`."""
    try:
        yield
    except LookalikeError:
        raise
    except grpc.RpcError as error:
        raise _from_rpc_error(error) from error
    except MilvusException as error:
        raise _from_milvus_error(error, subject) from error
    except ValueError as error:
        raise _from_value_error(error) from error


def _from_rpc_error(error: grpc.RpcError) -> LookalikeError:
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("milvus did not answer in time")
    if code in _OVERLOADED_RPC:
        return Overloaded("milvus refuses more work for now")
    if code in _REFUSED_RPC:
        return MilvusAccessDenied()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Internal("this milvus server does not know the call", reason="MILVUS_UNIMPLEMENTED")
    if tls := _TLS_PROBLEM.search(error.details() or ""):
        return _TlsFails(_tls_problem(tls["code"], tls["why"]))
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(_DEPENDENCY, "it does not answer")
    return Unavailable(_DEPENDENCY, f"it answered {code.name}")


def _tls_problem(code: str, why: str | None) -> str:
    if code == "CERTIFICATE_VERIFY_FAILED":
        return f"its certificate is not trusted: {why}"
    if code == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS there"
    return f"TLS fails: {code.lower().replace('_', ' ')}"


def _from_milvus_error(error: MilvusException, subject: str) -> LookalikeError:
    if isinstance(error.__cause__, grpc.RpcError):
        return _from_rpc_error(error.__cause__)
    code, message = error.code, str(error.message)
    if isinstance(error.__cause__, ValueError):
        return _from_value_error(error.__cause__)
    if "should create connection first" in message:
        return Unavailable(_DEPENDENCY, "the connection is closed")
    if code == _COLLECTION_NOT_FOUND:
        return NotFound("collection", subject)
    if code == _COLLECTION_NOT_LOADED:
        return _NotLoaded(_DEPENDENCY, f"collection {subject!r} is not loaded")
    if code in _BUSY:
        return Overloaded("milvus refuses more work for now")
    if code == _AUTHENTICATION:
        return MilvusAccessDenied()
    if "deadline exceeded" in message.lower() or "timeout" in message.lower():
        return DeadlineExceeded("milvus did not answer in time")
    if code in _NOT_READY or "not ready" in message.lower() or _CHANNEL_MOVES.search(message):
        return Unavailable(_DEPENDENCY, "it is starting or recovering")
    if _EXPRESSION.search(message):
        # Filters are the only text from callers. Filters known to be too much for Milvus were refused before.
        return BadFilter("cannot be evaluated by this version of milvus; write it in another way")
    return Internal(f"milvus refused: {message[:300]}", reason="MILVUS_REFUSED")


def _from_value_error(error: ValueError) -> LookalikeError:
    """gRPC raises ValueError for a closed channel, and Python for a text that cannot be sent, which is no outage."""
    if isinstance(error, UnicodeError):
        return InvalidArgument("request", "holds text that is not Unicode (a lone surrogate)")
    if "closed" in str(error).lower():
        return Unavailable(_DEPENDENCY, "the connection is closed")
    return Internal("milvus' client cannot send the request", reason="MILVUS_REFUSED")
