"""Distances and similarities are what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lookalike.errors import InvalidArgument
from lookalike.spaces import HistogramSettings, Metric, vectors_problem


def test_l2_is_euclidean_and_its_similarity_falls_to_zero_for_disjoint_histograms() -> None:
    a, b = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    distance = float(Metric.L2.distance(a, b))
    assert distance == pytest.approx(math.sqrt(2))
    assert Metric.L2.similarity(distance) == pytest.approx(0.0, abs=1e-7)
    assert Metric.L2.similarity(0.0) == 1.0


def test_cosine_distance_is_one_minus_cos_and_similarity_its_half_from_above() -> None:
    a = np.array([1, 0], np.float32)
    others = np.array([[2, 0], [0, 3], [-1, 0]], np.float32)
    distances = Metric.COSINE.distance(others, a)
    assert distances.tolist() == pytest.approx([0, 1, 2])
    assert [Metric.COSINE.similarity(float(d)) for d in distances] == pytest.approx([1, 0.5, 0])


def test_every_setting_changes_dimension_or_fingerprint() -> None:
    settings = [HistogramSettings(bins, grid, color) for bins in (16, 256) for grid in (1, 4) for color in (False, True)]
    assert len({s.space().fingerprint for s in settings}) == len(settings)
    assert HistogramSettings().dimension == 256
    assert HistogramSettings(16, 4, True).dimension == 4 * 4 * 3 * 16


@pytest.mark.parametrize(
    ("bins", "grid", "color", "field"),
    [
        (7, 1, False, "histogram.bins"),
        (256, 0, False, "histogram.grid"),
        (256, 9, False, "histogram.grid"),
        (256, 8, True, "histogram"),
    ],
)
def test_settings_out_of_range_are_refused(bins: int, grid: int, color: bool, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        HistogramSettings(bins, grid, color)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("values", "metric", "problem"),
    [
        ([1.0, float("nan")], Metric.L2, "not a finite number"),
        ([1.0, float("inf")], Metric.COSINE, "not a finite number"),
        ([0.0, 0.0], Metric.COSINE, "all zeros"),
        ([1e20, 1e20], Metric.COSINE, "a length of 1.41e+20"),
        ([1e-40, 1e-40], Metric.COSINE, "a length of 1.41e-40"),
        ([1e20, 0.0], Metric.L2, "a length of 1e+20"),
        ([1001.0, 0.0], Metric.L2, "at most 1,000"),
    ],
)
def test_vectors_that_float32_cannot_compare_are_distinguished_from_others(
    values: list[float], metric: Metric, problem: str
) -> None:
    good = np.array([[0.6, 0.8], values], np.float32)
    assert problem in vectors_problem(good, metric)
    assert vectors_problem(good[:1], metric) == ""


@pytest.mark.parametrize(
    ("length", "metric"), [(1e12, Metric.COSINE), (1.01e-12, Metric.COSINE), (999.0, Metric.L2), (0.0, Metric.L2)]
)
def test_vectors_at_the_bounds_are_compared_rightly_in_float32(length: float, metric: Metric) -> None:
    query = np.array([0.6, 0.8], np.float32) * np.float32(length * 0.999)
    assert vectors_problem(query[None], metric) == ""
    near, far = np.array([0.55, 0.85], np.float32), np.array([0.8, 0.6], np.float32)
    assert metric.distance(query, near) < metric.distance(query, far) or length == 0.0
