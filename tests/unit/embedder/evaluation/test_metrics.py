"""Every figure against a slow version that follows its definition word for word, on random lists with ties and tiny classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.evaluation import exact, metrics
from lookalike.spaces import Metric


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 40), st.integers(1, 5))
def test_figures_are_those_of_their_definitions(seed: int, queries: int, gallery: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    gallery_labels = rng.integers(0, classes, gallery).astype(np.int32)
    labels = rng.choice(gallery_labels, queries).astype(np.int32)
    relevant = np.bincount(gallery_labels, minlength=classes)[labels]
    ranked = np.stack([rng.permutation(gallery_labels) for _ in range(queries)])
    found = metrics.figures(metrics.score(ranked, labels, relevant))
    lists = [(int(label), [int(one) for one in row]) for label, row in zip(labels, ranked, strict=True)]
    for k in (1, 5, 10):
        assert found[f"p_at_{k}"] == pytest.approx(_mean(_precision(k, label, row) for label, row in lists))
        assert found[f"recall_at_{k}"] == pytest.approx(_mean(label in row[:k] for label, row in lists))
    assert found["map_at_1000"] == pytest.approx(_mean(_ap(label, row, 1000) for label, row in lists))
    assert found["map_at_r"] == pytest.approx(_mean(_ap(label, row, row.count(label)) for label, row in lists))
    assert found["knn5_accuracy"] == pytest.approx(_mean(_voted(row[:5]) == label for label, row in lists))


def test_lists_longer_than_a_thousand_count_as_deep_as_each_figure_says() -> None:
    rng = np.random.default_rng(3)
    gallery_labels = np.r_[np.zeros(1300, np.int32), np.ones(700, np.int32)]
    labels = np.array([0, 1, 1], np.int32)
    ranked = np.stack([rng.permutation(gallery_labels) for _ in labels]).astype(np.int32)
    scores = metrics.score(ranked, labels, np.array([1300, 700, 700]))
    found = metrics.figures(scores)
    lists = [(int(label), [int(one) for one in row]) for label, row in zip(labels, ranked, strict=True)]
    assert found["map_at_1000"] == pytest.approx(_mean(_ap(label, row, 1000) for label, row in lists))
    assert found["map_at_r"] == pytest.approx(_mean(_ap(label, row, row.count(label)) for label, row in lists))
    assert metrics.ceiling(scores.relevant) == pytest.approx((1.0 + 0.7 + 0.7) / 3)
    curve = metrics.precision_curve(scores)
    assert curve.shape == (1000,)
    assert curve[[0, 99, 999]] == pytest.approx([_mean(_precision(k, *one) for one in lists) for k in (1, 100, 1000)])


def test_a_list_that_is_too_short_does_not_claim_map_at_r() -> None:
    ranked = np.array([[0, 0], [0, 1]], np.int32)
    labels, relevant = np.array([0, 1], np.int32), np.array([2, 3])
    assert "map_at_r" in metrics.figures(metrics.score(ranked, labels, relevant))
    assert "map_at_r" not in metrics.figures(metrics.score(ranked, labels, relevant, complete=False))
    assert "map_at_r" in metrics.figures(metrics.score(ranked, labels, np.array([2, 2]), complete=False))


def test_places_at_which_nothing_stands_are_wrong_and_have_no_vote() -> None:
    ranked = np.array([[metrics.NOTHING, metrics.NOTHING, 2], [metrics.NOTHING] * 3], np.int32)
    scores = metrics.score(ranked, np.array([2, metrics.NOTHING], np.int32), np.array([1, 1]))
    assert scores.voted.tolist() == [2, metrics.NOTHING]
    assert metrics.figures(scores)["p_at_5"] == pytest.approx(1 / 10)


@pytest.mark.parametrize(
    ("nearest", "winner"),
    [([3, 1, 1, 3, 2], 3), ([1, 3, 3, 1, 2], 1), ([2, 1, 1, 3, 3], 1), ([0, 4, 4, 4, 0], 4), ([5, 4, 3, 2, 1], 5)],
)
def test_of_labels_equally_frequent_that_of_the_nearest_wins(nearest: list[int], winner: int) -> None:
    assert metrics.vote(np.array([nearest], np.int32)).tolist() == [winner]


def test_the_table_and_the_confusion_agree_with_the_figures() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 60).astype(np.int32)
    ranked = rng.integers(0, 4, (60, 30)).astype(np.int32)
    scores = metrics.score(ranked, labels, np.full(60, 9))
    rows = metrics.per_class(scores, ("a", "b", "c", "never asked"))
    assert [row.name for row in rows] == ["a", "b", "c"]
    whole = metrics.figures(scores)
    for name in ("p_at_1", "p_at_5", "map_at_1000", "map_at_r", "knn5_accuracy"):
        weighed = sum(getattr(row, name) * row.queries for row in rows) / 60
        assert weighed == pytest.approx(whole[name])
    counted = metrics.confusion(scores, 4)
    assert counted.sum(axis=1).tolist() == [row.queries for row in rows] + [0]
    assert counted.trace() / 60 == pytest.approx(whole["p_at_1"])


def test_blocks_joined_are_the_whole() -> None:
    rng = np.random.default_rng(6)
    labels, ranked = rng.integers(0, 3, 20).astype(np.int32), rng.integers(0, 3, (20, 50)).astype(np.int32)
    relevant = np.full(20, 7)
    parts = [metrics.score(ranked[i : i + 8], labels[i : i + 8], relevant[i : i + 8]) for i in range(0, 20, 8)]
    assert metrics.figures(metrics.join(parts)) == metrics.figures(metrics.score(ranked, labels, relevant))


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("k", "size"), [(1, 7), (10, 600), (512, 2000), (700, 2000), (1999, 2000), (2000, 2000)])
def test_search_is_exact_and_takes_the_first_of_equals(metric: Metric, k: int, size: int) -> None:
    """Small whole numbers: exact in float32, and full of ties."""
    rng = np.random.default_rng(k)
    gallery = rng.integers(0, 3, (size, 4)).astype(np.float32)
    queries = rng.integers(0, 3, (5, 4)).astype(np.float32)
    distances = ((queries[:, None] - gallery) ** 2).sum(-1) if metric is Metric.L2 else -(queries @ gallery.T)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :k]
    assert exact.nearest(queries, gallery, k, metric).tolist() == expected.tolist()


def test_search_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(0, 3, (50, 3)).astype(np.float32)
    whole = exact.nearest(vectors, vectors, 9, Metric.L2)
    monkeypatch.setattr(exact, "VALUES_AT_ONCE", 50 * 7)
    assert [block.start for block in exact.ranked(vectors, vectors, 9, Metric.L2)] == list(range(0, 50, 7))
    assert exact.nearest(vectors, vectors, 9, Metric.L2).tolist() == whole.tolist()


def test_a_picture_is_no_neighbour_of_its_own_but_its_double_is() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((40, 5)).astype(np.float32)
    vectors[1] = vectors[0]
    own = np.arange(40)
    found = exact.nearest(vectors, vectors, 39, Metric.L2, own=own)
    assert not (found == own[:, None]).any()
    assert (found[0, 0], found[1, 0]) == (1, 0)
    assert all(sorted({*row, row_of}) == list(range(40)) for row_of, row in enumerate(found.tolist()))


@pytest.mark.parametrize("metric", list(Metric))
def test_distances_are_those_of_the_space(metric: Metric) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((30, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (block,) = exact.ranked(vectors[:3], vectors, 30, metric)
    for query, found, distances in zip(vectors[:3], block.found, block.distances, strict=True):
        assert distances == pytest.approx(metric.distance(vectors[found], query), abs=1e-3)


def _precision(k: int, label: int, row: list[int]) -> float:
    return sum(one == label for one in row[:k]) / k


def _ap(label: int, row: list[int], depth: int) -> float:
    """(1 / depth) * sum over k <= depth of rel_k * P@k."""
    return sum(_precision(k, label, row) for k in range(1, min(depth, len(row)) + 1) if row[k - 1] == label) / depth


def _voted(five: list[int]) -> int:
    counts = Counter(five)
    most = max(counts.values())
    return next(label for label in five if counts[label] == most)


def _mean(values: object) -> float:
    listed = [float(value) for value in values]  # type: ignore[attr-defined]
    return sum(listed) / len(listed)
