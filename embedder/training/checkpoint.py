"""What a training run needs to go on after a kill: one file, whole or not at all, written after every epoch."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.errors import FailedPrecondition, InvalidArgument

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after `epoch` whole epochs and `seconds` of training.

    `recipe` is what must be the same for the run to be the same; `learner` and `optimiser` are Keras variables in order,
    `average` the averaged weights of the tower (float64).
    """

    epoch: int
    seconds: float
    recipe: Mapping[str, Any]
    learner: Arrays
    optimiser: Arrays
    average: Arrays


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`. A kill in the middle leaves the earlier one."""
    groups = {"learner": checkpoint.learner, "optimiser": checkpoint.optimiser, "average": checkpoint.average}
    arrays = {f"{group}/{i:04d}": array for group, members in groups.items() for i, array in enumerate(members)}
    head = {"epoch": checkpoint.epoch, "seconds": checkpoint.seconds, "recipe": dict(checkpoint.recipe)}
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    part.replace(path)


def read(path: Path, recipe: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none.

    Raises `InvalidArgument` where it cannot be read, and `FailedPrecondition` (`CHECKPOINT_MISMATCH`), naming what differs,
    where it belongs to another `recipe`.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            names = sorted(stored.files)
            groups = {
                group: [stored[name] for name in names if name.startswith(f"{group}/")]
                for group in ("learner", "optimiser", "average")
            }
        found = Checkpoint(head["epoch"], head["seconds"], head["recipe"], **groups)
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidArgument("checkpoint", f"{path} cannot be read: {error}; delete it to start again") from error
    wanted = json.loads(json.dumps(dict(recipe)))
    differs = sorted(key for key in wanted.keys() | found.recipe.keys() if wanted.get(key) != found.recipe.get(key))
    if differs:
        raise FailedPrecondition(
            f"the checkpoint {path} is of a run with another {', '.join(differs)}; delete it to start again",
            reason="CHECKPOINT_MISMATCH",
        )
    return found
