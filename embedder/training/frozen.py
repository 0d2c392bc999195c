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

from embedder.datasets.data import LabelledImages, augment
from embedder.models.bundle import InputSpec, TowerConfig
from embedder.models.tower import build_tower
from embedder.training.mining import Pairs
from embedder.training.train import AfterEpoch, Course, Report, TrainingConfig

VIEWS = 6
"""Views of each picture: itself, and the others mirrored, shifted and with a square cut out."""
_BATCH = 8
"""Pictures that go through the backbone together: times six views, 48."""
_SAVED_EVERY = 32
"""Batches between notes of how far the file is filled."""
Looked = Callable[[int, int], None]


class FrozenTower:
    """A tower whose backbone keeps the weights that it is built with (`pretrained`: see `build_tower`), and its `head`, which
    takes what the backbone found (float32 `[n, d]`). Raises what `build_tower` does."""

    def __init__(self, config: TowerConfig, spec: InputSpec, training: TrainingConfig, pretrained: str) -> None:
        keras.utils.set_random_seed(training.seed)
        self.config, self.spec, self.training = config, spec, training
        self.tower = build_tower(config, pretrained=pretrained)
        scales = self.tower.get_layer("scales")
        self._before = keras.Model(self.tower.input, scales.output)
        self.head = keras.Model(scales.output, self.tower.output, name="head")
        self._before.jit_compile = self.head.jit_compile = keras.config.backend() == "jax"
        content = hashlib.sha256()
        for value in self._before.get_weights():
            content.update(np.ascontiguousarray(value).tobytes())
        self._backbone = content.hexdigest()[:16]

    def train(
        self,
        images: LabelledImages,
        features: npt.NDArray[np.float32],
        *,
        pairs: Pairs | None = None,
        report: Report = lambda _progress: None,
        after_epoch: AfterEpoch | None = None,
        checkpoint: Path | None = None,
    ) -> tuple[keras.Model, float]:
        """As `train.train`, on the `features` of `images`. `after_epoch` hears of the head."""
        course = Course(images, self.config, self.spec, self.training, pairs, features, self._backbone)
        return self.tower, course.run(self.head, self.head, report=report, after_epoch=after_epoch, checkpoint=checkpoint)

    def features(self, images: LabelledImages, folder: Path, looked: Looked) -> npt.NDArray[np.float32]:
        """What the backbone makes of six views of each of `images`: float32 `[n, 6, d]`, in `folder/features.npy`. A run that
        was killed goes on where it was. `looked` hears how many pictures of how many are done."""
        path, state = folder / "features.npy", folder / "features.json"
        known: dict[str, Any] = {"data": images.summary.digest, "backbone": self._backbone, "views": VIEWS}
        known["seed"] = self.training.seed
        done = _done(path, state, known)
        shape = (len(images), VIEWS, self._before.output_shape[-1])
        features = np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape)
        for start in range(done, len(images), _BATCH):
            pixels = np.asarray(images.pixels[start : start + _BATCH], np.float32) / np.float32(255)
            shown = np.stack([_view(pixels, self.spec, number, self.training.seed, start) for number in range(VIEWS)], 1)
            features[start : start + len(pixels)] = self._look(shown)
            if start // _BATCH % _SAVED_EVERY == _SAVED_EVERY - 1 or start + len(pixels) == len(images):
                features.flush()
                part = state.with_suffix(".part")
                part.write_text(json.dumps({**known, "done": start + len(pixels)}))
                part.replace(state)
            looked(start + len(pixels), len(images))
        return features

    def plain_features(self, images: LabelledImages) -> npt.NDArray[np.float32]:
        """What the backbone makes of `images` and, if the input spec says so, of mirror images: float32 `[n, 1 or 2, d]`."""
        parts = []
        for start in range(0, len(images), _BATCH):
            pixels = np.asarray(images.pixels[start : start + _BATCH], np.float32) / np.float32(255)
            parts.append(self._look(np.stack([pixels, pixels[:, :, ::-1]] if self.spec.mirror else [pixels], 1)))
        return np.concatenate(parts)

    def _look(self, shown: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`[n, views, s, s, c]` in [0, 1] -> `[n, views, d]`."""
        mean, std = np.asarray(self.spec.mean, np.float32), np.asarray(self.spec.std, np.float32)
        found = self._before.predict_on_batch((shown.reshape(-1, *shown.shape[2:]) - mean) / std)
        return np.asarray(found, np.float32).reshape(*shown.shape[:2], -1)


def vectors_of(head: keras.Model, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`plain_features` through a head, as a bundle would serve them: float32 `[n, dim]`, unit rows."""
    found = np.sum([head.predict_on_batch(features[:, view]) for view in range(features.shape[1])], axis=0)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def _done(path: Path, state: Path, known: dict[str, Any]) -> int:
    """How many pictures of the same data, backbone and views the file holds already."""
    if not path.is_file() or not state.is_file():
        return 0
    try:
        stored = json.loads(state.read_text())
        done = int(stored.pop("done"))
    except (ValueError, KeyError, AttributeError):
        return 0
    return done if stored == known else 0


def _view(pixels: npt.NDArray[np.float32], spec: InputSpec, number: int, seed: int, start: int) -> npt.NDArray[np.float32]:
    """The first is the picture itself, every other one is mirrored if mirror images are the same."""
    if number == 0:
        return pixels
    rng = np.random.default_rng((seed, start, number))
    mirrored = np.full(len(pixels), spec.mirror and number % 2 == 1)
    return augment(pixels, rng, mirrored=mirrored)
