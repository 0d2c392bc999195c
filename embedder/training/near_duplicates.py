"""A head for photographs, learnt from pictures without labels: what two views of one photograph have in common.

Owns the recipe for a frozen, pretrained backbone under the head `pooled`. What the backbone says of many views of every picture
is computed once; on these numbers the head, one linear layer, is started from their principal components and trained with
NT-Xent (Chen et al. 2020, SimCLR, arXiv 2002.05709). That takes seconds. `keras` only, so that any Keras backend can run it.
Called by `embedder.training.photo` and by `session`, to train on unlabelled pictures.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from embedder.models.bundle import InputSpec, TowerConfig
from embedder.models.tower import build_tower
from embedder.pictures import alterations as alter
from embedder.pictures.decode import MAX_SIDE, Decoder, TowerInput, Wanted
from embedder.training.losses import find_loss, nt_xent
from embedder.training.train import MetricLearner
from embedder.training.views import view
from lookalike.errors import BadImage, InvalidArgument, LookalikeError

Scales = npt.NDArray[np.float32]
"""float32 `[pictures, views, numbers]`: what the head sees of each view."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """`views` of each picture besides itself; `steps` of AdamW at `learning_rate` on batches of `pairs` pictures, two views of
    each; `temperature` of NT-Xent; `dropout` of the head's input while training; `whitening`: principal components start out
    divided by their variance to this power (0: as they are, 0.5: all alike). `seed` for every random draw."""

    views: int = 31
    steps: int = 300
    pairs: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.004
    temperature: float = 0.07
    dropout: float = 0.1
    whitening: float = 0.35
    seed: int = 1


@dataclass(frozen=True, slots=True)
class HeadProgress:
    """`done` of `total` pictures looked at (`total` 0: not known), or steps trained; `spent_s` since the beginning."""

    stage: Literal["views", "head"]
    done: int
    total: int
    spent_s: float


Report = Callable[[HeadProgress], None]


@dataclass(frozen=True)
class TrainedHead:
    """`tower` is ready to be kept: `tower.get_weights()` are a bundle's weights. `pictures` were learnt from, and `digest` is
    over them; `skipped` holds the position and the reason of those that could not be read or decoded. `seconds` in all."""

    tower: keras.Model
    pictures: int
    skipped: tuple[tuple[int, str], ...]
    digest: str
    seconds: float


def train_head(
    pictures: Iterable[bytes | LookalikeError],
    tower_config: TowerConfig,
    spec: InputSpec,
    config: HeadConfig = HeadConfig(),
    *,
    pretrained: str = "imagenet",
    report: Report = lambda _progress: None,
    decoder: Decoder | None = None,
) -> TrainedHead:
    """Train the head of a tower for near-duplicates of `pictures` (encoded, or why one cannot be read; read once, in order,
    never held all at once).

    `tower_config` names a backbone that has pretrained weights (`embedder.models.backbones`: `efficientnet_lite0` or
    `keras.applications.<Name>`; `usual_input` gives its size and spec) and the head `pooled`; `pretrained` is "imagenet" or a
    file with the backbone's weights. What is held in memory is 4 bytes for each of a picture's `views + 1` times the head's
    inputs (472 of EfficientNet-Lite0: 60 kB a picture). The same pictures, configs and machine give the same tower.

    Raises `InvalidArgument` for another head, more dimensions than the head has inputs, or fewer than two usable pictures, and
    what `build_tower` raises.
    """
    if tower_config.head != "pooled":
        raise InvalidArgument("head", f"near-duplicates are learnt with the head 'pooled', not {tower_config.head!r}")
    started_s = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    tower = build_tower(tower_config, pretrained=pretrained)
    looking = keras.Model(tower.input, tower.get_layer("scales").output)
    if tower_config.embedding_dim > looking.output_shape[-1]:
        most = looking.output_shape[-1]
        raise InvalidArgument("embedding_dim", f"{tower_config.embedding_dim} is more than the {most} numbers it is made of")
    scales, skipped, digest = _look(
        looking, pictures, tower_config, spec, config, decoder or Decoder(),
        lambda done: report(HeadProgress("views", done, 0, time.monotonic() - started_s)),
    )  # fmt: skip
    if len(scales) < 2:
        raise InvalidArgument("pictures", f"{len(scales)} can be used; at least 2 are needed to distinguish one from another")
    kernel, bias = _learn(
        scales, tower_config.embedding_dim, config,
        lambda done: report(HeadProgress("head", done, config.steps, time.monotonic() - started_s)),
    )  # fmt: skip
    tower.get_layer("embedding").set_weights([kernel, bias])
    return TrainedHead(tower, len(scales), skipped, digest, time.monotonic() - started_s)


def _look(
    looking: keras.Model,
    pictures: Iterable[bytes | LookalikeError],
    tower: TowerConfig,
    spec: InputSpec,
    config: HeadConfig,
    decoder: Decoder,
    report: Callable[[int], None],
) -> tuple[Scales, tuple[tuple[int, str], ...], str]:
    """Every picture and its views through the backbone; what was skipped; a digest of the rest. The draws of a picture depend
    on its position alone."""
    wanted = Wanted(towers=(TowerInput(tower.input_size, tower.channels, spec.fit),))
    rows: list[npt.NDArray[np.float32]] = []
    skipped: list[tuple[int, str]] = []
    digest = hashlib.sha256()
    for position, data in enumerate(pictures):
        if isinstance(data, LookalikeError):
            skipped.append((position, data.message))
            continue
        try:
            picture = alter.resized(decoder.picture(data), MAX_SIDE)
        except BadImage as error:
            skipped.append((position, error.problem))
            continue
        digest.update(hashlib.sha256(data).digest())
        rng = np.random.default_rng((config.seed, position))
        files = [data, *(view(picture, rng) for _ in range(config.views))]
        pixels = np.stack([decoder.decode(file, wanted).tower for file in files])
        rows.append(np.asarray(looking.predict_on_batch(spec.normalised(pixels)), np.float32))
        report(len(rows))
    return (np.stack(rows) if rows else np.empty((0, 0, 0), np.float32)), tuple(skipped), digest.hexdigest()[:16]


def _learn(scales: Scales, dim: int, config: HeadConfig, report: Callable[[int], None]) -> tuple[Any, Any]:
    """Kernel `[numbers, dim]` and bias `[dim]` of the linear layer."""
    numbers = scales.shape[-1]
    linear = keras.layers.Dense(dim)
    dropped = keras.layers.Dropout(config.dropout, seed=config.seed)
    head = keras.Sequential([keras.Input((numbers,)), dropped, linear, keras.layers.UnitNormalization()])
    linear.set_weights(list(whitened_components(scales.reshape(-1, numbers), dim, config.whitening)))
    loss = replace(find_loss("nt-xent"), compute=lambda found, _known, _: nt_xent(found, config.temperature))
    learner = MetricLearner(head, loss, classes=0)
    optimiser = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    learner.compile(optimizer=optimiser, jit_compile=False)
    counting = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: report(batch + 1))
    learner.fit(_Pairs(scales, config), epochs=1, shuffle=False, verbose=0, callbacks=[counting])
    kernel, bias = linear.get_weights()
    return kernel, bias


def whitened_components(rows: npt.NDArray[np.float32], dim: int, power: float) -> tuple[Scales, npt.NDArray[np.float32]]:
    """The first `dim` principal components of `rows` (`[n, numbers]`), each divided by its variance to `power`: a kernel
    `[numbers, dim]` and a bias `[dim]` that takes off the mean.

    Components that the rows do not have (there are fewer rows, say) count as having a millionth of the first one's variance.
    """
    mean = rows.mean(0, dtype=np.float64)
    variances, directions = np.linalg.eigh(np.cov(rows.astype(np.float64), rowvar=False))
    largest = np.argsort(-variances)[:dim]
    kept = np.maximum(variances[largest], variances.max() * 1e-6)
    kernel = directions[:, largest] * kept**-power
    return kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)


class _Pairs(keras.utils.PyDataset):  # type: ignore[misc]
    """A batch for each step: two different views of each of some pictures, the first of all before the second of all."""

    def __init__(self, scales: Scales, config: HeadConfig) -> None:
        super().__init__()
        self.scales, self.config = scales, config

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        rng = np.random.default_rng((self.config.seed, step))
        pictures, views, _ = self.scales.shape
        chosen = rng.permutation(pictures)[: self.config.pairs]
        first = rng.integers(0, views, len(chosen))
        second = (first + rng.integers(1, views, len(chosen))) % views
        rows = np.concatenate([self.scales[chosen, first], self.scales[chosen, second]])
        return rows, np.zeros(len(rows), np.float32)  # Keras wants targets; the loss has no use for them
