"""A bundle comes back as it was saved, and one that was tampered with does not come back at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, InputSpec, TowerConfig
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound


@pytest.fixture
def made() -> Bundle:
    rng = np.random.default_rng(0)
    weights = tuple(rng.normal(size=shape).astype(np.float32) for shape in ((3, 3), (3,), (2, 3, 4)))
    return Bundle("tiny", TowerConfig(), InputSpec((0.3,), (0.4,), mirror=True), weights, metrics={"p_at_1": 0.5})


def test_a_saved_bundle_comes_back_the_same(made: Bundle, tmp_path: Path) -> None:
    bundles.save(made, tmp_path)
    back = bundles.load(tmp_path)
    assert (back.name, back.tower, back.input, back.metrics) == (made.name, made.tower, made.input, made.metrics)
    for a, b in zip(back.weights, made.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert back.fingerprint == made.fingerprint


def test_the_fingerprint_follows_what_changes_a_vector_and_nothing_else(made: Bundle) -> None:
    nudged = (made.weights[0] + 1e-6, *made.weights[1:])
    changed = [
        replace(made, weights=nudged),
        replace(made, tower=TowerConfig(embedding_dim=64)),
        replace(made, input=InputSpec((0.3,), (0.4,), mirror=False)),
        replace(made, input=InputSpec((0.3,), (0.4,), mirror=True, fit="squash")),
    ]
    assert len({made.fingerprint, *(b.fingerprint for b in changed)}) == 5
    assert replace(made, name="other", licence="MIT", metrics={}).fingerprint == made.fingerprint


def test_half_precision_halves_the_file_and_comes_back_as_it_went(made: Bundle, tmp_path: Path) -> None:
    half = made.in_half_precision()
    bundles.save(half, tmp_path)
    assert bundles.load(tmp_path).fingerprint == half.fingerprint != made.fingerprint
    with np.load(tmp_path / "weights.npz") as stored:
        assert {stored[key].dtype for key in stored.files} == {np.dtype(np.float16)}
    for a, b in zip(half.weights, made.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)


def test_weights_that_would_be_rounded_on_the_way_are_not_saved(made: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not rounded to float16"):
        bundles.save(replace(made, storage="float16"), tmp_path)
    assert not (tmp_path / "bundle.json").exists()


def test_weights_of_a_run_that_diverged_are_not_saved_over_good_ones(made: Bundle, tmp_path: Path) -> None:
    bundles.save(made, tmp_path)
    with pytest.raises(InvalidArgument, match="diverged"):
        bundles.save(replace(made, weights=(np.full((2,), np.nan, np.float32),)), tmp_path)
    assert bundles.load(tmp_path).fingerprint == made.fingerprint


def test_a_weight_beyond_half_precision_is_not_rounded_to_infinity(made: Bundle) -> None:
    with pytest.raises(InvalidArgument, match="float16"):
        replace(made, weights=(np.full((2,), 1e6, np.float32),)).in_half_precision()


def test_weights_that_do_not_belong_to_the_card_are_refused(made: Bundle, tmp_path: Path) -> None:
    bundles.save(made, tmp_path)
    card = json.loads((tmp_path / "bundle.json").read_text())
    card["input"]["mirror"] = False
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(FailedPrecondition, match="do not belong together"):
        bundles.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}'])
def test_a_card_that_cannot_be_read_is_refused_by_name(made: Bundle, tmp_path: Path, content: str) -> None:
    bundles.save(made, tmp_path)
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(InvalidArgument):
        bundles.load(tmp_path)


def test_a_folder_without_a_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bundle"):
        bundles.load(tmp_path)
