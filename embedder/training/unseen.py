"""Classes never seen: a recipe trained on five classes of Fashion-MNIST and asked about the other five, both ways round.

A tower that is good at the classes it learnt may be worse than raw pixels at others, and people search for what no one
labelled. `make unseen` runs this and writes the report that lies beside the shipped bundle; the suite checks that it is of
today's recipe. A killed run goes on where it was: each fold has its checkpoint in the output folder.

    python -m embedder.training.unseen --out build/unseen
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from embedder.datasets.data import LabelledImages, fashion_mnist_images
from embedder.evaluation.exact import nearest
from embedder.models.bundle import SHIPPED
from embedder.training import provenance
from embedder.training.embedding import embed_pixels
from embedder.training.kept import keep_scales
from embedder.training.recipes import FASHION, Recipe
from embedder.training.train import Progress, train
from lookalike.spaces import Metric

REPORT = SHIPPED / "fashion" / "unseen.json"
FOLDS = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
"""The classes trained on; the others are asked about."""
EPOCHS = 8
"""A fold trains for fewer epochs than what ships, so that two of them cost less than half of it."""


@dataclass(frozen=True, slots=True)
class Fold:
    """P@1 over the unseen classes (gallery: their training pictures; queries: their test pictures; exact search) by raw pixels
    (L2), by the learnt part of the embedding alone, by the kept part alone, and by the embedding as it ships."""

    trained_on: tuple[str, ...]
    asked_about: tuple[str, ...]
    epochs: int
    raw_pixels: float
    learnt: float
    kept: float
    embedding: float
    training_seconds: int


def of_classes(images: LabelledImages, chosen: tuple[int, ...]) -> LabelledImages:
    """The pictures of the classes `chosen` (in ascending order), numbered anew."""
    rows = np.flatnonzero(np.isin(images.labels, chosen))
    labels = np.searchsorted(chosen, images.labels[rows]).astype(np.int32)
    classes = tuple(images.classes[number] for number in chosen)
    return LabelledImages(images.name, images.pixels[rows], labels, classes, images.licence, images.source)


def run_fold(
    recipe: Recipe, seen: tuple[int, ...], gallery: LabelledImages, queries: LabelledImages, out: Path, *, epochs: int = EPOCHS
) -> Fold:
    """Train `recipe` on the classes `seen` of `gallery` and ask about the others. `out` holds the checkpoint."""
    unseen = tuple(number for number in range(len(gallery.classes)) if number not in seen)
    training, shown, asked = of_classes(gallery, seen), of_classes(gallery, unseen), of_classes(queries, unseen)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.npz"
    course = replace(recipe.training, epochs=epochs)
    tower, spent_s = train(training, recipe.tower, recipe.input, course, report=_report, checkpoint=checkpoint)
    dim, share = recipe.kept_dim, recipe.kept_share
    whole, config = keep_scales(tower, recipe.tower, training, recipe.input, dim=dim, share=share)
    vectors, wanted = (embed_pixels(whole, recipe.input, images.pixels) for images in (shown, asked))
    learnt = config.embedding_dim - config.kept_dim

    def p_at_1(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], metric: Metric) -> float:
        if metric is Metric.COSINE:
            a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
        found = nearest(a, b, 1, metric)[:, 0]
        return round(float((shown.labels[found] == asked.labels).mean()), 4)

    pixels = [np.asarray(images.pixels.reshape(len(images), -1), np.float32) / np.float32(255) for images in (asked, shown)]
    return Fold(
        trained_on=training.classes,
        asked_about=shown.classes,
        epochs=epochs,
        raw_pixels=p_at_1(pixels[0], pixels[1], Metric.L2),
        learnt=p_at_1(wanted[:, :learnt], vectors[:, :learnt], Metric.COSINE),
        kept=p_at_1(wanted[:, learnt:], vectors[:, learnt:], Metric.COSINE),
        embedding=p_at_1(wanted, vectors, Metric.COSINE),
        training_seconds=round(spent_s),
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the checkpoints.")] = Path("build/unseen"),
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = REPORT,
) -> None:
    """Train the recipe of `fashion` on five classes and ask about the other five, both ways round."""
    gallery, queries = fashion_mnist_images("train"), fashion_mnist_images("test")
    folds = [run_fold(FASHION, seen, gallery, queries, out / f"fold{number}") for number, seen in enumerate(FOLDS)]
    content: dict[str, Any] = {
        "recipe": FASHION.digest,
        "command": "make unseen",
        "machine": provenance.machine(),
        "folds": [asdict(fold) for fold in folds],
    }
    report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{'asked about':<46}  raw pixels  learnt    kept  embedding")
    for fold in folds:
        figures = f"{fold.raw_pixels:>10.4f}  {fold.learnt:.4f}  {fold.kept:.4f}  {fold.embedding:>9.4f}"
        typer.echo(f"{', '.join(fold.asked_about):<46}  {figures}")


def _report(now: Progress) -> None:
    if now.step == now.steps:
        typer.echo(f"epoch {now.epoch + 1}/{now.epochs}  loss {now.loss:.4f}  {now.spent_s:.0f} s")


if __name__ == "__main__":
    typer.run(main)
