"""The losses agree with their papers' formulas, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.training import losses


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


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
