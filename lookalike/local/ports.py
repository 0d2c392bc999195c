"""Ports on the loopback interface: which are free, and which processes hold them and listen on them.

A part starts seconds after its port was chosen, and listens seconds after that. Until then its port is held: by a bound socket,
which keeps the operating system from giving the port to others and lets the part listen; and on Linux by a name that no other
`lookalike` on this machine can take meanwhile.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any

import psutil

from lookalike.errors import FailedPrecondition, InvalidArgument

HOST = "127.0.0.1"
"""The only interface that `lookalike up` listens on."""
_MAX_PORT = 65_535
_TRIES = 100


class HeldPorts:
    """Ports that this process has chosen, and that no other may take until `close`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def free(self) -> int:
        """A free port, chosen by the operating system."""
        for _ in range(_TRIES):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
                listener.bind((HOST, 0))
                port = int(listener.getsockname()[1])
            if self._hold(port):
                return port
        raise FailedPrecondition(f"no port on {HOST} is free", reason="PORT_TAKEN")

    def prefer(self, port: int) -> int:
        """`port` if it is free, else another free port: for parts that only Lookalike's own programs call."""
        return port if port and self._hold(port) else self.free()

    def require(self, port: int, option: str) -> int:
        """`port` if it is free (0: any free port): for parts that people connect to.

        Raises `InvalidArgument` for a number that is not a port, and `FailedPrecondition` (`PORT_TAKEN`), which names `option`.
        """
        if not 0 <= port <= _MAX_PORT:
            raise InvalidArgument(option, f"{port} is not a port; 1 to {_MAX_PORT} are, and 0 chooses one")
        if port == 0:
            return self.free()
        if not self._hold(port):
            raise FailedPrecondition(
                f"port {port} on {HOST} is taken by {taken_by(port)}; choose another with {option}, or 0 for any free one",
                reason="PORT_TAKEN",
                metadata={"port": str(port)},
            )
        return port

    def close(self) -> None:
        """Release every port."""
        while self._sockets:
            self._sockets.pop().close()

    def _hold(self, port: int) -> bool:
        """Hold `port`; whether it was free."""
        name = _named(port)
        if name is None or not is_free(port):
            if name is not None:
                name.close()
            return False
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Both this socket and the part's own have SO_REUSEADDR, and this one never listens, so the part may bind.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
        except OSError:
            holder.close()
            name.close()
            return False
        self._sockets += [name, holder]
        return True


def _named(port: int) -> socket.socket | None:
    """A socket with the name that stands for `port` among all `lookalike`s of this machine; None where another has the name.

    The operating system frees the name when the process ends, however it ends.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if sys.platform == "linux":
        try:
            made.bind(f"\0lookalike/{HOST}:{port}")
        except OSError:
            made.close()
            return None
    return made


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now. A port left in TIME_WAIT by an earlier run counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # Without SO_REUSEPORT, so that a server that shares its port (gRPC's default) is noticed.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def listens(pid: int, port: int) -> bool:
    """Whether process `pid` itself listens on `port`; true where the operating system does not say."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return any(_is_listener(one, port) for one in sockets)


def taken_by(port: int) -> str:
    """The process that holds `port`, for an error: `process 123 (valkey-server)`, `another lookalike that is starting`."""
    with suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if _is_listener(one, port) and one.pid:
                return f"process {one.pid} ({psutil.Process(one.pid).name()})"
    return "another program" if not is_free(port) else "another lookalike that is starting"


def _is_listener(one: Any, port: int) -> bool:
    """Whether psutil's connection is a socket that listens on `port`."""
    return one.status == psutil.CONN_LISTEN and bool(one.laddr) and one.laddr.port == port
