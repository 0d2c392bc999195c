"""`lookalike train`: a Siamese tower from one's own pictures."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def train_command(
    dataset: Annotated[str, typer.Argument(help="What to train on. This version knows: fashion-mnist.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the bundle.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "fashion",
    data: Annotated[Path | None, typer.Option(help="Folder with the dataset's files, if not in a known place.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 10,
    precision: Annotated[str, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 1,
) -> None:
    """Train a Siamese tower and write it as a bundle."""
    import numpy as np

    from embedder import bundle as bundles
    from embedder.training.data import fashion_mnist_images
    from embedder.training.train import Progress, TrainingConfig, train
    from lookalike.errors import InvalidArgument
    from lookalike.names import check_name

    check_name("name", name)
    if dataset != "fashion-mnist":
        raise InvalidArgument("dataset", f"{dataset!r} is not known; this version trains on fashion-mnist")
    images = fashion_mnist_images("train", data)
    out.mkdir(parents=True, exist_ok=True)
    tower_config = bundles.TowerConfig()
    spec = bundles.InputSpec(mean=(0.286,), std=(0.353,), mirror=True)
    config = TrainingConfig(epochs=epochs, seed=seed, precision=precision)  # type: ignore[arg-type]

    def report(now: Progress) -> None:
        if now.step == now.steps:
            typer.echo(f"epoch {now.epoch + 1}/{now.epochs}  loss {now.loss:.4f}  {now.spent_s:.0f} s")

    tower, spent_s = train(images, tower_config, spec, config, report=report, checkpoint=out / "checkpoint.npz")
    bundle = bundles.Bundle(
        name=name,
        tower=tower_config,
        input=spec,
        weights=tuple(np.asarray(value, np.float32) for value in tower.get_weights()),
        trained_on=(images.summary,),
        provenance={
            "command": f"lookalike train {dataset} --name {name} --epochs {epochs} --precision {precision} --seed {seed}",
            "training_seconds": round(spent_s),
            "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "python": platform.python_version(),
        },
    )
    bundles.save(bundle, out)
    typer.echo(f"wrote {out} (fingerprint {bundle.fingerprint})")
