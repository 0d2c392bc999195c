"""The training run: a tower, class proxies beside it, an optimiser, and an averaged copy of the weights that is what ships.

`keras` only, so that `KERAS_BACKEND=jax` or `torch` runs it too. Called by `session` and `frozen`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from embedder.datasets.data import AugmentedBatches, LabelledImages
from embedder.models.bundle import InputSpec, TowerConfig
from embedder.models.tower import build_tower
from embedder.training import checkpoint as checkpoints
from embedder.training.batches import make_batches
from embedder.training.callbacks import AfterEpoch, AveragedWeights, Progress, Report, Run
from embedder.training.embedding import embed_pixels
from embedder.training.losses import Loss, find_loss
from embedder.training.mining import Mining, Pairs, Rows
from embedder.training.optimiser import Schedule, make_optimiser, make_schedule
from lookalike.errors import FailedPrecondition

__all__ = ["AfterEpoch", "Course", "Progress", "Report", "TrainingConfig", "train"]

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
    of epochs may be another than that of the run that wrote it; with `warm-up-hold-decay`, without mining and where the decay
    had not begun, the result is then that of one run (of 1,500 steps or more). Raises what `checkpoint.read` does,
    `InvalidArgument` for a loss that there is not, and `FailedPrecondition` (`CHECKPOINT_MISMATCH`) for a checkpoint of more
    epochs.
    """
    keras.utils.set_random_seed(config.seed)
    # A tower trained in mixed precision has the same variables, in float32, as the one that will serve it.
    tower = build_tower(tower_config, precision=config.precision)
    course = Course(images, tower_config, spec, config, pairs=pairs)
    return tower, course.run(tower, tower, report=report, after_epoch=after_epoch, checkpoint=checkpoint)


@dataclass(frozen=True)
class Course:
    """What is learnt from, and how. With `features` (float32 `[n, views, d]`) what is looked at is not the pictures, but what a
    frozen part of the tower made of views of each (`embedder.training.frozen`)."""

    images: LabelledImages
    tower: TowerConfig
    spec: InputSpec
    config: TrainingConfig
    pairs: Pairs | None = None
    features: npt.NDArray[np.float32] | None = None
    frozen: str = ""

    def run(
        self,
        learnt: keras.Model,
        tower: keras.Model,
        *,
        report: Report,
        after_epoch: AfterEpoch | None,
        checkpoint: Path | None,
    ) -> float:
        """Train `learnt`, which is `tower` or its end; give the seconds spent. Raises as `train` does."""
        found = checkpoints.read(checkpoint, self.recipe) if checkpoint is not None else None
        loss, config = find_loss(self.config.loss), self.config
        if found and found.epoch > config.epochs:
            raise FailedPrecondition(
                f"the checkpoint {checkpoint} is of {found.epoch} epochs, more than the {config.epochs} asked for; "
                "delete it to start again",
                reason="CHECKPOINT_MISMATCH",
            )
        learner = MetricLearner(learnt, loss, classes=len(self.images.classes))
        batches = self._batches(loss, learnt)
        schedule = make_schedule(config.schedule, config.learning_rate, config.epochs * len(batches))
        learner.compile(optimizer=_optimiser(config, schedule), jit_compile=keras.config.backend() == "jax")
        # TensorFlow traces a step twice where the first trace makes variables.
        learner.optimizer.build(learner.trainable_variables)
        averaged = AveragedWeights(learnt, config.ema_decay)
        hears = None if after_epoch is None else lambda now, rate: after_epoch(now, tower, rate)
        run = Run(batches, averaged, checkpoint, self.recipe, report, hears, schedule)
        if found:
            run.resume(found, learner)
        callbacks = [averaged, run]
        learner.fit(batches, epochs=config.epochs, initial_epoch=run.epoch, shuffle=False, verbose=0, callbacks=callbacks)
        averaged.apply()
        return run.spent_s

    @property
    def recipe(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be of this course."""
        recipe = {key: value for key, value in self.config.facts.items() if key != "epochs"}
        recipe |= {"tower": asdict(self.tower), "data": self.images.summary.digest}
        recipe |= {} if self.pairs is None else {"pairs": self.pairs.digest}
        return recipe | ({"backbone's weights": self.frozen} if self.frozen else {})

    def _batches(self, loss: Loss, learnt: keras.Model) -> AugmentedBatches:
        config = self.config

        def embed(rows: Rows) -> npt.NDArray[np.float32]:
            if self.features is not None:
                return np.asarray(learnt.predict_on_batch(self.features[rows, 0]), np.float32)
            return embed_pixels(learnt, self.spec, self.images.pixels, rows, mirror=False)

        chosen: dict[str, Any] = {"epochs": config.epochs, "mining": config.mining, "embed": embed}
        chosen |= {"batch_size": config.batch_size, "seed": config.seed}
        batches = make_batches(loss, self.images, self.spec, self.pairs, **chosen)
        batches.features = self.features
        return batches


def _optimiser(config: TrainingConfig, schedule: Any) -> keras.optimizers.Optimizer:
    optimiser = make_optimiser(config.optimiser, schedule, config.weight_decay)
    # The least float16 is 6e-8: gradients are scaled up so that they do not vanish. bfloat16 has float32's range.
    return keras.optimizers.LossScaleOptimizer(optimiser) if config.precision == "mixed_float16" else optimiser
