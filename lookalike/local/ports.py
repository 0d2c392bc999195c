"""Ports on the loopback interface: which are free, and what to do when a wished one is not."""

from __future__ import annotations

import socket

from lookalike.errors import FailedPrecondition, InvalidArgument

HOST = "127.0.0.1"
"""The only interface that `lookalike up` listens on."""
_MAX_PORT = 65_535


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now. A port left in TIME_WAIT by an earlier run counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # Without SO_REUSEPORT: a server that shares its port (gRPC's default) must not go unnoticed.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that is free now, chosen by the system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def prefer(port: int) -> int:
    """`port` if it is free, else one that is: for parts that only our own programs talk to."""
    return port if port and is_free(port) else free_port()


def require(port: int, option: str) -> int:
    """`port` if it is free (0: one that is): for parts that people connect to.

    Raises `InvalidArgument` for a number that is no port, `FailedPrecondition` (`PORT_TAKEN`) naming `option`.
    """
    if not 0 <= port <= _MAX_PORT:
        raise InvalidArgument(option, f"{port} is not a port; 1 to {_MAX_PORT} are, and 0 chooses one")
    if port == 0:
        return free_port()
    if not is_free(port):
        raise FailedPrecondition(
            f"port {port} on {HOST} is taken by another program; choose another with {option}, or 0 for any free one",
            reason="PORT_TAKEN",
            metadata={"port": str(port)},
        )
    return port
