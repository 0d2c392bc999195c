"""The options of `lookalike train`: what each is called, means and allows. Standard library and typer only."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

LossName = Literal["combined", "normalised-softmax", "supervised-contrastive", "triplet", "contrastive", "nt-xent"]
"""Of `embedder.training.losses.LOSSES`; these names are spelled out here, so that --help costs no TensorFlow."""
ScheduleName = Literal["warm-up-hold-decay", "cosine"]
OptimiserName = Literal["muon", "adamw"]
PrecisionName = Literal["float32", "mixed_bfloat16", "mixed_float16"]
MiningName = Literal["curriculum", "random"]

_data = partial(typer.Option, rich_help_panel="What to train on")
_recipe = partial(typer.Option, rich_help_panel="How to train")
_run = partial(typer.Option, rich_help_panel="What comes out")

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="fashion-mnist, a folder with a sub-folder per class, or a .csv or .parquet file of (uri, label).",
        show_default=False,
    ),
]
Out = Annotated[Path, _run(metavar="FOLDER", help="Receives the bundle, and a checkpoint after every epoch.")]
Name = Annotated[str | None, _run(help="The model's name.", show_default="fashion, or the dataset's")]
TensorBoard = Annotated[Path | None, _run(metavar="FOLDER", help="Log loss, learning rate and validation P@1 for TensorBoard.")]
HalfPrecision = Annotated[
    bool, _run("--half-precision", help="Keep the weights as float16: half the size. They are measured as kept.")
]

AsPairs = Annotated[bool, _data("--pairs", help="The file names pairs: (uri_a, uri_b, same).")]
Unlabelled = Annotated[bool, _data("--unlabelled", help="Nothing is known of the pictures: two views of one are a pair.")]
Classes = Annotated[str | None, _data(metavar="A,B,...", help="Only these classes, by name or number (from 0).")]
Data = Annotated[
    Path | None,
    _data(metavar="FOLDER", help="Where fashion-mnist's files are, or what relative paths in a file start from."),
]
UriColumn = Annotated[str, _data(metavar="NAME", help="Column of a file that holds the URIs.")]
LabelColumn = Annotated[str, _data(metavar="NAME", help="Column of a file that holds the labels.")]
Validation = Annotated[
    float | None,
    _data(
        min=0.0,
        max=0.9,
        metavar="SHARE",
        help="Part of each class that is held back and measured on.",
        show_default="0.2; 0 of fashion-mnist, which has test pictures",
    ),
]
Limit = Annotated[int, _data(min=0, metavar="N", help="Use N pictures, drawn at random; 0: all.")]

ChosenLoss = Annotated[
    LossName | None,
    _recipe(
        metavar="NAME",
        help=f"What is made small: {', '.join(get_args(LossName))}.",
        show_default="combined; contrastive for pairs, nt-xent without labels",
    ),
]
Epochs = Annotated[int | None, _recipe(min=1, metavar="N", help="Passes over the pictures.", show_default="by their number")]
BatchSize = Annotated[
    int | None, _recipe(min=4, metavar="N", help="Pictures in a step.", show_default="32 to 512, by their number")
]
ChosenOptimiser = Annotated[
    OptimiserName | None,
    _recipe(
        metavar="NAME",
        help="What moves the weights: muon, adamw.",
        show_default="muon; adamw for the head of a pretrained backbone",
    ),
]
LearningRate = Annotated[float | None, _recipe(min=0.0, metavar="RATE", help="At its highest.", show_default="the recipe's")]
ChosenSchedule = Annotated[
    ScheduleName | None,
    _recipe(
        metavar="NAME", help=f"Of the learning rate: {', '.join(get_args(ScheduleName))}.", show_default="warm-up-hold-decay"
    ),
]
ChosenMining = Annotated[
    MiningName | None,
    _recipe(
        metavar="NAME",
        help="Of the pairs of contrastive and triplet: curriculum (easy ones first, then ever more of the hardest), random.",
        show_default="curriculum",
    ),
]
ChosenPrecision = Annotated[
    PrecisionName | None,
    _recipe(
        metavar="NAME",
        help=f"Of the arithmetic: {', '.join(get_args(PrecisionName))}.",
        show_default="float32; mixed_bfloat16 for fashion-mnist",
    ),
]
Backbone = Annotated[
    str | None,
    _recipe(
        metavar="NAME",
        help="conv, which is trained whole; or one that is pretrained and stays as it is, so that only a head is trained: "
        "efficientnet_lite0, keras.applications.NAME.",
        show_default="conv; efficientnet_lite0 for colour pictures of 64 pixels or more",
    ),
]
BackboneWeights = Annotated[
    str | None, _recipe(metavar="FILE", help="Weights of a pretrained backbone.", show_default="those of ImageNet")
]
Widths = Annotated[
    str | None,
    _recipe(
        metavar="A,B,...",
        help="Filters of the stages of conv; each halves the picture.",
        show_default="64,256,256; 32,64,256,256 above 32 pixels",
    ),
]
InputSize = Annotated[
    int | None,
    _recipe(
        min=16,
        max=512,
        metavar="PIXELS",
        help="Side of the tower's input.",
        show_default="by the pictures, or the backbone's own",
    ),
]
Channels = Annotated[int | None, _recipe(min=1, max=3, metavar="1|3", help="Grey or colour.", show_default="by the pictures")]
EmbeddingDim = Annotated[
    int | None, _recipe(min=2, max=4096, metavar="N", help="Numbers that stand for a picture.", show_default="256")
]
Mirror = Annotated[
    bool | None,
    _recipe(
        "--mirror/--no-mirror",
        help="Whether a mirror image shows the same thing (not so of letters).",
        show_default="mirror",
    ),
]
Seed = Annotated[int, _recipe(min=0, metavar="N", help="Seed of every random draw.")]
