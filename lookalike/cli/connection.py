"""The options before a command's name, and the client that the commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lookalike.client import Client

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class Options:
    """The address of the gateway's gRPC (`HOST:PORT`), and the time limit of one call, in seconds."""

    address: str
    timeout_s: float


def options(context: typer.Context) -> Options:
    """The options before the command's name, or their defaults."""
    given = context.obj
    return given if isinstance(given, Options) else Options(DEFAULT_ADDRESS, 30.0)


def connect(context: typer.Context) -> Client:
    """A client for the gateway of `--address`; use it in a `with` statement."""
    from lookalike.client import Client

    given = options(context)
    return Client(given.address, given.timeout_s)
