"""Which registry a command means: `--registry`, else that of `lookalike up` on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        envvar="LOOKALIKE_REGISTRY",
        help="Registry of models: a folder or an fsspec URL.",
        show_default="models, in the data folder of `lookalike up`",
    ),
]


def registry_url(given: str | None) -> str:
    """`given`, or the folder `models` in the data folder: the one that `lookalike up` uses by default."""
    return given or str(Path(os.environ.get("LOOKALIKE_DATA") or "~/.lookalike").expanduser() / "models")
