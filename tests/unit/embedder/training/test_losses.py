"""The losses agree with their papers' formulas, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.training import losses
from lookalike.errors import InvalidArgument


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return unit(rng.normal(size=(9, 5))), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])


def test_supervised_contrastive_is_equation_2_of_khosla(batch: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = batch
    per_row = []
    for i in range(len(y)):
        partners = [p for p in range(len(y)) if p != i and y[p] == y[i]]
        contrast = sum(np.exp(z[i] @ z[a] / losses.TEMPERATURE) for a in range(len(y)) if a != i)
        if partners:
            shares = [np.log(np.exp(z[i] @ z[p] / losses.TEMPERATURE) / contrast) for p in partners]
            per_row.append(-np.mean(shares))
    assert float(losses.supervised_contrastive(z, y)) == pytest.approx(np.mean(per_row), rel=1e-4)


def test_normalised_softmax_is_smoothed_cross_entropy_over_scaled_cosines(batch: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = batch
    proxies = np.random.default_rng(4).normal(size=(4, 5)).astype(np.float32)
    logits = losses.SCALE * z @ unit(proxies).T
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.eye(4)[y] * (1 - losses.LABEL_SMOOTHING) + losses.LABEL_SMOOTHING / 4
    expected = -(wanted * log_shares).sum(1).mean()
    assert float(losses.normalised_softmax(z, y, proxies)) == pytest.approx(expected, rel=1e-4)


def test_contrastive_is_equation_4_of_hadsell() -> None:
    rng = np.random.default_rng(5)
    first, second = unit(rng.normal(size=(7, 4))), unit(rng.normal(size=(7, 4)))
    second[0], second[1], second[4] = first[0], unit(first[1] + 0.3), unit(first[4] + 0.2)
    same = np.array([1, 1, 1, 1, 0, 0, 0])
    per_pair = []
    for a, b, alike in zip(first, second, same, strict=True):
        distance = float(np.linalg.norm(a - b))
        per_pair.append(distance**2 / 2 if alike else max(0.0, losses.CONTRASTIVE_MARGIN - distance) ** 2 / 2)
    assert any(value > 0 for value in per_pair[4:])
    found = losses.contrastive(np.concatenate([first, second]), np.concatenate([same, same]))
    assert float(found) == pytest.approx(np.mean(per_pair), rel=1e-4)


def slow_triplet(z: np.ndarray, y: np.ndarray) -> float:
    distances = ((z[:, None] - z[None]) ** 2).sum(-1)
    terms = []
    for a in range(len(y)):
        negatives = sorted(distances[a][y != y[a]])
        for p in range(len(y)):
            if p == a or y[p] != y[a] or not negatives:
                continue
            semi_hard = [d for d in negatives if d > distances[a, p]]
            terms.append(max(0.0, distances[a, p] - (semi_hard[0] if semi_hard else negatives[-1]) + losses.TRIPLET_MARGIN))
    return float(np.mean(terms)) if terms else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_triplet_takes_the_nearest_negative_beyond_the_positive_or_else_the_farthest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, y = unit(rng.normal(size=(23, 3))), rng.integers(0, 4, 23)
    assert float(losses.triplet_semi_hard(z, y)) == pytest.approx(slow_triplet(z, y), rel=1e-4)


def test_triplet_of_one_class_is_nothing(batch: tuple[np.ndarray, np.ndarray]) -> None:
    z, _ = batch
    assert float(losses.triplet_semi_hard(z, np.zeros(len(z), np.int64))) == 0.0


def test_nt_xent_is_equation_1_of_chen() -> None:
    z = unit(np.random.default_rng(6).normal(size=(10, 4)))
    terms = []
    for i in range(10):
        others = sum(np.exp(z[i] @ z[k] / losses.TEMPERATURE) for k in range(10) if k != i)
        terms.append(-np.log(np.exp(z[i] @ z[(i + 5) % 10] / losses.TEMPERATURE) / others))
    assert float(losses.nt_xent(z)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_combined_is_the_softmax_and_half_of_the_contrastive(batch: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = batch
    proxies = np.random.default_rng(4).normal(size=(4, 5)).astype(np.float32)
    expected = float(losses.normalised_softmax(z, y, proxies)) + 0.5 * float(losses.supervised_contrastive(z, y))
    assert float(losses.combined(z, y, proxies)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_goes_down_along_its_gradient(name: str) -> None:
    import tensorflow as tf

    loss = losses.find_loss(name)
    rng = np.random.default_rng(7)
    z = tf.Variable(unit(rng.normal(size=(12, 6))))
    known = np.array([1, 0, 1, 0, 1, 0] * 2) if loss.reads == "pairs" else np.arange(12) % 3
    proxies = tf.constant(rng.normal(size=(3, 6)).astype(np.float32))

    def value() -> tf.Tensor:
        return loss.compute(tf.math.l2_normalize(z, axis=1), known, proxies)

    with tf.GradientTape() as tape:
        before = value()
    slope = tape.gradient(before, z)
    assert np.isfinite(slope.numpy()).all()
    z.assign_sub(0.02 * slope)
    assert float(value()) < float(before)


def test_pairs_at_no_distance_have_a_finite_gradient() -> None:
    import tensorflow as tf

    z = tf.Variable(unit(np.ones((4, 3))))
    with tf.GradientTape() as tape:
        value = losses.contrastive(z, np.array([1, 0, 1, 0]))
    assert np.isfinite(tape.gradient(value, z).numpy()).all()


def test_a_loss_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidArgument, match="'softmax' is not one of combined, normalised-softmax, supervised-contrastive"):
        losses.find_loss("softmax")
