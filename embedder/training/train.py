"""The training run: a tower, class proxies beside it, an optimiser, and an averaged copy of the weights that is what ships.

`keras` only, so that `KERAS_BACKEND=jax` or `torch` runs it too. Called by `lookalike train` (`embedder.commands.train`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from embedder.bundle import InputSpec, TowerConfig
from embedder.tower import build_tower
from embedder.training import checkpoint as checkpoints
from embedder.training.batches import make_batches
from embedder.training.data import AugmentedBatches, LabelledImages
from embedder.training.embedding import embed_pixels
from embedder.training.losses import Loss, find_loss
from embedder.training.mining import Mining, Pairs, Rows
from embedder.training.optimiser import Schedule, make_optimiser, make_schedule

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
_ADDED = ("loss", "mining")
"""Fields of `TrainingConfig` that came later."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """`epochs` over the training pictures, `seed` for every random draw. Learning rate and weight decay are the optimiser's.

    `precision` is Keras' policy for the backbone: `mixed_bfloat16` keeps weights, norms and the head in float32, and is 1.5
    times as fast as float32 on processors with AVX-512 BF16. `loss` is one of `losses.LOSSES`; `mining` says whether the pairs
    or triplets of a loss that needs some are chosen, the easy ones first, or drawn at random throughout.
    """

    epochs: int = 10
    batch_size: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    optimiser: Literal["muon", "adamw"] = "muon"
    schedule: Schedule = "warm-up-hold-decay"
    ema_decay: float = 0.995
    precision: Precision = "float32"
    seed: int = 1
    loss: str = "combined"
    mining: Mining = "curriculum"

    @property
    def facts(self) -> dict[str, Any]:
        """Every field; those that came later only where they are not the default, so that what was written down about a run
        before then still fits it."""
        default = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if name not in _ADDED or value != default[name]}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: `epoch` of `epochs` done, `step` of `steps` of the epoch under way, the epoch's mean `loss` so far, and
    `spent_s` of training in all, earlier runs counted in."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    spent_s: float


Report = Callable[[Progress], None]
AfterEpoch = Callable[[Progress, keras.Model, float], None]
"""Hears of a whole epoch, with the tower as it would ship now (averaged weights) and the learning rate of the last step."""


class MetricLearner(keras.Model):  # type: ignore[misc]
    """A tower and, where the loss has them, one proxy per class; `fit` on (pixels, what is known of them) lessens the loss."""

    def __init__(self, tower: keras.Model, loss: Loss, classes: int) -> None:
        super().__init__(dtype="float32")
        self.tower, self.aim, self.proxies = tower, loss, None
        if loss.proxies:
            self.proxies = self.add_weight(
                shape=(classes, tower.output_shape[-1]), initializer="random_normal", name="proxies", dtype="float32"
            )

    def call(self, pixels: Any, training: bool = False) -> Any:
        return self.tower(pixels, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return self.aim.compute(y_pred, y, self.proxies)


class AveragedWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Exponential moving average of a tower's weights *and* batch-norm statistics, in float64 on the host.

    The decay warms up as min(decay, (1 + step) / (10 + step)), as in `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, tower: keras.Model, decay: float) -> None:
        super().__init__()
        self.tower, self.decay, self.step = tower, decay, 0
        self.shadow = [np.asarray(value, np.float64) for value in tower.get_weights()]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.step += 1
        _settle(self.model)
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for kept, variable in zip(self.shadow, self.tower.weights, strict=True):
            kept *= decay
            kept += (1 - decay) * ops.convert_to_numpy(variable)

    def apply(self) -> None:
        self.tower.set_weights([kept.astype(np.float32) for kept in self.shadow])

    @contextmanager
    def worn(self) -> Iterator[keras.Model]:
        """The tower with the averaged weights, inside the block."""
        own = _values(self.tower.weights)
        self.apply()
        try:
            yield self.tower
        finally:
            self.tower.set_weights(own)


class _Run(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the batches which epoch it is, reports after every step, and writes a checkpoint after every epoch."""

    def __init__(
        self,
        batches: AugmentedBatches,
        averaged: AveragedWeights,
        path: Path | None,
        recipe: Mapping[str, Any],
        report: Report,
        after_epoch: AfterEpoch | None,
        schedule: Callable[[int], Any],
    ) -> None:
        super().__init__()
        self.batches, self.averaged, self.path, self.recipe = batches, averaged, path, recipe
        self.report, self.after_epoch, self.schedule = report, after_epoch, schedule
        self.epoch, self.spent_before_s, self.started_s = 0, 0.0, time.monotonic()

    @property
    def spent_s(self) -> float:
        return self.spent_before_s + time.monotonic() - self.started_s

    def resume(self, found: checkpoints.Checkpoint, learner: keras.Model) -> None:
        learner.set_weights(list(found.learner))
        learner.optimizer.build(learner.trainable_variables)
        for variable, value in zip(learner.optimizer.variables, found.optimiser, strict=True):
            variable.assign(value)
        self.averaged.shadow = [np.asarray(value, np.float64) for value in found.average]
        self.averaged.step = found.epoch * len(self.batches)
        self.epoch, self.spent_before_s = found.epoch, found.seconds

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.epoch = epoch
        _settle(self.model)
        self.batches.begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        loss = float((logs or {}).get("loss", float("nan")))
        self.report(Progress(self.epoch, self.params["epochs"], batch + 1, self.params["steps"], loss, self.spent_s))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.epoch = epoch + 1
        _settle(self.model)
        if self.path is not None:
            values = (_values(self.model.weights), _values(self.model.optimizer.variables), self.averaged.shadow)
            checkpoints.write(self.path, checkpoints.Checkpoint(self.epoch, self.spent_s, self.recipe, *values))
        if self.after_epoch is not None:
            steps, loss = self.params["steps"], float((logs or {}).get("loss", float("nan")))
            rate = float(ops.convert_to_numpy(self.schedule(self.epoch * steps - 1)))
            with self.averaged.worn() as tower:
                now = Progress(epoch, self.params["epochs"], steps, steps, loss, self.spent_s)
                self.after_epoch(now, tower, rate)


def train(
    images: LabelledImages,
    tower_config: TowerConfig,
    spec: InputSpec,
    config: TrainingConfig,
    *,
    pairs: Pairs | None = None,
    report: Report = lambda _progress: None,
    after_epoch: AfterEpoch | None = None,
    checkpoint: Path | None = None,
) -> tuple[keras.Model, float]:
    """Train a tower on `images` (their labels, or `pairs` of them, as the loss reads); give it with its averaged weights, and
    the seconds spent.

    `checkpoint` (a `.npz` path) receives the state after each epoch, and a run that finds one there goes on from it. The number
    of epochs may be another than that of the run that wrote it; with `warm-up-hold-decay`, and without mining, the result is
    then that of one run. Raises what `checkpoint.read` does, and `InvalidArgument` for a loss that there is not.
    """
    loss = find_loss(config.loss)
    keras.utils.set_random_seed(config.seed)
    # A tower trained in mixed precision has the same variables, in float32, as the one that will serve it.
    with _policy(config.precision):
        tower = build_tower(tower_config)
    learner = MetricLearner(tower, loss, classes=len(images.classes))
    recipe = {key: value for key, value in config.facts.items() if key != "epochs"}
    recipe |= {"tower": asdict(tower_config), "data": images.summary.digest}
    recipe |= {} if pairs is None else {"pairs": pairs.digest}
    found = checkpoints.read(checkpoint, recipe) if checkpoint is not None else None

    def embed(rows: Rows) -> Any:
        return embed_pixels(tower, spec, images.pixels, rows, mirror=False)

    chosen = {"epochs": config.epochs, "mining": config.mining, "embed": embed}
    batches = make_batches(loss, images, spec, pairs, batch_size=config.batch_size, seed=config.seed, **chosen)
    schedule = make_schedule(config.schedule, config.learning_rate, config.epochs * len(batches))
    learner.compile(optimizer=_optimiser(config, schedule), jit_compile=keras.config.backend() == "jax")
    averaged = AveragedWeights(tower, config.ema_decay)
    run = _Run(batches, averaged, checkpoint, recipe, report, after_epoch, schedule)
    if found:
        run.resume(found, learner)
    callbacks = [averaged, run]
    learner.fit(batches, epochs=config.epochs, initial_epoch=run.epoch, shuffle=False, verbose=0, callbacks=callbacks)
    averaged.apply()
    return tower, run.spent_s


def _optimiser(config: TrainingConfig, schedule: Any) -> keras.optimizers.Optimizer:
    optimiser = make_optimiser(config.optimiser, schedule, config.weight_decay)
    # The least float16 is 6e-8: gradients are scaled up so that they do not vanish. bfloat16 has float32's range.
    return keras.optimizers.LossScaleOptimizer(optimiser) if config.precision == "mixed_float16" else optimiser


def _settle(model: keras.Model) -> None:
    """JAX' trainer holds the weights itself while it runs; have it put them back into the variables before they are read."""
    if keras.config.backend() == "jax":
        model.jax_state_sync()


class _policy:  # noqa: N801 - reads as the block it opens
    """Keras' policy for the layers built inside the block."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.before = keras.mixed_precision.dtype_policy()
        keras.mixed_precision.set_dtype_policy(self.name)

    def __exit__(self, *_: object) -> None:
        keras.mixed_precision.set_dtype_policy(self.before)


def _values(variables: Sequence[Any]) -> list[Any]:
    return [ops.convert_to_numpy(variable) for variable in variables]
