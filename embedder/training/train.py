"""The training run: a tower, class proxies beside it, AdamW, and an averaged copy of the weights that is what ships.

`keras` only, so that `KERAS_BACKEND=jax` or `torch` runs it too. Called by `lookalike train` (`embedder.cli`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from embedder.bundle import TowerConfig
from embedder.tower import build_tower
from embedder.training import losses
from embedder.training.data import AugmentedBatches
from lookalike.fashion_mnist import Split

FASHION_MEAN, FASHION_STD = 0.286, 0.353
"""Mean and standard deviation of the 60,000 training pictures, pixels scaled to [0, 1]."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """`epochs` over the training pictures, `seed` for every random draw. Learning rate and weight decay are AdamW's."""

    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    seed: int = 1


class MetricLearner(keras.Model):  # type: ignore[misc]
    """A tower and one proxy per class; `fit` on (pixels, labels) minimises `losses.combined`."""

    def __init__(self, tower: keras.Model, classes: int) -> None:
        super().__init__()
        self.tower = tower
        self.proxies = self.add_weight(shape=(classes, tower.output_shape[-1]), initializer="random_normal", name="proxies")

    def call(self, pixels: Any, training: bool = False) -> Any:
        return self.tower(pixels, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return losses.combined(y_pred, y, self.proxies)


class AveragedWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Exponential moving average of a tower's weights *and* batch-norm statistics, in float64 on the host.

    The decay warms up as min(decay, (1 + step) / (10 + step)), as in `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, tower: keras.Model, decay: float, checkpoint: Path | None = None) -> None:
        super().__init__()
        self.tower, self.decay, self.checkpoint, self.step = tower, decay, checkpoint, 0
        self.shadow = [np.asarray(value, np.float64) for value in tower.get_weights()]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for kept, variable in zip(self.shadow, self.tower.weights, strict=True):
            kept *= decay
            kept += (1 - decay) * ops.convert_to_numpy(variable)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.checkpoint is not None:
            averaged = {str(i): kept.astype(np.float32) for i, kept in enumerate(self.shadow)}
            np.savez(self.checkpoint, **averaged)  # type: ignore[arg-type]

    def apply(self) -> None:
        self.tower.set_weights([kept.astype(np.float32) for kept in self.shadow])


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self.report, self.started_s = report, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        spent_s = time.monotonic() - self.started_s
        left_s = spent_s / (epoch + 1) * (self.params["epochs"] - epoch - 1)
        loss = (logs or {}).get("loss", float("nan"))
        self.report(f"epoch {epoch + 1}/{self.params['epochs']}  loss {loss:.4f}  {spent_s:.0f} s spent, {left_s:.0f} s left")


def train(
    split: Split,
    tower_config: TowerConfig,
    config: TrainingConfig,
    *,
    report: Callable[[str], None] = print,
    checkpoint: Path | None = None,
) -> keras.Model:
    """Train a tower on `split` and return it with its averaged weights.

    `checkpoint` (a `.npz` path) receives the averaged weights after each epoch, in `tower.get_weights()` order.
    """
    keras.utils.set_random_seed(config.seed)
    tower = build_tower(tower_config)
    learner = MetricLearner(tower, classes=int(split.labels.max()) + 1)
    batches = AugmentedBatches(split, batch_size=config.batch_size, seed=config.seed, mean=FASHION_MEAN, std=FASHION_STD)
    steps = config.epochs * len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        decay_steps=max(1, steps - steps // 20),
        warmup_target=config.learning_rate,
        warmup_steps=max(1, steps // 20),
    )
    optimizer = keras.optimizers.AdamW(learning_rate=schedule, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "proxies"])
    learner.compile(optimizer=optimizer, jit_compile=False)
    averaged = AveragedWeights(tower, config.ema_decay, checkpoint)
    learner.fit(batches, epochs=config.epochs, shuffle=False, verbose=0, callbacks=[averaged, _Progress(report)])
    averaged.apply()
    return tower
