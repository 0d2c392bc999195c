"""Pictures and vectors for the bench: Fashion-MNIST, made-up photographs, and vectors like those of photographs.

All of it is the same in every run. Nothing is used twice as a query in a run, so that no cache of the product answers in place
of the work that is measured.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike import fashion_mnist
from lookalike.demo import dataset
from lookalike.errors import NotFound
from lookalike.spaces import Vector
from tests.pictures.scenes import scene

_JPEG_QUALITY = 85
_SCENES = 8
_NOISE = 0.3
_ANCHORS_EACH = 3


def fashion_gallery(count: int) -> tuple[Iterator[npt.NDArray[np.uint8]], str]:
    """`count` pictures, uint8 `[28, 28]`, to be searched among, and what they are.

    The 60,000 training pictures where they are installed, else 9,000 of the test pictures; then copies of them, each shifted
    and mirrored another way.
    """
    try:
        found, name = fashion_mnist.load("train").images, "training pictures"
    except NotFound:
        found, name = dataset.split()[0].images, "test pictures"
    copies = max(0, count - len(found))
    said = f"{min(count, len(found)):,} {name} of Fashion-MNIST" + (f" and {copies:,} augmented copies" if copies else "")
    return (augmented(found[number % len(found)], number // len(found)) for number in range(count)), said


def fashion_queries() -> dataset.Pictures:
    """1,000 pictures that the gallery does not hold."""
    return dataset.split()[1]


def augmented(picture: npt.NDArray[np.uint8], copy: int) -> npt.NDArray[np.uint8]:
    """`picture` itself for copy 0; else mirrored (odd copies) and shifted down and right by half the copy's number."""
    turned = picture[:, ::-1] if copy % 2 else picture
    shift = copy // 2
    shifted = np.zeros_like(turned)
    shifted[shift:, shift:] = turned[: turned.shape[0] - shift, : turned.shape[1] - shift]
    return shifted


def write_fashion(folder: Path, pictures: Iterator[npt.NDArray[np.uint8]], count: int, first: int) -> None:
    """The next `count` of `pictures` as PNG files, 1,000 a folder, numbered from `first`."""
    for number in range(first, first + count):
        place = folder / f"{number // 1000:04d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:07d}.png").write_bytes(dataset.png(next(pictures)))


def photographs(count: int, width: int, height: int) -> list[bytes]:
    """`count` JPEG files of made-up scenes, no two alike: a few scenes, each turned round its edges another way.

    Scenes are made at half the size and enlarged, as a camera makes up two of three colours of a pixel: the files then have 1.6
    to 2.2 bits a pixel, as photographs have at this quality. Grain in every pixel would make them half as large again.
    """
    halves = (scene(seed, width // 2, height // 2) for seed in range(min(count, _SCENES)))
    scenes = [np.asarray(half.resize((width, height), Image.Resampling.BICUBIC)) for half in halves]
    return [_jpeg(np.roll(scenes[number % len(scenes)], 7 * number, axis=1)) for number in range(count)]


def photo_like(anchors: Vector, count: int, seed: int) -> Vector:
    """float32 `[count, dimension]` of length 1, made up: mixtures of three of `anchors`, which are true vectors of the tower,
    and a little noise. They fill about as few directions as true ones do."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(anchors), (count, _ANCHORS_EACH))
    shares = rng.dirichlet(np.full(_ANCHORS_EACH, 0.5), count).astype(np.float32)
    mixed = np.einsum("nk,nkd->nd", shares, anchors[chosen])
    noise = rng.normal(0, _NOISE / np.sqrt(anchors.shape[1]), mixed.shape).astype(np.float32)
    made = mixed + noise
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
