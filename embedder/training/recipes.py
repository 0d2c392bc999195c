"""Recipes: all that a shipped tower was made with, in one value, so that it can be made again and reports can say of which
recipe they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from embedder.models.bundle import MATHS_VERSION, InputSpec, TowerConfig
from embedder.training.train import TrainingConfig

VERSION = 1
"""Part of every digest: raise it when the code of the tower, the losses, the augmentation or the optimiser changes what a
recipe makes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`tower` is trained on pictures shown as `input` says; then `kept_dim` directions of its scales are kept beside what it
    learnt, with `kept_share` of the embedding's squared length (`embedder.training.kept`; 0: none)."""

    tower: TowerConfig
    input: InputSpec
    training: TrainingConfig
    kept_dim: int = 0
    kept_share: float = 0.0

    @property
    def digest(self) -> str:
        """16 hex digits over the recipe and the versions of the code behind it."""
        recipe = {**asdict(self), "training": self.training.facts, "version": VERSION, "maths": MATHS_VERSION}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


FASHION = Recipe(
    tower=TowerConfig(),
    # Mean and standard deviation of the 60,000 training pictures, pixels scaled to [0, 1].
    input=InputSpec(mean=(0.286,), std=(0.353,), mirror=True),
    training=TrainingConfig(epochs=20, learning_rate=1e-2, precision="mixed_bfloat16", seed=1),
    kept_dim=128,
    kept_share=0.2,
)
"""The shipped `fashion`: `lookalike train fashion-mnist`."""
