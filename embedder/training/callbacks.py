"""What goes on beside the steps of a run: averaging weights, reporting progress, writing checkpoints. Called by `train`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from embedder.datasets.data import AugmentedBatches
from embedder.training import checkpoint as checkpoints


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
    def worn(self) -> Iterator[None]:
        """The tower has the averaged weights inside the block."""
        own = _values(self.tower.weights)
        self.apply()
        try:
            yield
        finally:
            self.tower.set_weights(own)


class Run(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the epoch of the batches, reports after every step, and writes a checkpoint after every epoch."""

    def __init__(
        self,
        batches: AugmentedBatches,
        averaged: AveragedWeights,
        path: Path | None,
        recipe: Mapping[str, Any],
        report: Report,
        after_epoch: Callable[[Progress, float], None] | None,
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
            with self.averaged.worn():
                self.after_epoch(Progress(epoch, self.params["epochs"], steps, steps, loss, self.spent_s), rate)


def _settle(model: keras.Model) -> None:
    """JAX' trainer holds the weights itself while it runs; have it put them back into the variables before they are read."""
    if keras.config.backend() == "jax":
        model.jax_state_sync()


def _values(variables: Sequence[Any]) -> list[Any]:
    return [ops.convert_to_numpy(variable) for variable in variables]
