"""Pairs and triplets are what they say they are, and the hardest are found as by looking at all of them."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.training.mining import (
    hard_share,
    hardest_given,
    hardest_pairs,
    hardest_triplets,
    random_pairs,
)


@pytest.fixture
def some() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rng.integers(0, 3, 30).astype(np.int32)


def test_a_run_begins_with_random_pairs_and_ends_with_a_quarter_of_them_hard() -> None:
    shares = [hard_share(epoch, 12, "curriculum") for epoch in range(12)]
    assert shares[:3] == [0.0, 0.0, 0.0]
    assert shares[3] > 0
    assert shares == sorted(shares)
    assert shares[-1] == 0.25
    assert not any(hard_share(epoch, 12, "random") for epoch in range(12))


def test_random_pairs_are_half_of_one_class_never_a_picture_with_itself_and_of_all_classes() -> None:
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 3, 1], np.int32)  # 3 has one picture: no partner inside
    pairs = random_pairs(labels, 4000, np.random.default_rng(0))
    np.testing.assert_array_equal(labels[pairs.first] == labels[pairs.second], pairs.same == 1)
    assert pairs.same.sum() == 2000
    assert not (pairs.first == pairs.second).any()
    seen = {(a, b) for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(seen) == 9 * 8  # every ordered pair of different pictures comes up


def test_the_hardest_pairs_are_each_anchors_farthest_of_its_class_and_nearest_other(
    some: tuple[np.ndarray, np.ndarray],
) -> None:
    vectors, labels = some
    cosines = vectors @ vectors.T
    pairs = hardest_pairs(vectors, labels, 40)
    assert (len(pairs), pairs.same.sum()) == (40, 20)
    farthest, nearest = {}, {}
    for a in range(30):
        inside = [b for b in range(30) if b != a and labels[b] == labels[a]]
        farthest[a] = min(inside, key=lambda b: cosines[a, b])
        nearest[a] = max((b for b in range(30) if labels[b] != labels[a]), key=lambda b: cosines[a, b])
    alike = pairs.rows(np.flatnonzero(pairs.same))
    assert {a: farthest[a] for a in alike.first} == dict(zip(alike.first, alike.second, strict=True))
    hardest = sorted(range(30), key=lambda a: cosines[a, farthest[a]])[:20]
    assert sorted(hardest) == sorted(alike.first)
    other = pairs.rows(np.flatnonzero(pairs.same == 0))
    assert {a: nearest[a] for a in other.first} == dict(zip(other.first, other.second, strict=True))


def test_more_hard_pairs_than_anchors_take_the_second_hardest_too(some: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, labels = some
    pairs = hardest_pairs(vectors, labels, 100)
    assert len(pairs) == 100
    assert len(set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))) == 100
    np.testing.assert_array_equal(labels[pairs.first] == labels[pairs.second], pairs.same == 1)
    assert not (pairs.first == pairs.second).any()


def test_the_hardest_triplets_come_first_and_those_without_both_partners_never(some: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, labels = some
    labels[0] = 7
    cosines = vectors @ vectors.T
    triplets = hardest_triplets(vectors, labels, 50)
    assert len(triplets) == 29
    margins = [cosines[a, n] - cosines[a, p] for a, p, n in triplets]
    assert margins == sorted(margins, reverse=True)
    for anchor, positive, negative in triplets:
        assert positive != anchor
        assert labels[positive] == labels[anchor] != labels[negative]
        assert cosines[anchor, positive] == min(c for c, y in zip(cosines[anchor], labels, strict=True) if y == labels[anchor])
        assert cosines[anchor, negative] == max(c for c, y in zip(cosines[anchor], labels, strict=True) if y != labels[anchor])


def test_of_given_pairs_the_hardest_are_far_ones_of_one_thing_and_near_ones_of_two() -> None:
    cosines = np.array([0.9, 0.1, 0.5, 0.8, -0.2, 0.6], np.float32)
    same = np.array([1, 1, 1, 0, 0, 0], np.int32)
    assert hardest_given(cosines, same, 3).tolist() == [1, 2, 3]
    assert sorted(hardest_given(cosines, same, 100).tolist()) == [0, 1, 2, 3, 4, 5]
