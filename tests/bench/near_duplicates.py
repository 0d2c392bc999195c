"""`python -m tests.bench.near_duplicates KIND=FOLDER ...`: which copies a job finds, and what it takes for one, by threshold.

The folders hold pictures of which no two are the same. Each threshold has two lines: by similarity alone, and as jobs decide,
where a near-duplicate stands out as well (`indexer.chunk.near_duplicates`). `wrong` is the share of pictures that would be
taken for a copy of another; the other columns are shares of copies that are found: saved again as a JPEG of quality 75 and 30,
256 pixels large, with 5 % trimmed off each side, a tenth brighter. `photo`, the default model, computes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedder.models.bundle import SHIPPED, load
from embedder.pictures import alterations as alter
from embedder.pictures.decode import Decoder, TowerInput, Wanted
from indexer.chunk.near_duplicates import stands_out
from lookalike.errors import BadImage

SIMILARITIES = (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
_BATCH = 32
_TRIMMED = 0.05
Vectors = npt.NDArray[np.float32]


def _trimmed(picture: Image.Image) -> Image.Image:
    x, y = round(picture.width * _TRIMMED), round(picture.height * _TRIMMED)
    return picture.crop((x, y, picture.width - x, picture.height - y))


COPIES: Mapping[str, Callable[[Image.Image], bytes]] = {
    "q75": lambda picture: alter.jpeg(picture, 75),
    "q30": lambda picture: alter.jpeg(picture, 30),
    "256 px": lambda picture: alter.jpeg(alter.resized(picture, 256), 90),
    "trimmed": lambda picture: alter.jpeg(_trimmed(picture), 90),
    "brighter": lambda picture: alter.jpeg(alter.adjusted(picture, brightness=1.1), 90),
}


def main() -> None:
    if len(sys.argv) < 2 or any("=" not in given for given in sys.argv[1:]):
        sys.exit(__doc__)
    embed = _embedding()
    for given in sys.argv[1:]:
        kind, _, folder = given.partition("=")
        _show(kind, *_measured(embed, sorted(path for path in Path(folder).rglob("*") if path.is_file())))


def _embedding() -> Callable[[list[bytes]], Vectors]:
    import tensorflow as tf

    from embedder.models.model import Model

    bundle = load(SHIPPED / "photo")
    side, channels = bundle.tower.input_size, bundle.tower.channels
    model = tf.function(Model(bundle).embed, input_signature=[tf.TensorSpec((None, side, side, channels), tf.uint8)])
    decoder, wanted = Decoder(), Wanted(towers=(TowerInput(side, channels, bundle.input.fit),))

    def embed(files: list[bytes]) -> Vectors:
        pixels: list[Any] = [decoder.decode(data, wanted).tower for data in files]
        return np.concatenate([model(np.stack(pixels[n : n + _BATCH])).numpy() for n in range(0, len(pixels), _BATCH)])

    return embed


def _measured(embed: Callable[[list[bytes]], Vectors], paths: list[Path]) -> tuple[Vectors, Vectors]:
    """Vectors of the pictures `[n, dimension]`, and of the copies of each `[n, copies, dimension]`."""
    originals, copies = [], []
    for path in paths:
        data = path.read_bytes()
        try:
            vector = embed([data])[0]
        except BadImage as error:
            print(f"{path.name}: left out: {error.message}", file=sys.stderr)
            continue
        with Image.open(io.BytesIO(data)) as opened:
            flat = Image.new("RGB", opened.size, "white")
            layer = opened.convert("RGBA")
            flat.paste(layer, mask=layer)
        originals.append(vector)
        copies.append(embed([change(flat) for change in COPIES.values()]))
    return np.stack(originals), np.stack(copies)


def _show(kind: str, originals: Vectors, copies: Vectors) -> None:
    print(f"\n{kind}: {len(originals)} pictures")
    print("similarity          wrong  " + "  ".join(f"{name:>8}" for name in COPIES))
    among = 1 - originals @ originals.T
    np.fill_diagonal(among, np.inf)
    to_all = [1 - copies[:, column] @ originals.T for column in range(len(COPIES))]
    for at_least in SIMILARITIES:
        for says, decide in (("alone", _alone), ("stands out", stands_out)):
            wrong = np.mean([decide(float(row.min()), np.sort(row)[:-1].tolist(), at_least) for row in among])
            found = [
                np.mean(
                    [
                        row.argmin() == n and decide(float(row.min()), np.sort(row).tolist(), at_least)
                        for n, row in enumerate(rows)
                    ]
                )
                for rows in to_all
            ]
            shares = "  ".join(f"{share:8.3f}" for share in found)
            print(f"{at_least:5.3f} {says:>13}  {wrong:.3f}  {shares}", flush=True)


def _alone(distance: float, in_sight: Sequence[float], threshold: float) -> bool:
    return distance <= 2 * (1 - threshold)


if __name__ == "__main__":
    main()
