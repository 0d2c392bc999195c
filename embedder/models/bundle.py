"""A model at rest: one folder with weights, tower, input spec, metrics, data, provenance, licence and fingerprint.

Owns the folder's format and the fingerprint. NumPy only: reading a bundle costs no TensorFlow. `embedder.models.model` serves
one, `embedder.training` writes one, `embedder.registry.registry` keeps many.

    bundle.json    everything but the weights, for people and programs
    weights.npz    the tower's variables, float32 or float16, keyed `000`, `001`, ... in the order `build_tower` creates them
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.names import check_name

FORMAT = 2
MATHS_VERSION = "siamese-4"
"""Part of every fingerprint: raise it when the code between decoded pixels and the vector changes what comes out."""
SHIPPED = Path(__file__).parent.parent / "bundles"
"""Where the bundles that come with the package live, one folder each."""
CARD, WEIGHTS = "bundle.json", "weights.npz"


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """What is needed to build a tower: the same config always builds the same variables in the same order.

    `backbone` is a name that `embedder.models.backbones` knows, `head` one that `embedder.models.tower` knows. `input_size` is
    in pixels (square), `channels` is 1 (grey) or 3 (RGB). `widths` are the filters of the stages of the backbone `conv`; others
    have theirs built in and leave it empty. `embedding_dim` is the length of the output vector; of these the last `kept_dim`
    are not learnt from labels but kept from the standardised scales, and make up `kept_share` (0 to 1) of its squared length
    (head `joined` only).
    """

    backbone: str = "conv"
    head: str = "joined"
    input_size: int = 28
    channels: int = 1
    widths: tuple[int, ...] = (64, 256, 256)
    embedding_dim: int = 128
    kept_dim: int = 0
    kept_share: float = 0.0


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How decoded pixels become the tower's input.

    `fit` says how a picture fills the square. `pad`: it keeps its shape and is centred on black, by area averaging where it
    shrinks and bicubic where it grows. `squash`: stretched to the square by antialiased bilinear. Then
    x -> (x / 255 - mean) / std per channel. With `mirror`, the embedding is the normalised sum of those of the picture and its
    mirror image, at twice the compute.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool
    fit: Literal["pad", "squash"] = "pad"

    def normalised(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 `[..., channels]` -> the tower's input, float32 of the same shape."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.asarray((np.asarray(pixels, np.float32) / np.float32(255) - mean) / std, np.float32)


@dataclass(frozen=True, slots=True)
class DataSummary:
    """A set of pictures that a bundle was trained or measured on: `name`, how many `images` of how many `classes` (0: without
    labels), under what `licence` and from where (`source`), and a `digest` over their pixels and labels: two sets of one
    digest are the same data, whatever they are called."""

    name: str
    images: int
    classes: int = 0
    licence: str = ""
    source: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """For people: `NAME: 60,000 images, 10 classes, LICENCE, SOURCE`, of what is known."""
        classes = f"{self.classes} classes" if self.classes else ""
        parts = (f"{self.images:,} images", classes, self.licence, self.source)
        return f"{self.name}: {', '.join(part for part in parts if part)}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A trained model. `weights` are float32 arrays in `build_tower` order, rounded to what `storage` keeps of them.

    `metrics` were measured on `measured_on` through the serving path, and are named as `lookalike evaluate --json` names them;
    `trained_on` names every source; `provenance` says how, when and on what it was trained.
    """

    name: str
    tower: TowerConfig
    input: InputSpec
    weights: tuple[npt.NDArray[np.float32], ...] = field(repr=False)
    storage: Literal["float32", "float16"] = "float32"
    licence: str = "Apache-2.0"
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured_on: DataSummary | None = None
    trained_on: tuple[DataSummary, ...] = ()
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

    def with_metrics(self, metrics: Mapping[str, float], measured_on: DataSummary) -> Bundle:
        return replace(self, metrics=metrics, measured_on=measured_on)

    def in_half_precision(self) -> Bundle:
        """The same with every weight rounded to float16: half the size, and another fingerprint. Raises `InvalidArgument` for a
        weight that float16 cannot hold."""
        with np.errstate(over="ignore"):
            rounded = tuple(array.astype(np.float16).astype(np.float32) for array in self.weights)
        if not all(np.isfinite(array).all() for array in rounded):
            raise InvalidArgument("storage", f"a weight of {self.name!r} is beyond float16's range (65,504)")
        return replace(self, weights=rounded, storage="float16")


def save(bundle: Bundle, folder: Path) -> None:
    """Write `bundle` into `folder` (made if missing; files of an earlier bundle there are replaced). Raises as `to_files`.

    Each file is there whole or as it was; the card, which vouches for the weights, comes last.
    """
    check_name("model", bundle.name)
    files = to_files(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        part = folder / f".{name}.part"
        part.write_bytes(files[name])
        part.replace(folder / name)


_UNREADABLE = (
    KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
    OSError, EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a card or weights of foreign origin can raise in `json`, in `numpy` and in our own classes."""


def load(folder: Path) -> Bundle:
    """Read a bundle and check it against its own fingerprint.

    Raises `NotFound` where there is no bundle, `InvalidArgument` for a card or weights that cannot be read, and
    `FailedPrecondition` (`BUNDLE_CORRUPT`) where weights and card do not belong together.
    """
    try:
        files = {name: (folder / name).read_bytes() for name in (CARD, WEIGHTS)}
    except FileNotFoundError as error:
        raise NotFound("model bundle", str(folder), hint=f"a bundle holds {CARD} and {WEIGHTS}") from error
    except OSError as error:
        raise InvalidArgument("bundle", f"{folder} cannot be read: {error.strerror}") from error
    return from_files(files, where=str(folder))


def to_files(bundle: Bundle) -> dict[str, bytes]:
    """The content of `bundle.json` and `weights.npz`. Raises `InvalidArgument` for weights that are not numbers, or that
    `storage` cannot hold as they are: what is read back would be another model."""
    if not all(np.isfinite(array).all() for array in bundle.weights):
        raise InvalidArgument("weights", f"{bundle.name!r} holds weights that are not numbers: its training diverged")
    stream = io.BytesIO()
    arrays = {f"{i:03d}": array.astype(bundle.storage) for i, array in enumerate(bundle.weights)}
    if any((kept != array).any() for kept, array in zip(arrays.values(), bundle.weights, strict=True)):
        raise InvalidArgument("storage", f"the weights of {bundle.name!r} are not rounded to {bundle.storage}")
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return {CARD: (json.dumps(card_of(bundle), indent=2) + "\n").encode(), WEIGHTS: stream.getvalue()}


def card_of(bundle: Bundle) -> dict[str, Any]:
    """What `bundle.json` says: everything but the weights, as plain values."""
    return {
        "format": FORMAT,
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "licence": bundle.licence,
        "tower": asdict(bundle.tower),
        "input": asdict(bundle.input),
        "storage": bundle.storage,
        "metrics": dict(bundle.metrics),
        "measured_on": asdict(bundle.measured_on) if bundle.measured_on else None,
        "trained_on": [asdict(summary) for summary in bundle.trained_on],
        "provenance": dict(bundle.provenance),
    }


def from_files(files: Mapping[str, bytes], *, where: str) -> Bundle:
    """The bundle in `files` (`bundle.json`, `weights.npz`), as `load`; `where` names their place in errors."""
    try:
        card = json.loads(files[CARD])
        if card["format"] != FORMAT:
            raise InvalidArgument("format", f"{where}/{CARD} is of format {card['format']}; this version reads {FORMAT}")
        with np.load(io.BytesIO(files[WEIGHTS]), allow_pickle=False) as stored:
            weights = tuple(stored[key].astype(np.float32) for key in sorted(stored.files))
        bundle = _from_card(card, weights)
    except _UNREADABLE as error:
        raise InvalidArgument("bundle", f"{where} cannot be read: {type(error).__name__}: {error}") from error
    if bundle.fingerprint != card["fingerprint"]:
        raise FailedPrecondition(
            f"bundle {where} says fingerprint {card['fingerprint']}, its content gives {bundle.fingerprint}: "
            "its files do not belong together",
            reason="BUNDLE_CORRUPT",
        )
    return bundle


def _from_card(card: Mapping[str, Any], weights: tuple[npt.NDArray[np.float32], ...]) -> Bundle:
    shown = card["input"]
    if shown["fit"] not in ("pad", "squash"):
        raise ValueError(f"fit {shown['fit']!r} is neither 'pad' nor 'squash'")
    return Bundle(
        name=check_name("model", card["name"]),
        tower=TowerConfig(**{**card["tower"], "widths": tuple(card["tower"]["widths"])}),
        input=InputSpec(tuple(shown["mean"]), tuple(shown["std"]), shown["mirror"], shown["fit"]),
        weights=weights,
        storage=card["storage"],
        licence=card["licence"],
        metrics=card["metrics"],
        measured_on=DataSummary(**card["measured_on"]) if card["measured_on"] else None,
        trained_on=tuple(DataSummary(**summary) for summary in card["trained_on"]),
        provenance=card["provenance"],
    )
