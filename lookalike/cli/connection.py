"""The options before a command's name, the options that several commands take, and the client that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lookalike.client import Client

DEFAULT_ADDRESS = "127.0.0.1:50051"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Filter = Annotated[str, typer.Option("--filter", "-f", help="Only images that match this filter, such as 'label = \"Coat\"'.")]
RequestId = Annotated[
    str, typer.Option(help="Your id for this request; repeating it returns the same job.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


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
