"""A short run learns, repeats itself with the same seed, and goes on after a stop as if there had been none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.datasets.data import LabelledImages, fashion_mnist_images
from embedder.evaluation.exact import nearest
from embedder.models.bundle import InputSpec, TowerConfig
from embedder.training.embedding import embed_pixels
from embedder.training.losses import LOSSES
from embedder.training.train import Progress, TrainingConfig, train
from lookalike.errors import FailedPrecondition
from lookalike.spaces import Metric

TINY = TowerConfig(input_size=14, widths=(8, 16), embedding_dim=16)
SPEC = InputSpec(mean=(0.286,), std=(0.353,), mirror=True)
CONFIG = TrainingConfig(epochs=4, batch_size=128, learning_rate=1e-2, optimiser="adamw", ema_decay=0.9, seed=5)


def some(first: int, count: int) -> LabelledImages:
    """Pictures of half their size, which take a quarter of the time."""
    images = fashion_mnist_images("test").rows(slice(first, first + count))
    return replace(images, pixels=images.pixels[:, ::2, ::2])


def p_at_1(tower: object, gallery: LabelledImages, queries: LabelledImages) -> float:
    asked, held = (embed_pixels(tower, SPEC, images.pixels) for images in (queries, gallery))
    found = nearest(asked, held, 1, Metric.COSINE)[:, 0]
    return float((gallery.labels[found] == queries.labels).mean())


def weights(tower: object) -> list[np.ndarray]:
    return tower.get_weights()  # type: ignore[attr-defined, no-any-return]


class Kill:
    """Copies the checkpoint at one step of a run. The copy is what a run killed there would have left."""

    def __init__(self, checkpoint: Path, epoch: int, step: int) -> None:
        self.checkpoint, self.at = checkpoint, (epoch, step)
        self.left = checkpoint.with_name("left.npz")

    def __call__(self, now: Progress) -> None:
        if (now.epoch, now.step) == self.at:
            shutil.copy(self.checkpoint, self.left)


def test_a_short_run_separates_classes() -> None:
    gallery, queries = some(0, 512), some(8000, 200)
    reports: list[Progress] = []
    tower, _ = train(gallery, TINY, SPEC, CONFIG, report=reports.append)
    assert [now.step for now in reports] == [1, 2, 3, 4] * 4
    assert reports[-1].loss < reports[3].loss
    assert p_at_1(tower, gallery, queries) > 0.65


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("combined", "normalised-softmax")])
@pytest.mark.usefixtures("eagerly")
def test_every_loss_trains_a_tower(name: str) -> None:
    images = some(0, 128)
    if name == "nt-xent":  # two views of each picture fill a batch with half as many
        images = replace(images.rows(slice(0, 64)), labels=np.zeros(64, np.int32), classes=())
    reports: list[Progress] = []
    config = replace(CONFIG, epochs=2, batch_size=64, loss=name, ema_decay=0.5, mining="random")
    tower, _ = train(images, TINY, SPEC, config, report=reports.append)
    losses = [now.loss for now in reports if now.step == now.steps]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert np.isfinite(np.concatenate([value.ravel() for value in weights(tower)])).all()


@pytest.mark.usefixtures("eagerly")
def test_muon_in_float16_goes_on_after_a_kill_to_the_same_weights_though_it_is_watched(tmp_path: Path) -> None:
    images, kill = some(0, 64), Kill(tmp_path / "checkpoint.npz", epoch=1, step=1)
    config = TrainingConfig(epochs=2, batch_size=32, precision="mixed_float16")
    whole, _ = train(images, TINY, SPEC, config, report=kill, checkpoint=kill.checkpoint)
    reports: list[Progress] = []
    seen: list[tuple[int, float, np.ndarray]] = []

    def watch(now: Progress, tower: object, rate: float) -> None:
        seen.append((now.epoch, rate, embed_pixels(tower, SPEC, images.pixels[:4])))

    tower, _ = train(images, TINY, SPEC, config, report=reports.append, after_epoch=watch, checkpoint=kill.left)
    assert {now.epoch for now in reports} == {1}
    assert np.isfinite(reports[-1].loss)
    ((epoch, rate, vectors),) = seen
    assert epoch == 1
    assert 0 < rate < config.learning_rate
    np.testing.assert_array_equal(vectors, embed_pixels(tower, SPEC, images.pixels[:4]))
    for a, b in zip(weights(whole), weights(tower), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FailedPrecondition, match="another seed; delete it"):
        train(images, TINY, SPEC, replace(config, seed=6), checkpoint=kill.left)
    with pytest.raises(FailedPrecondition, match="of 2 epochs, more than the 1 asked for"):
        train(images, TINY, SPEC, replace(config, epochs=1), checkpoint=kill.left)


def test_facts_of_a_run_name_what_came_later_only_where_it_is_not_the_default() -> None:
    assert "loss" not in TrainingConfig().facts
    assert TrainingConfig(loss="triplet").facts == {**TrainingConfig().facts, "loss": "triplet"}
    assert TrainingConfig().facts["seed"] == 1
