"""Fashion-MNIST as it is published: gzipped idx files of 28x28 grey pictures in ten classes.

Owns the file format, the class names and where the files are looked for. The demo and the trainer read it; needs NumPy only.
The 10,000 test pictures ship with the package (MIT licence, Zalando SE; see `lookalike/data/README.md`), so the demo needs
no download. The 60,000 training pictures come from a folder, from Debian's `dataset-fashion-mnist`, or from `keras.datasets`.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lookalike.errors import InvalidArgument, NotFound

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SHIPPED = Path(__file__).parent / "data" / "fashion-mnist"
SEARCHED = (Path("/usr/share/datasets/fashion-mnist"), SHIPPED)
_PREFIX = {"train": "train", "test": "t10k"}
_IDX_UINT8 = 0x08


@dataclass(frozen=True, slots=True)
class Split:
    """`images` uint8 `[n, 28, 28]`, `labels` uint8 `[n]` indexing `CLASS_NAMES`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def load(split: Literal["train", "test"], folder: Path | None = None) -> Split:
    """Read one split from `folder`, or from the first place of `SEARCHED` that has it.

    Raises `NotFound` naming the places looked at, `InvalidArgument` for a file that is not idx of uint8.
    """
    places = (folder,) if folder is not None else SEARCHED
    for place in places:
        images = place / f"{_PREFIX[split]}-images-idx3-ubyte.gz"
        labels = place / f"{_PREFIX[split]}-labels-idx1-ubyte.gz"
        if images.is_file() and labels.is_file():
            return Split(read_idx(images), read_idx(labels))
    looked = ", ".join(str(place) for place in places)
    raise NotFound("dataset", f"fashion-mnist ({split})", hint=f"looked in {looked}")


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes (format: the MNIST page of LeCun, Cortes and Burges)."""
    with gzip.open(path, "rb") as stream:
        data = stream.read()
    if len(data) < 4 or data[:3] != bytes((0, 0, _IDX_UINT8)):
        raise InvalidArgument("path", f"{path.name} is not an idx file of unsigned bytes")
    rank = data[3]
    shape = struct.unpack_from(f">{rank}I", data, 4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != int(np.prod(shape)):
        raise InvalidArgument("path", f"{path.name} holds {values.size} values, its header says {shape}")
    return values.reshape(shape)
