"""The shipped model for clothes is what its card says, and the card says how it was made."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from embedder.models import bundle as bundles
from embedder.training.recipes import FASHION


@pytest.fixture(scope="module")
def bundle() -> bundles.Bundle:
    return bundles.load(bundles.SHIPPED / "fashion")


def test_its_figures_are_those_asked_of_it(bundle: bundles.Bundle) -> None:
    asked = {"p_at_1": 0.94, "p_at_5": 0.935, "map_at_1000": 0.92, "knn5_accuracy": 0.945}
    assert {name: bundle.metrics[name] for name, least in asked.items() if bundle.metrics[name] < least} == {}


def test_the_fashion_bundle_was_measured_with_all_test_pictures_and_trained_on_none_of_them(bundle: bundles.Bundle) -> None:
    assert bundle.measured_on is not None
    assert (bundle.measured_on.images, bundle.measured_on.classes) == (70_000, 10)
    assert [(summary.name, summary.images) for summary in bundle.trained_on] == [("fashion-mnist train", 60_000)]


def test_the_fashion_bundle_was_made_by_todays_recipe_and_says_how(bundle: bundles.Bundle) -> None:
    assert bundle.provenance["recipe"] == asdict(FASHION.training)
    assert (bundle.tower.kept_dim, bundle.tower.kept_share) == (FASHION.kept_dim, FASHION.kept_share)
    assert bundle.input == FASHION.input
    assert bundle.provenance["command"].startswith("lookalike train fashion-mnist ")
    assert {"seed", "training_seconds", "machine", "versions", "backend", "loss"} <= set(bundle.provenance)
