"""A map of vectors in two dimensions: t-SNE, exact, for some hundred points. NumPy only; `report` calls it.

van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008); started from the two principal components, so that the
map is the same every time and keeps the large order (Kobak & Berens, Nature Communications 10:5416, 2019), with the step of
Belkina et al. (Nature Communications 10:5415, 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PERPLEXITY = 30.0
STEPS, EXAGGERATED_STEPS, EXAGGERATION = 500, 150, 12.0
_BISECTIONS = 40
_Floats = npt.NDArray[np.float32]


def tsne(vectors: _Floats, *, perplexity: float = PERPLEXITY, steps: int = STEPS) -> _Floats:
    """Places float32 `[n, 2]`, centred on 0, for `vectors` `[n, d]`; n is 2 or more. Time and memory grow with n squared:
    600 points take some seconds."""
    n = len(vectors)
    wanted = min(perplexity, max(1.0, (n - 1) / 3))
    likeness = _likeness(vectors, wanted)
    places = _principal(vectors)
    velocity, gains = np.zeros_like(places), np.ones_like(places)
    step_size = max(n / EXAGGERATION, 50.0)
    # Written over and over: fresh pages for every step would cost more than the sums.
    near, pull = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    likeness *= np.float32(EXAGGERATION)
    for step in range(steps):
        if step == EXAGGERATED_STEPS:
            likeness /= np.float32(EXAGGERATION)
        gradient = _gradient(places, likeness, near, pull)
        same_way = np.sign(gradient) == np.sign(velocity)
        gains = np.maximum(np.where(same_way, gains * 0.8, gains + 0.2), 0.01).astype(np.float32)
        momentum = 0.5 if step < EXAGGERATED_STEPS else 0.8
        velocity = (momentum * velocity - step_size * gains * gradient).astype(np.float32)
        places = places + velocity
        places -= places.mean(axis=0)
    return places


def _gradient(places: _Floats, likeness: _Floats, near: _Floats, pull: _Floats) -> _Floats:
    """4 sum_j (p_ij - q_ij) (1 + |y_i - y_j|^2)^-1 (y_i - y_j), float32 `[n, 2]`; `near` and `pull` are room."""
    squares = (places * places).sum(axis=1)
    np.matmul(places, places.T, out=near)
    np.multiply(near, -2, out=near)
    near += squares[:, None]
    near += squares + 1
    np.reciprocal(near, out=near)
    np.fill_diagonal(near, 0)
    np.multiply(near, -1 / near.sum(), out=pull)
    np.add(pull, likeness, out=pull)
    np.multiply(pull, near, out=pull)
    return np.asarray(4 * (pull.sum(axis=1)[:, None] * places - pull @ places), np.float32)


def _likeness(vectors: _Floats, perplexity: float) -> _Floats:
    """The p_ij: float32 `[n, n]`, symmetric, 0 on the diagonal, summing to 1; each row's width found by bisection."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    distances = np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0).astype(np.float64)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)  # the same p, without underflow
    low, high = np.zeros(len(vectors)), np.full(len(vectors), np.inf)
    precision = np.ones(len(vectors))
    finite = np.where(np.isfinite(distances), distances, 0)
    for _ in range(_BISECTIONS):
        weights = np.exp(-distances * precision[:, None])
        total = weights.sum(axis=1)
        entropy = np.log(total) + precision * (weights * finite).sum(axis=1) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + high) / 2)
    weights = np.exp(-distances * precision[:, None])
    conditional = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray((conditional + conditional.T) / (2 * len(vectors)), np.float32)


def _principal(vectors: _Floats) -> _Floats:
    """The two principal components, scaled to a spread of 1e-4, with the largest part of each positive."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], 1))
    places = np.zeros((len(vectors), 2), np.float32)
    places[:, : len(axes)] = centred @ axes.T
    spread = places[:, 0].std()
    if not spread:  # all vectors alike: any small difference will do
        places = np.random.default_rng(0).standard_normal(places.shape).astype(np.float32)
        spread = np.float32(1)
    return np.asarray(places / spread * 1e-4, np.float32)
