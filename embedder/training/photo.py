"""The model `photo`: trained on the photographs of `make photographs`, measured on those it never saw. `make photo`.

Owns the recipe of the shipped bundle and what the bundle says of its sources.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from embedder.datasets.photographs import LICENCES, Photograph, listed
from embedder.evaluation.attacks import AttackEvaluation, evaluate_attacks
from embedder.models import bundle as bundles
from embedder.models import efficientnet_lite0 as network
from embedder.models import pretrained
from embedder.models.bundle import Bundle, DataSummary, TowerConfig
from embedder.pictures.decode import Decoder
from embedder.training import provenance
from embedder.training.near_duplicates import HeadConfig, HeadProgress, TrainedHead, train_head
from lookalike.errors import NotFound

TOWER = TowerConfig(
    backbone="efficientnet_lite0", head="pooled", input_size=network.INPUT_SIZE, channels=3, widths=(), embedding_dim=384
)
HEAD = HeadConfig()


def train_photo(photographs: Path, weights: str, seed: int) -> tuple[Bundle, TrainedHead]:
    """Train on `photographs/train` with the backbone's `weights` (a file). Raises `NotFound` naming a photograph that is not
    there: without it the bundle would be another."""
    wanted = tuple(photograph for photograph in listed() if photograph.role == "train")
    config = HeadConfig(**{**asdict(HEAD), "seed": seed})

    def report(now: HeadProgress) -> None:
        if now.stage == "views" and now.done % 50 == 0:
            typer.echo(f"{now.done}/{len(wanted)} photographs looked at  {now.spent_s:.0f} s")

    trained = train_head(
        _contents(photographs, wanted), TOWER, network.INPUT, config, pretrained=weights, report=report,
        decoder=Decoder(max_bytes=100_000_000, max_pixels=200_000_000),
    )  # fmt: skip
    bundle = Bundle(
        name="photo",
        tower=TOWER,
        input=network.INPUT,
        weights=tuple(np.asarray(value, np.float32) for value in trained.tower.get_weights()),
        trained_on=(provenance.backbone_source(TOWER.backbone, provenance.IMAGENET), *_sources(wanted)),
        provenance={
            "command": f"make photo SEED={seed}" if seed != HEAD.seed else "make photo",
            "recipe": asdict(config),
            "training_seconds": round(trained.seconds),
            "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "machine": provenance.machine(),
            "versions": provenance.versions(),
        },
    )
    return bundle, trained


def measured(bundle: Bundle, photographs: Path, seed: int = 1) -> tuple[Bundle, AttackEvaluation]:
    """`bundle` with what it and last-stage pooling reach on the photographs kept back."""
    found = evaluate_attacks(bundle, photographs / "query", distractors=photographs / "distractor", seed=seed)
    kept_back = replace(found.measured_on, name="photographs kept back", source=f"make photographs: {found.measured_on.source}")
    return bundle.with_metrics(found.figures, kept_back), found


def _contents(photographs: Path, wanted: Sequence[Photograph]) -> Iterator[bytes]:
    for photograph in wanted:
        path = photographs / photograph.role / photograph.file_name
        if not path.is_file():
            raise NotFound("photograph", str(path), hint="`make photographs` gathers them")
        yield path.read_bytes()


def _sources(wanted: Sequence[Photograph]) -> tuple[DataSummary, ...]:
    """A summary for each package. The digest is over the hashes of its photographs in order."""
    by_package: dict[str, list[str]] = {}
    for photograph in wanted:
        by_package.setdefault(photograph.package, []).append(photograph.sha256)
    return tuple(
        DataSummary(
            name=package,
            images=len(hashes),
            licence=LICENCES[package],
            source=f"Debian's package {package}",
            digest=hashlib.sha256("".join(hashes).encode()).hexdigest()[:16],
        )
        for package, hashes in by_package.items()
    )


def main(
    photographs: Annotated[Path, typer.Argument(help="Folder that `make photographs` filled.")],
    weights: Annotated[Path, typer.Option(help="ImageNet weights of EfficientNet-Lite0, from `lookalike convert-weights`.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the bundle.")],
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = HEAD.seed,
) -> None:
    """Train the model `photo` and measure it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what TensorFlow has found of the CPU is no news
    bundle, _ = train_photo(photographs, str(weights), seed)
    halved = bundle.in_half_precision()
    bundles.save(halved, out)
    last_stage = pretrained.last_stage_of(pretrained.efficientnet_lite0_weights(str(weights)))
    pretrained.write({path: array.astype(np.float16) for path, array in last_stage.items()}, out / pretrained.LAST_STAGE)
    whole = measured(bundle, photographs)[1].figures["r_at_1_mean"]
    final, found = measured(halved, photographs)
    beside = {"r_at_1_mean_in_float32": whole, "last_stage": dict(found.baselines["last_stage"])}
    final = replace(final, provenance={**final.provenance, **beside})
    bundles.save(final, out)
    typer.echo(f"wrote {out} (fingerprint {final.fingerprint}); mean R@1 in float32 {whole:.4f}")
    for name, figure in found.figures.items():
        typer.echo(f"{name:24} {figure:.4f}  last stage {found.baselines['last_stage'][name]:.4f}")


if __name__ == "__main__":
    typer.run(main)
