"""`lookalike train` as people run it: the bundle it writes and what it says; a kill or another backend changes nothing."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.commands.train_display import TrainingDisplay
from embedder.models import bundle as bundles
from embedder.models.model import Model
from embedder.training.gather import Request, gather
from embedder.training.train import Progress
from lookalike.cli.main import run_command
from lookalike.fashion_mnist import CLASS_NAMES, load
from lookalike.items import path_of

SMALL = [
    "--epochs", "3", "--batch-size", "32", "--embedding-dim", "16", "--input-size", "16", "--widths", "8,16",
    "--optimiser", "adamw",
]  # fmt: skip
ROOT = Path(__file__).parents[4]
WITHOUT_TENSORFLOW = """
import sys
from pathlib import Path

from importlib.util import find_spec

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ImportError("not on this machine")

if find_spec("tensorflow") is not None:
    sys.meta_path.insert(0, Hidden())
import typer
from embedder.cli import register
app = typer.Typer()
register(app)
pixels, vectors, out = sys.argv[1:4]
app(["train", "--out", out, *sys.argv[4:]], standalone_mode=False)
import numpy as np
from embedder.models import bundle as bundles
from embedder.models.tower import build_tower
from embedder.training.embedding import embed_pixels
bundle = bundles.load(Path(out))
tower = build_tower(bundle.tower)
tower.set_weights(list(bundle.weights))
np.save(vectors, embed_pixels(tower, bundle.input, np.load(pixels)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty pictures of ten classes, one picture that is none, and one that is there twice."""
    root, split = tmp_path_factory.mktemp("data") / "My Clothes", load("test")
    for row in range(80):
        of_class = root / CLASS_NAMES[split.labels[row]].replace("/", "-")
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.images[row]).save(of_class / f"{row:03d}.png")
    first = next((root / "Bag").iterdir())
    (root / "Bag" / "zz_copy.png").write_bytes(first.read_bytes())
    (root / "Bag" / "zz_broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of Fashion-MNIST with 800 pictures to train on and as many to test with: the whole takes half a second."""
    root, split = tmp_path_factory.mktemp("fashion"), load("test")
    for name, rows in (("train", slice(0, 800)), ("t10k", slice(800, 1600))):
        for what, values in (("images-idx3", split.images[rows]), ("labels-idx1", split.labels[rows])):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (root / f"{name}-{what}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes(), 1))
    return root


@dataclass(frozen=True)
class Run:
    """Where an undisturbed run of the small command wrote its bundle and its logs. `killed` is a copy of `out` from the
    middle of the second epoch. SIGKILL leaves a folder as others see it, so that the copy is what a killed run leaves."""

    out: Path
    logs: Path
    killed: Path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("trained")
    made = Run(root / "out", root / "logs", root / "killed")

    def step(_: TrainingDisplay, now: Progress) -> None:
        if (now.epoch, now.step) == (1, 2):
            shutil.copytree(made.out, made.killed)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingDisplay, "step", step)
        assert run_command(["train", str(folder), "--out", str(made.out), *SMALL, "--tensorboard", str(made.logs)]) == 0
    return made


@pytest.fixture(scope="module")
def trained(run: Run) -> Path:
    return run.out


def test_a_bundle_says_what_it_was_trained_and_measured_on(trained: Path, folder: Path) -> None:
    bundle = bundles.load(trained)
    assert bundle.name == "my_clothes"
    assert (bundle.tower.embedding_dim, bundle.tower.input_size, bundle.tower.channels) == (16, 16, 1)
    assert [(data.name, data.classes) for data in bundle.trained_on] == [("My Clothes", 10)]
    assert bundle.measured_on is not None
    assert bundle.measured_on.name == "My Clothes, held back"
    assert bundle.trained_on[0].images + bundle.measured_on.images == 80
    assert {"p_at_1", "map_at_1000", "map_at_r", "knn5_accuracy"} <= set(bundle.metrics)
    said = bundle.provenance
    assert said["command"] == (
        f"lookalike train '{folder}' --name my_clothes --epochs 3 --batch-size 32 --optimiser adamw --input-size 16 "
        "--embedding-dim 16 --widths 8,16 --seed 1"
    )
    assert said["backend"] == "tensorflow"
    assert said["recipe"]["optimiser"] == "adamw"
    assert said["loss"].startswith("combined (Zhai & Wu 2018")
    assert "core" in said["machine"]
    assert set(said["versions"]) >= {"python", "keras", "numpy"}
    # Not Fashion-MNIST's, but those of these pictures.
    assert 0.15 < bundle.input.mean[0] < 0.4
    with (trained / "skipped.csv").open() as stream:
        skipped = {Path(row["uri"]).name: row["reason"] for row in csv.DictReader(stream)}
    assert sorted(skipped) == ["zz_broken.png", "zz_copy.png"]
    assert sorted(path.name for path in trained.iterdir()) == [
        "bundle.json", "checkpoint.npz", "skipped.csv", "validation.csv", "weights.npz",
    ]  # fmt: skip


@pytest.mark.usefixtures("eagerly")
def test_damaged_pictures_among_those_held_back_do_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = load("test")
    for row in range(200):
        if (name := CLASS_NAMES[split.labels[row]]) in ("Bag", "Coat"):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[row]).save(tmp_path / "data" / name / f"{row:03d}.png")
    held = gather(Request(str(tmp_path / "data"))).held
    assert held is not None
    *damaged, last = (path_of(uri) for uri in held.uris if "/Bag/" in uri)
    for path in damaged:
        path.write_bytes(path.read_bytes()[:60])
    out = tmp_path / "out"
    assert run_command(["train", str(tmp_path / "data"), "--out", str(out), *SMALL, "--epochs", "1"]) == 0
    assert "not measured" in capsys.readouterr().out
    with (out / "skipped.csv").open() as stream:
        skipped = {path_of(row["uri"]) for row in csv.DictReader(stream)}
    assert {*damaged, last} <= skipped == set(map(path_of, held.uris))
    assert not (out / "validation.csv").exists()


def test_its_figures_are_those_of_evaluate(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["evaluate", str(trained), str(trained / "validation.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    metrics = bundles.load(trained).metrics
    assert {key: found[key] for key in metrics} == metrics


def test_tensorboard_finds_loss_rate_and_validation_of_every_epoch(run: Run) -> None:
    import tensorflow as tf

    (path,) = run.logs.iterdir()
    # TensorFlow's reader checks the checksum of every record.
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    assert events[0].file_version == "brain.Event:2"
    tags = {"loss", "learning_rate", "validation_p_at_1"}
    for epoch, event in enumerate(events[1:], 1):
        assert event.step == epoch
        assert {value.tag for value in event.summary.value} == tags
    assert len(events) == 4
    rates = [value.simple_value for event in events[1:] for value in event.summary.value if value.tag == "learning_rate"]
    assert rates == sorted(rates, reverse=True)


def test_a_killed_run_goes_on_by_itself_to_the_weights_of_an_undisturbed_one(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [path.name for path in run.killed.iterdir()] == ["checkpoint.npz"]
    assert run_command(["train", str(folder), "--out", str(run.killed), *SMALL]) == 0
    assert "goes on from a checkpoint: 1 of 3 epochs are done" in capsys.readouterr().err
    for a, b in zip(bundles.load(run.out).weights, bundles.load(run.killed).weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_trains_without_tensorflow_and_tensorflow_serves_the_same_vectors(
    backend: str, folder: Path, tmp_path: Path
) -> None:
    python = os.environ.get(f"LOOKALIKE_{backend.upper()}_PYTHON")
    if python is None:
        pytest.skip("takes half a minute, and for PyTorch an environment of its own: make test-backends")
    pixels = np.stack([np.asarray(Image.open(path).resize((16, 16))) for path in sorted(folder.glob("Bag/0*.png"))])[..., None]
    np.save(tmp_path / "pixels.npy", pixels)
    out, vectors = tmp_path / "out", tmp_path / "vectors.npy"
    files = [str(tmp_path / "pixels.npy"), str(vectors), str(out)]
    command = [python, "-c", WITHOUT_TENSORFLOW, *files, str(folder), *SMALL]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "my_clothes@" in done.stdout
    bundle = bundles.load(out)
    assert bundle.provenance["backend"] == backend
    assert set(bundle.provenance["versions"]) >= {backend, "keras"}
    assert 0 < bundle.metrics["p_at_1"] <= 1
    np.testing.assert_allclose(Model(bundle).embed(pixels), np.load(vectors), atol=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_pairs_are_learnt_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, other = (sorted(folder.glob(f"{name}/0*.png")) for name in ("Bag", "Dress", "Coat"))
    rows = [(a, b, "yes") for a, b in pairwise(first)] + [(a, b, "0") for a, b in zip(first, second, strict=False)]
    rows += [(first[0], tmp_path / "missing.png", "1"), (folder / "Bag" / "zz_broken.png", other[0], "0")]
    table = tmp_path / "pairs.csv"
    table.write_text("uri_a,uri_b,same\n" + "".join(f"{a},{b},{same}\n" for a, b, same in rows))
    assert run_command(["train", str(table), "--pairs", "--out", str(tmp_path / "out"), *SMALL, "--epochs", "2"]) == 0
    printed = capsys.readouterr()
    assert f"{len(rows) - 1} pairs" in printed.err
    assert "not measured" in printed.out
    bundle = bundles.load(tmp_path / "out")
    assert bundle.provenance["loss"].startswith("contrastive (Hadsell")
    assert (bundle.metrics, bundle.trained_on[0].classes) == ({}, 0)
    skipped = (tmp_path / "out" / "skipped.csv").read_text()
    assert "missing.png,there is no such file" in skipped
    assert "zz_broken.png" in skipped


@pytest.mark.usefixtures("eagerly")
def test_unlabelled_pictures_are_learnt_from_two_views_of_each(folder: Path, tmp_path: Path) -> None:
    arguments = ["train", str(folder), "--unlabelled", "--out", str(tmp_path / "out"), *SMALL]
    assert run_command([*arguments, "--epochs", "1", "--batch-size", "80"]) == 0
    bundle = bundles.load(tmp_path / "out")
    assert bundle.trained_on[0].images == 80
    assert bundle.provenance["loss"].startswith("nt-xent (Chen")
    assert bundle.tower.kept_dim == 0


@pytest.mark.usefixtures("eagerly")
def test_some_classes_of_fashion_mnist_are_measured_on_their_own_test_pictures(fashion: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["train", "fashion-mnist", "--classes", "2,Bag", "--limit", "60", "--loss", "triplet", "--no-mirror"]
    arguments += ["--data", str(fashion), "--out", str(out), *SMALL]
    assert run_command([*arguments, "--epochs", "1", "--precision", "float32"]) == 0
    bundle = bundles.load(out)
    assert bundle.name == "fashion"
    assert (bundle.trained_on[0].classes, bundle.trained_on[0].images) == (2, 60)
    assert bundle.measured_on is not None
    assert (bundle.measured_on.classes, bundle.measured_on.images) == (2, 120)
    assert bundle.metrics["p_at_1"] > 0.6
    assert not bundle.input.mirror
    assert "--classes 2,Bag --limit 60 --loss triplet" in bundle.provenance["command"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "dataset 'nowhere' does not exist; name a folder"),
        (["fashion-mnist", "--pairs"], "fashion-mnist names no pairs"),
        (["fashion-mnist", "--classes", "1,Hat"], "'Hat' is not one of 0 T-shirt/top, 1 Trouser"),
        (["fashion-mnist", "--classes", "3"], "holds one class only ('Dress')"),
        (["fashion-mnist", "--unlabelled", "--loss", "triplet"], "triplet does not learn from pictures without labels"),
        (["fashion-mnist", "--pairs", "--unlabelled"], "does not go with --pairs"),
        (["fashion-mnist", "--unlabelled", "--validation", "0.2"], "needs labels"),
        (["fashion-mnist", "--backbone", "resnet"], "'resnet' is not one of conv, efficientnet_lite0"),
        (["fashion-mnist", "--backbone", "efficientnet_lite0", "--channels", "1"], "sees colour: 3, not 1"),
        (["fashion-mnist", "--name", "My Model"], "--name"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(
    arguments: list[str], said: str, fashion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*arguments, *(["--data", str(fashion)] if arguments[0] == "fashion-mnist" else [])]
    assert run_command(["train", *arguments, "--out", str(tmp_path / "out")]) in (2, 3)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_names_that_help_shows_are_those_there_are() -> None:
    from typing import get_args

    from embedder.commands.train_options import LossName, MiningName, OptimiserName, PrecisionName, ScheduleName
    from embedder.training.losses import LOSSES
    from embedder.training.mining import Mining
    from embedder.training.optimiser import Schedule
    from embedder.training.train import Precision

    assert list(get_args(LossName)) == list(LOSSES)
    assert list(get_args(ScheduleName)) == list(get_args(Schedule))
    assert list(get_args(PrecisionName)) == list(get_args(Precision))
    assert list(get_args(OptimiserName)) == ["muon", "adamw"]
    assert list(get_args(MiningName)) == list(get_args(Mining))
