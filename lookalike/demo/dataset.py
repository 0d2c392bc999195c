"""The demo's pictures: which of Fashion-MNIST's 10,000 test pictures are searched among, which are searched for, and as files.

Every tenth picture (0, 10, 20, ...) is a query, the other 9,000 are the gallery: fixed, without chance, and about as many of
every class (the test pictures come in no order of class).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike import fashion_mnist
from lookalike.csv_cells import csv_text

QUERY_EVERY = 10
MANIFEST = "manifest.csv"


@dataclass(frozen=True, slots=True)
class Pictures:
    """`images` uint8 `[n, 28, 28]`; `labels` uint8 `[n]`, indexing the class names; `numbers` int64 `[n]`, the place of each
    among the 10,000."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> str:
        """Class name of the picture at `index`."""
        return fashion_mnist.CLASS_NAMES[int(self.labels[index])]

    def id(self, index: int) -> str:
        """Id that the picture at `index` gets in the collection."""
        return picture_id(int(self.numbers[index]))

    def png(self, index: int) -> bytes:
        """The picture at `index` as a PNG of 8-bit grey."""
        return png(self.images[index])


def split(folder: Path | None = None) -> tuple[Pictures, Pictures]:
    """Gallery (9,000) and queries (1,000) of the test pictures that ship with the package, or of those in `folder`.

    Raises `NotFound` where there are none.
    """
    found = fashion_mnist.load("test", folder or fashion_mnist.SHIPPED)
    numbers = np.arange(len(found.labels))
    is_query = numbers % QUERY_EVERY == 0
    return (
        Pictures(found.images[~is_query], found.labels[~is_query], numbers[~is_query]),
        Pictures(found.images[is_query], found.labels[is_query], numbers[is_query]),
    )


def picture_id(number: int) -> str:
    """`fashion-00042`."""
    return f"fashion-{number:05d}"


def write_files(pictures: Pictures, folder: Path) -> Path:
    """Write the pictures as PNG files in a sub-folder per class, and a CSV manifest with `uri`, `id`, `label` beside them.

    Returns the manifest's path. Files that are there already are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in fashion_mnist.CLASS_NAMES:
        (folder / _folder_name(name)).mkdir(exist_ok=True)
    manifest = folder / MANIFEST
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        stream.write(csv_text([("uri", "id", "label")]))
        for index in range(len(pictures)):
            image_id, label = pictures.id(index), pictures.label(index)
            path = f"{_folder_name(label)}/{image_id}.png"
            (folder / path).write_bytes(pictures.png(index))
            stream.write(csv_text([(path, image_id, label)]))
    return manifest


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """`pixels` uint8 `[height, width]` as a PNG of 8-bit grey."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _folder_name(label: str) -> str:
    """`T-shirt/top` -> `t-shirt-top`."""
    return label.lower().replace("/", "-").replace(" ", "-")
