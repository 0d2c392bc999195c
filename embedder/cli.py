"""The embedder's own commands: `lookalike train`. Added to the `lookalike` command by the entry point `lookalike.commands`."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embedder.bundle import Bundle
    from embedder.training.train import TrainingConfig
    from lookalike.fashion_mnist import Split


def register(app: typer.Typer) -> None:
    """Add the embedder's commands to `app`."""
    app.command("train")(train_command)


def train_command(
    dataset: Annotated[str, typer.Argument(help="What to train on. This version knows: fashion-mnist.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the bundle.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "fashion",
    data: Annotated[Path | None, typer.Option(help="Folder with the dataset's files, if not in a known place.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1000, help="Train on the first N images only (a trial).")] = None,
) -> None:
    """Train a Siamese tower, measure it by exact search, and write it as a bundle."""
    # TensorFlow takes seconds to import: only the command that needs it pays.
    from embedder.training.data import fashion_mnist_split
    from embedder.training.train import TrainingConfig
    from lookalike.errors import InvalidArgument
    from lookalike.names import check_name

    check_name("name", name)
    if dataset != "fashion-mnist":
        raise InvalidArgument("dataset", f"{dataset!r} is not known; this version trains on fashion-mnist")
    gallery, queries = fashion_mnist_split("train", data), fashion_mnist_split("test", data)
    training = gallery if limit is None else type(gallery)(gallery.images[:limit], gallery.labels[:limit])
    out.mkdir(parents=True, exist_ok=True)
    command = f"lookalike train {dataset} --name {name} --epochs {epochs} --seed {seed}" + (
        f" --limit {limit}" if limit else ""
    )
    bundle = _train(training, TrainingConfig(epochs=epochs, seed=seed), out / "averaged.npz", name, command)
    _measure_and_save(bundle, gallery, queries, out)
    (out / "averaged.npz").unlink(missing_ok=True)


def _train(training: Split, config: TrainingConfig, checkpoint: Path, name: str, command: str) -> Bundle:
    """The trained tower as a bundle that says how it was made, by `command`; it holds no metrics yet."""
    import numpy as np
    import tensorflow as tf

    from embedder import bundle as bundles
    from embedder.model import pick_device
    from embedder.training.train import FASHION_MEAN, FASHION_STD, train

    started_s, tower_config = time.monotonic(), bundles.TowerConfig()
    tower = train(training, tower_config, config, report=typer.echo, checkpoint=checkpoint)
    spent_s = time.monotonic() - started_s
    typer.echo(f"trained in {spent_s:.0f} s")
    return bundles.Bundle(
        name=name,
        tower=tower_config,
        input=bundles.InputSpec(mean=(FASHION_MEAN,), std=(FASHION_STD,), mirror=True),
        weights=tuple(np.asarray(value, np.float32) for value in tower.get_weights()),
        provenance={
            "command": command,
            "data": f"Fashion-MNIST, {len(training.labels)} training images (MIT licence, Zalando SE)",
            "loss": "normalised softmax + 0.5 * supervised contrastive",
            "optimizer": f"AdamW, {config.learning_rate} peak, weight decay {config.weight_decay}, batch "
            f"{config.batch_size}, averaged weights ({config.ema_decay})",
            "training_seconds": round(spent_s),
            "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "tensorflow": tf.__version__,
            "device": pick_device().name,
            "python": platform.python_version(),
        },
    )


def _measure_and_save(bundle: Bundle, gallery: Split, queries: Split, out: Path) -> None:
    """Search exactly for every query in the whole gallery; write the bundle, with the precision found, to the folder `out`."""
    from embedder import bundle as bundles
    from embedder.model import Model, embed_all
    from embedder.training.evaluate import nearest, precision_at

    typer.echo(f"measuring {len(queries.labels)} queries on {len(gallery.labels)} images")
    model = Model(bundle)
    vectors = embed_all(model, gallery.images[..., None])
    found = nearest(embed_all(model, queries.images[..., None]), vectors, 10, "cosine")
    metrics = precision_at((1, 5, 10), found, queries.labels, gallery.labels)
    bundles.save(bundle.with_metrics(metrics), out)
    typer.echo("  ".join(f"{key} {value:.4f}" for key, value in metrics.items()))
    typer.echo(f"wrote {out} (fingerprint {bundle.fingerprint})")
