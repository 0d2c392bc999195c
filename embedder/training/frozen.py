"""Training the head alone, over a pretrained backbone that stays as it is: what pays off for photographs on a processor.

What the backbone says of some views of every picture is computed once and kept in a file; the head then learns from these
numbers as a whole tower learns from pixels, in seconds. `embedder.training.near_duplicates` does so without labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from embedder.bundle import InputSpec, TowerConfig
from embedder.tower import build_tower
from embedder.training.data import LabelledImages, augment
from embedder.training.mining import Pairs
from embedder.training.train import AfterEpoch, Course, Report, TrainingConfig

VIEWS = 6
"""Of each picture: itself, and so many less one mirrored, shifted and with a square cut out."""
_BATCH = 8
"""Pictures that go through the backbone together: times six views, 48."""


def train_head_on_labels(
    images: LabelledImages,
    tower_config: TowerConfig,
    spec: InputSpec,
    config: TrainingConfig,
    *,
    pretrained: str,
    folder: Path,
    pairs: Pairs | None = None,
    looked: Callable[[int, int], None] = lambda _done, _of: None,
    report: Report = lambda _progress: None,
    after_epoch: AfterEpoch | None = None,
    checkpoint: Path | None = None,
) -> tuple[keras.Model, float]:
    """As `train`, but the backbone keeps the weights that it is built with (`pretrained`: see `build_tower`).

    `folder` receives `features.npy`, 4 bytes for each of the head's inputs times six views times the pictures; a later run of
    the same data goes on from it. `looked` hears how many pictures of how many the backbone has seen.
    """
    keras.utils.set_random_seed(config.seed)
    tower = build_tower(tower_config, pretrained=pretrained)
    scales = tower.get_layer("scales")
    before = keras.Model(tower.input, scales.output)
    head = keras.Model(scales.output, tower.output, name="head")
    backbone = hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in before.get_weights()))
    known: dict[str, Any] = {
        "data": images.summary.digest,
        "backbone": backbone.hexdigest()[:16],
        "seed": config.seed,
        "views": VIEWS,
    }
    features = _features(before, images, spec, known, folder, looked)
    course = Course(images, tower_config, spec, config, pairs, features, known["backbone"])
    return tower, course.run(head, tower, report=report, after_epoch=after_epoch, checkpoint=checkpoint)


def _features(
    before: keras.Model,
    images: LabelledImages,
    spec: InputSpec,
    known: dict[str, Any],
    folder: Path,
    looked: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """float32 `[n, views, d]`, from the file where it holds what is wanted, as far as it is filled."""
    path, state = folder / "features.npy", folder / "features.json"
    shape = (len(images), VIEWS, before.output_shape[-1])
    done = 0
    if path.is_file() and state.is_file():
        stored = json.loads(state.read_text())
        done = stored.pop("done")
        done = done if stored == known else 0
    features = np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape)
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    before.jit_compile = keras.config.backend() == "jax"
    for start in range(done, len(images), _BATCH):
        pixels = np.asarray(images.pixels[start : start + _BATCH], np.float32) / np.float32(255)
        shown = np.stack([_view(pixels, spec, number, int(known["seed"]), start) for number in range(VIEWS)], 1)
        shown = (shown.reshape(-1, *pixels.shape[1:]) - mean) / std
        found = np.asarray(before.predict_on_batch(shown), np.float32)
        features[start : start + len(pixels)] = found.reshape(len(pixels), VIEWS, -1)
        if start // _BATCH % 32 == 31 or start + len(pixels) == len(images):
            features.flush()
            part = state.with_suffix(".part")
            part.write_text(json.dumps({**known, "done": start + len(pixels)}))
            part.replace(state)
        looked(start + len(pixels), len(images))
    return features


def _view(pixels: npt.NDArray[np.float32], spec: InputSpec, number: int, seed: int, start: int) -> npt.NDArray[np.float32]:
    """The first is the picture itself, every other one is mirrored if mirror images are the same."""
    if number == 0:
        return pixels
    rng = np.random.default_rng((seed, start, number))
    mirrored = np.full(len(pixels), spec.mirror and number % 2 == 1)
    return augment(pixels, rng, mirrored=mirrored)
