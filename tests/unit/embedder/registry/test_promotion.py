"""A bundle becomes what its name means if it is no worse than what that means now, on the same data; or by force, on record."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, DataSummary, InputSpec, TowerConfig
from embedder.registry.comparison import Comparison, compare
from embedder.registry.promotion import promote, standing
from embedder.registry.registry import Registry
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError

DATA = DataSummary("things", 10, 2, digest="d" * 16)
Figures = dict[str, float]


def a_bundle(seed: int, metrics: Figures | None = None, measured_on: DataSummary | None = DATA) -> Bundle:
    weights = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32),)
    spec = InputSpec((0.5,), (0.25,), mirror=True)
    return Bundle("shoes", TowerConfig(), spec, weights, metrics=metrics or {"p_at_5": 0.5}, measured_on=measured_on)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "shipped")
    return Registry(str(tmp_path / "models"))


def refused(registry: Registry, bundle: Bundle, **how: object) -> FailedPrecondition:
    revision = registry.get("shoes").revision
    with pytest.raises(FailedPrecondition) as raised:
        promote(registry, bundle, by="me", **how)  # type: ignore[arg-type]
    assert registry.get("shoes").revision == revision
    return raised.value


def test_the_first_of_its_name_is_promoted_without_a_comparison_and_that_is_on_record(registry: Registry) -> None:
    first = a_bundle(1, measured_on=None)
    made = promote(registry, first, by="me")
    assert made is not None
    assert (made.current, made.change.previous, made.change.by) == (first.fingerprint, "", "me")
    assert (made.change.reason, made.change.comparison, made.change.forced) == ("the first of its name", None, False)


@pytest.mark.parametrize("p_at_5", [0.5, 0.51])
def test_a_version_that_is_no_worse_is_promoted_with_its_comparison_on_record(registry: Registry, p_at_5: float) -> None:
    first, second = a_bundle(1, {"p_at_5": 0.5, "p_at_1": 0.6}), a_bundle(2, {"p_at_1": 0.1, "p_at_5": p_at_5})
    comparisons: list[Comparison] = []
    promote(registry, first, by="me")
    made = promote(registry, second, by="me", compared=comparisons.append)
    assert made is not None
    comparison = made.change.comparison
    assert comparison is not None
    assert comparisons == [comparison]
    assert (comparison.headline, comparison.common, comparison.worse) == ("p_at_5", ("p_at_5", "p_at_1"), False)
    assert (comparison.current["p_at_5"], comparison.new["p_at_5"]) == (0.5, p_at_5)
    assert made.change.previous == first.fingerprint
    assert registry.history("shoes")[-1] == made.change


def test_a_worse_one_is_refused_with_the_figures_and_by_force_on_record(registry: Registry) -> None:
    first, worse = a_bundle(1), a_bundle(2, {"p_at_5": 0.499})
    promote(registry, first, by="me")
    error = refused(registry, worse)
    assert error.reason == "WORSE_THAN_CURRENT"
    assert "p_at_5 0.4990 against 0.5000 on things" in error.message
    made = promote(registry, worse, by="me", force=True, reason="half the size")
    assert made is not None
    assert (made.current, made.change.forced, made.change.reason) == (worse.fingerprint, True, "half the size")
    assert made.change.comparison is not None
    assert made.change.comparison.worse


def test_force_that_was_not_needed_is_not_on_record_as_such(registry: Registry) -> None:
    promote(registry, a_bundle(1), by="me")
    made = promote(registry, a_bundle(2, {"p_at_5": 0.6}), by="me", force=True, reason="in a hurry")
    assert made is not None
    assert (made.change.forced, made.change.reason) == (False, "in a hurry")


@pytest.mark.parametrize(
    "other",
    [
        a_bundle(2, measured_on=replace(DATA, digest="e" * 16)),
        a_bundle(2, measured_on=replace(DATA, digest="")),
        a_bundle(2, measured_on=None),
        a_bundle(2, {"r_at_1_mean": 0.9}),
    ],
    ids=["other data", "no digest", "not measured", "other figures"],
)
def test_what_cannot_be_compared_is_refused_and_how_to_compare_is_said(registry: Registry, other: Bundle) -> None:
    promote(registry, a_bundle(1), by="me")
    error = refused(registry, other)
    assert error.reason == "NOT_COMPARABLE"
    assert "--on DATASET" in error.message
    made = promote(registry, other, by="me", force=True, reason="it is measured elsewhere")
    assert made is not None
    assert (made.change.forced, made.change.comparison) == (True, None)


def test_of_two_protocols_on_data_of_one_name_that_is_said(registry: Registry) -> None:
    promote(registry, a_bundle(1), by="me")
    message = refused(registry, a_bundle(2, measured_on=replace(DATA, digest="e" * 16))).message
    assert "both were measured on 'things', but the new one by another protocol" in message
    message = refused(registry, a_bundle(2, measured_on=replace(DATA, name="hats", digest="e" * 16))).message
    assert "'hats', the current one on other data, 'things'" in message


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["p_at_5", "p_at_1"])
def test_figures_that_are_not_finite_decide_nothing(registry: Registry, name: str, figure: float) -> None:
    broken = a_bundle(2, {"p_at_5": 0.6, "p_at_1": 0.6, name: figure})
    with pytest.raises(InvalidArgument, match=f"{name} {figure}"):
        promote(registry, broken, by="me")
    promote(registry, a_bundle(1), by="me")
    for one, other in ((broken.metrics, a_bundle(1).metrics), (a_bundle(1).metrics, broken.metrics)):
        with pytest.raises(FailedPrecondition, match=f"{name} is {figure}") as raised:
            compare(one, other, measured_on="things", digest="d" * 16)
        assert raised.value.reason == "NOT_COMPARABLE"


def test_two_measured_on_nothing_are_not_the_same_data(registry: Registry) -> None:
    promote(registry, a_bundle(1, measured_on=replace(DATA, digest="")), by="me")
    assert refused(registry, a_bundle(2, measured_on=replace(DATA, digest=""))).reason == "NOT_COMPARABLE"


def test_what_was_measured_by_the_caller_decides(registry: Registry) -> None:
    promote(registry, a_bundle(1, {"p_at_5": 0.9}), by="me")
    asked: list[tuple[str, str]] = []

    def measure(new: Bundle, current: Bundle) -> Comparison:
        asked.append((new.fingerprint, current.fingerprint))
        return compare({"r_at_1_mean": 0.7}, {"r_at_1_mean": 0.8}, measured_on="holidays", digest="f" * 16)

    second = a_bundle(2, {"p_at_5": 0.95})
    assert "r_at_1_mean 0.7000 against 0.8000 on holidays" in refused(registry, second, measure=measure).message
    assert asked == [(second.fingerprint, a_bundle(1).fingerprint)]


def test_the_shipped_bundle_is_what_a_name_means_until_the_registry_says_otherwise_and_is_then_kept(registry: Registry) -> None:
    shipped, better, worse = a_bundle(1), a_bundle(2, {"p_at_5": 0.6}), a_bundle(3, {"p_at_5": 0.4})
    bundles.save(shipped, bundles.SHIPPED / "shoes")
    assert standing(registry, "shoes").fingerprint == shipped.fingerprint
    with pytest.raises(FailedPrecondition, match="is worse"):
        promote(registry, worse, by="me")
    made = promote(registry, better, by="me")
    assert made is not None
    assert made.change.previous == shipped.fingerprint
    assert made.live == (better.fingerprint, shipped.fingerprint)


def test_the_shipped_bundle_itself_can_be_put_on_record(registry: Registry) -> None:
    shipped = a_bundle(1, measured_on=None)
    bundles.save(shipped, bundles.SHIPPED / "shoes")
    made = promote(registry, shipped, by="me")
    assert made is not None
    assert (made.live, made.change.comparison) == ((shipped.fingerprint,), None)


def test_promoting_what_the_name_means_already_changes_nothing(registry: Registry) -> None:
    promote(registry, a_bundle(1), by="me")
    assert promote(registry, a_bundle(1), by="me") is None
    assert registry.get("shoes").revision == 1


def test_a_current_one_that_is_damaged_can_be_replaced_by_force_only(registry: Registry, tmp_path: Path) -> None:
    first = a_bundle(1)
    promote(registry, first, by="me")
    (tmp_path / "models" / "shoes" / first.fingerprint / bundles.WEIGHTS).unlink()
    error = refused(registry, a_bundle(2, {"p_at_5": 0.6}))
    assert error.reason == "NOT_COMPARABLE"
    assert "weights.npz is missing" in error.message
    assert promote(registry, a_bundle(2), by="me", force=True, reason="the old one is lost") is not None


def test_the_loser_of_a_race_decides_anew(registry: Registry) -> None:
    promote(registry, a_bundle(1), by="me")

    def meanwhile(_: Comparison) -> None:
        promote(registry, a_bundle(3, {"p_at_5": 0.9}), by="somebody else")

    with pytest.raises(LookalikeError) as raised:
        promote(registry, a_bundle(2, {"p_at_5": 0.6}), by="me", compared=meanwhile)
    assert raised.value.reason == "REGISTRY_CHANGED"
    assert refused(registry, a_bundle(2, {"p_at_5": 0.6})).reason == "WORSE_THAN_CURRENT", "what was better is so no more"
