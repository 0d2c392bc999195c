"""A head learns, from pictures alone, to find them again; what it cannot use it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
import pytest

from embedder.models.bundle import InputSpec, TowerConfig
from embedder.training import near_duplicates
from embedder.training.losses import nt_xent
from embedder.training.near_duplicates import HeadConfig, HeadProgress, TrainedHead, train_head, whitened_components
from lookalike.errors import InvalidArgument, LookalikeError, NotFound
from tests.pictures.made_pictures import encoded
from tests.pictures.scenes import scene

TOWER = TowerConfig(backbone="conv", head="pooled", input_size=32, channels=3, widths=(8, 16, 16), embedding_dim=24)
SPEC = InputSpec(mean=(0.5,) * 3, std=(0.25,) * 3, mirror=False, fit="squash")
CONFIG = HeadConfig(views=3, steps=10, pairs=8, seed=2)
PICTURES = [encoded(scene(number)) for number in range(10)]


GONE = NotFound("file", "gone.jpg")


def trained(
    pictures: Sequence[bytes | LookalikeError], config: HeadConfig = CONFIG, reports: list[HeadProgress] | None = None
) -> TrainedHead:
    """On a backbone of random weights, which sees enough to distinguish scenes."""
    report = (reports if reports is not None else []).append
    return train_head(pictures, TOWER, SPEC, config, pretrained="", report=report)


@pytest.fixture(scope="module")
def reports() -> list[HeadProgress]:
    return []


@pytest.fixture(scope="module")
def head(reports: list[HeadProgress]) -> TrainedHead:
    return trained([*PICTURES[:4], b"no picture", *PICTURES[4:], GONE], reports=reports)


def test_a_picture_that_cannot_be_decoded_or_read_is_left_out_and_named(head: TrainedHead) -> None:
    assert head.pictures == len(PICTURES)
    assert [position for position, _ in head.skipped] == [4, 11]
    assert "is not a JPEG" in head.skipped[0][1]
    assert "gone.jpg" in head.skipped[1][1]


def test_both_stages_report_to_their_end(head: TrainedHead, reports: list[HeadProgress]) -> None:
    looked = [now.done for now in reports if now.stage == "views"]
    stepped = [now.done for now in reports if now.stage == "head"]
    assert looked == list(range(1, len(PICTURES) + 1))
    assert stepped == list(range(1, CONFIG.steps + 1))
    assert reports[-1].total == CONFIG.steps
    assert 0 < reports[0].spent_s <= reports[-1].spent_s <= head.seconds


def test_training_brings_views_of_one_picture_together() -> None:
    """Numbers of pictures never trained on: what they have in common is drowned in what views differ by, until it is learnt."""
    rng = np.random.default_rng(1)
    differing = rng.normal(size=(6, 20)) * 3
    scales = rng.normal(size=(60, 1, 20)) + rng.normal(size=(60, 4, 6)) @ differing
    trained_on, kept_back = scales[:40].astype(np.float32), scales[40:].astype(np.float32)
    pairs = np.concatenate([kept_back[:, 0], kept_back[:, 1]])

    def loss(kernel: np.ndarray, bias: np.ndarray) -> float:
        vectors = pairs @ kernel + bias
        return float(nt_xent(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0.07))

    start = loss(*whitened_components(trained_on.reshape(-1, 20), 12, CONFIG.whitening))
    config = replace(CONFIG, steps=100, pairs=40, learning_rate=3e-3, dropout=0.0)
    assert loss(*near_duplicates._learn(trained_on, 12, config, lambda _: None)) < 0.8 * start


def test_the_same_pictures_and_seed_give_the_same_head(head: TrainedHead) -> None:
    again = trained([*PICTURES[:4], b"no picture", *PICTURES[4:], GONE])
    assert again.digest == head.digest
    for once, twice in zip(head.tower.get_weights(), again.tower.get_weights(), strict=True):
        assert np.array_equal(once, twice)


def test_only_the_head_learns(head: TrainedHead) -> None:
    keras.utils.set_random_seed(CONFIG.seed)
    from embedder.models.tower import build_tower

    fresh = build_tower(TOWER)
    same = [
        np.array_equal(learnt, untouched)
        for learnt, untouched in zip(head.tower.get_weights(), fresh.get_weights(), strict=True)
    ]
    assert same == [True] * (len(same) - 2) + [False, False]


@pytest.mark.parametrize(
    ("tower", "pictures", "message"),
    [
        (replace(TOWER, head="joined"), PICTURES, "head 'pooled', not 'joined'"),
        (replace(TOWER, embedding_dim=5000), PICTURES, "5000 is more than the 40 numbers"),
        (TOWER, PICTURES[:1], "1 can be used; at least 2"),
        (TOWER, [b"x", b"y"], "0 can be used"),
    ],
)
def test_what_cannot_be_trained_is_refused(tower: TowerConfig, pictures: list[bytes], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        train_head(pictures, tower, SPEC, CONFIG, pretrained="")


def test_fewer_views_than_dimensions_still_make_a_head() -> None:
    few = trained(PICTURES[:2], replace(CONFIG, views=1, steps=2))
    assert all(np.isfinite(array).all() for array in few.tower.get_weights())


def test_whitening_by_a_half_leaves_components_of_variance_one() -> None:
    rows = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32) @ np.diag([9, 5, 3, 2, 1, 0.5]).astype(np.float32)
    kernel, bias = whitened_components(rows + 7, 4, 0.5)
    assert np.allclose(np.cov((rows + 7) @ kernel + bias, rowvar=False), np.eye(4), atol=1e-3)
    plain, _ = whitened_components(rows, 4, 0.0)
    assert np.allclose(plain.T @ plain, np.eye(4), atol=1e-5)
    assert np.abs(plain[0, 0]) > 0.99  # the widest first


def test_nt_xent_is_what_it_is_by_hand() -> None:
    rows = np.asarray([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)  # pairs (0, 2) and (1, 3)
    cosines, partner = rows @ rows.T / 0.5, [2, 3, 0, 1]
    by_hand = [np.log(sum(np.exp(cosines[i, j]) for j in range(4) if j != i)) - cosines[i, partner[i]] for i in range(4)]
    assert float(nt_xent(keras.ops.convert_to_tensor(rows), 0.5)) == pytest.approx(np.mean(by_hand), rel=1e-5)
