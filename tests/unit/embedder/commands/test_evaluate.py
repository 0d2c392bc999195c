"""`lookalike evaluate`: what it prints where, and what becomes of arguments that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.commands.evaluate import histogram_settings
from embedder.models.bundle import save
from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.demo import dataset
from lookalike.errors import InvalidArgument
from lookalike.spaces import HistogramSettings
from tests.servers.embedder import random_bundle
from tests.unit.lookalike.fake_gateway import SPACES, FakeGateway, an_image, gateway

__all__ = ["gateway"]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Evaluate = Callable[..., Said]


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = run_command(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    save(random_bundle("small"), folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of three of each of three classes."""
    gallery, _ = dataset.split()
    rows = np.concatenate([np.flatnonzero(gallery.labels == label)[:3] for label in (0, 1, 8)])
    return dataset.write_files(
        dataset.Pictures(gallery.images[rows], gallery.labels[rows], gallery.numbers[rows]), tmp_path_factory.mktemp("pictures")
    )


def test_json_is_one_object_and_nothing_else(evaluate: Evaluate, bundle: Path, pictures: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    said = evaluate(bundle, pictures, "--json", "--report", report, "--histogram", "bins=8,grid=2,color")
    assert said.code == exits.OK, said.err
    shown = json.loads(said.out)
    for figures in (shown, shown["histogram"], *shown["histograms"]):
        assert {"p_at_1", "p_at_5", "p_at_10", "map_at_1000", "knn5_accuracy"} <= set(figures)
    assert shown["subject"] == {"kind": "bundle", "name": "small", "fingerprint": random_bundle("small").fingerprint}
    assert f"wrote {report}" in said.err
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_table_names_spaces_classes_and_what_small_classes_mean(evaluate: Evaluate, bundle: Path, pictures: Path) -> None:
    said = evaluate(bundle, pictures)
    assert said.code == exits.OK, said.err
    for word in ("siamese", "histogram, 256 bins", "P@1", "mAP@R", "Trouser", "leave-one-out", "mAP@1000 above .0020"):
        assert word in said.out
    assert "ranking by siamese" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("no_such_model", "PICTURES"), exits.NOT_FOUND, "no_such_model"),
        (("BUNDLE", "/no/such/folder"), exits.NOT_FOUND, "/no/such/folder"),
        (("BUNDLE", "PICTURES", "--histogram", "bins=7"), exits.INVALID, "histogram.bins"),
        (("BUNDLE", "PICTURES", "--histogram", "colour=3"), exits.INVALID, "bins=16,grid=4,color"),
        (("BUNDLE", "PICTURES", "--label-column", "class"), exits.INVALID, "class"),
        (("BUNDLE", "PICTURES", "--report", "/no/such/report.html"), exits.NOT_FOUND, "/no/such"),
        (("BUNDLE", "PICTURES", "--distractors", "/tmp"), exits.INVALID, "--attacks"),
        (("BUNDLE", "/no/such", "--attacks"), exits.NOT_FOUND, "/no/such"),
        (("BUNDLE", "EMPTY", "--attacks"), exits.INVALID, "at least 2"),
        (("collection:shoes", "PICTURES", "--attacks"), exits.INVALID, "--attacks"),
        (("collection:shoes", "PICTURES", "--histogram", "bins=8"), exits.INVALID, "--histogram"),
        (("collection:shoes", "PICTURES", "--depth", "5"), exits.INVALID, "--depth"),
        (("collection:shoes", "PICTURES", "--address", "127.0.0.1:1"), exits.UNAVAILABLE, "127.0.0.1:1"),
        (("collection:shoes", "PICTURES", "--address", "nowhere"), exits.INVALID, "HOST:PORT"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_it(
    evaluate: Evaluate, bundle: Path, pictures: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, names: str
) -> None:
    places = {"BUNDLE": bundle, "PICTURES": pictures, "EMPTY": tmp_path}
    said = evaluate(*(places.get(argument, argument) for argument in arguments))
    assert (said.code, said.out) == (code, ""), said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("lookalike: ")]
    assert names in line
    assert "defect" not in line


def test_histograms_begin_with_the_baseline_and_stand_once() -> None:
    given = histogram_settings(["bins=16,grid=4", "color", "bins=256", "grid=4,bins=16"])
    assert given == (HistogramSettings(), HistogramSettings(16, 4), HistogramSettings(color=True))
    with pytest.raises(InvalidArgument, match="--histogram"):
        histogram_settings(["bins"])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([], "'shoes' is empty"),
        ([an_image("a", colour="red"), an_image("b", size=3)], "they have 'colour', 'size'"),
        ([an_image("a")], "no metadata at all"),
        ([an_image("a", label="Boat")], "no label in common: 'Boat' there"),
    ],
)
def test_a_collection_that_cannot_be_scored_says_why(
    evaluate: Evaluate, gateway: FakeGateway, pictures: Path, images: list[object], says: str
) -> None:
    gateway.collections["shoes"] = _collection()
    gateway.images = images  # type: ignore[assignment]
    said = evaluate("collection:shoes", pictures, "--address", gateway.target)
    assert said.code == exits.WRONG_STATE
    assert says in said.err


def _collection() -> Any:
    from lookalike.v1 import collection_service_pb2

    return collection_service_pb2.Collection(name="shoes", generation=1, spaces=SPACES)


def test_an_error_is_the_only_line_that_is_said(bundle: Path, tmp_path: Path) -> None:
    """In a process of its own: TensorFlow speaks once, when it is imported, past Python's standard error."""
    command = [sys.executable, "-m", "lookalike.cli.main", "evaluate", str(bundle), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == exits.INVALID
    assert ended.stderr == f"lookalike: dataset: {tmp_path} holds no class with two pictures\n"
