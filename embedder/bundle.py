"""A model at rest: one folder with weights, tower, input spec, metrics, provenance, licence and fingerprint.

Owns the folder's format and the fingerprint. NumPy only: reading a bundle costs no TensorFlow. `embedder.model` serves one,
`embedder.training` writes one.

    bundle.json    everything but the weights, for people and programs
    weights.npz    the tower's variables, float32, keyed `000`, `001`, ... in the order `build_tower` creates them
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.names import check_name

FORMAT = 1
MATHS_VERSION = "siamese-1"
"""Part of every fingerprint: raise it when the code between decoded pixels and the vector changes what comes out."""
SHIPPED = Path(__file__).parent / "bundles"
"""Where the bundles that come with the package live, one folder each."""


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """What is needed to build a tower: the same config always builds the same variables in the same order.

    `input_size` is in pixels (square, at least 16 and a multiple of 4), `channels` is 1 (grey) or 3 (RGB), `widths` are
    the filters of the three stages, `embedding_dim` is the length of the output vector.
    """

    input_size: int = 28
    channels: int = 1
    widths: tuple[int, int, int] = (32, 64, 128)
    embedding_dim: int = 128


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How decoded pixels become the tower's input.

    A picture is fitted inside the square keeping its shape and centred on black, with area averaging when it shrinks;
    then x -> (x / 255 - mean) / std per channel. With `mirror`, the embedding is the normalised sum of those of the picture
    and its mirror image (for the shipped `fashion` P@1 .9224 in place of .9182, at twice the compute).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool


@dataclass(frozen=True, slots=True)
class Bundle:
    """One trained model. `weights` are float32 arrays in `build_tower` order; `metrics` were measured through the serving
    path; `provenance` says from what, how, when and on what it was trained."""

    name: str
    tower: TowerConfig
    input: InputSpec
    weights: tuple[npt.NDArray[np.float32], ...] = field(repr=False)
    licence: str = "Apache-2.0"
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that changes a vector: weights, tower, input spec and the version of the maths."""
        digest = hashlib.sha256()
        recipe = {"tower": asdict(self.tower), "input": asdict(self.input), "maths": MATHS_VERSION}
        digest.update(json.dumps(recipe, sort_keys=True).encode())
        for array in self.weights:
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()[:16]

    def with_metrics(self, metrics: Mapping[str, float]) -> Bundle:
        return replace(self, metrics=metrics)


def save(bundle: Bundle, folder: Path) -> None:
    """Write `bundle` into `folder` (made if missing; files of an earlier bundle there are replaced)."""
    check_name("model", bundle.name)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{i:03d}": array for i, array in enumerate(bundle.weights)}
    np.savez_compressed(folder / "weights.npz", **arrays)  # type: ignore[arg-type]
    card = {
        "format": FORMAT,
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "licence": bundle.licence,
        "tower": asdict(bundle.tower),
        "input": asdict(bundle.input),
        "metrics": dict(bundle.metrics),
        "provenance": dict(bundle.provenance),
    }
    (folder / "bundle.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Bundle:
    """Read a bundle and check it against its own fingerprint.

    Raises `NotFound` where there is no bundle, `InvalidArgument` for a card that cannot be read, and `FailedPrecondition`
    (`BUNDLE_CORRUPT`) where weights and card do not belong together.
    """
    card_path, weights_path = folder / "bundle.json", folder / "weights.npz"
    if not card_path.is_file() or not weights_path.is_file():
        raise NotFound("model bundle", str(folder), hint="a bundle holds bundle.json and weights.npz")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise InvalidArgument("format", f"{card_path} is of format {card['format']}; this version reads {FORMAT}")
        with np.load(weights_path, allow_pickle=False) as stored:
            weights = tuple(stored[key] for key in sorted(stored.files))
        bundle = Bundle(
            name=check_name("model", card["name"]),
            tower=TowerConfig(**{**card["tower"], "widths": tuple(card["tower"]["widths"])}),
            input=InputSpec(tuple(card["input"]["mean"]), tuple(card["input"]["std"]), card["input"]["mirror"]),
            weights=weights,
            licence=card["licence"],
            metrics=card["metrics"],
            provenance=card["provenance"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidArgument("bundle", f"{folder} cannot be read: {type(error).__name__}: {error}") from error
    if bundle.fingerprint != card["fingerprint"]:
        raise FailedPrecondition(
            f"bundle {folder} says fingerprint {card['fingerprint']}, its content gives {bundle.fingerprint}: "
            "its files do not belong together",
            reason="BUNDLE_CORRUPT",
        )
    return bundle
