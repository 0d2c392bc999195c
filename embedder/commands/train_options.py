"""The options of `lookalike train`, with their names, meanings and ranges. Standard library and typer only."""

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
Out = Annotated[Path, _run(metavar="FOLDER", help="Folder for the bundle, and for a checkpoint after every epoch.")]
Name = Annotated[str | None, _run(help="The model's name.", show_default="fashion, or the dataset's")]
TensorBoard = Annotated[Path | None, _run(metavar="FOLDER", help="Log loss, learning rate and validation P@1 for TensorBoard.")]
HalfPrecision = Annotated[
    bool, _run("--half-precision", help="Store the weights as float16, in half the size. The stored weights are measured.")
]

AsPairs = Annotated[bool, _data("--pairs", help="The file lists pairs: (uri_a, uri_b, same).")]
Unlabelled = Annotated[bool, _data("--unlabelled", help="The pictures have no labels: two views of a picture are a pair.")]
Classes = Annotated[str | None, _data(metavar="A,B,...", help="Only these classes, by name or number (from 0).")]
Data = Annotated[
    Path | None,
    _data(metavar="FOLDER", help="Folder of fashion-mnist's files, or the folder that relative paths in a file start from."),
]
UriColumn = Annotated[str, _data(metavar="NAME", help="Column of a file that holds the URIs.")]
LabelColumn = Annotated[str, _data(metavar="NAME", help="Column of a file that holds the labels.")]
Validation = Annotated[
    float | None,
    _data(
        min=0.0,
        max=0.9,
        metavar="SHARE",
        help="Share of each class that is held back for validation.",
        show_default="0.2; 0 of fashion-mnist, which has test pictures",
    ),
]
Limit = Annotated[int, _data(min=0, metavar="N", help="Use N pictures, drawn at random; 0: all.")]

ChosenLoss = Annotated[
    LossName | None,
    _recipe(
        metavar="NAME",
        help=f"Loss to minimise: {', '.join(get_args(LossName))}.",
        show_default="combined; contrastive for pairs, nt-xent without labels",
    ),
]
Epochs = Annotated[
    int | None, _recipe(min=1, metavar="N", help="Number of passes over the pictures.", show_default="by their number")
]
BatchSize = Annotated[
    int | None, _recipe(min=4, metavar="N", help="Number of pictures in a step.", show_default="32 to 512, by their number")
]
ChosenOptimiser = Annotated[
    OptimiserName | None,
    _recipe(
        metavar="NAME",
        help="Optimiser of the weights: muon, adamw.",
        show_default="muon; adamw for the head of a pretrained backbone",
    ),
]
LearningRate = Annotated[
    float | None, _recipe(min=0.0, metavar="RATE", help="Highest learning rate.", show_default="the recipe's")
]
ChosenSchedule = Annotated[
    ScheduleName | None,
    _recipe(
        metavar="NAME",
        help=f"Schedule of the learning rate: {', '.join(get_args(ScheduleName))}.",
        show_default="warm-up-hold-decay",
    ),
]
ChosenMining = Annotated[
    MiningName | None,
    _recipe(
        metavar="NAME",
        help="Pairs of contrastive and triplet: curriculum (easy ones first, then ever more of the hardest), random.",
        show_default="curriculum",
    ),
]
ChosenPrecision = Annotated[
    PrecisionName | None,
    _recipe(
        metavar="NAME",
        help=f"Precision of the arithmetic: {', '.join(get_args(PrecisionName))}.",
        show_default="float32; mixed_bfloat16 for fashion-mnist",
    ),
]
Backbone = Annotated[
    str | None,
    _recipe(
        metavar="NAME",
        help="conv, which is trained as a whole, or a pretrained backbone that stays fixed, on which a head is trained: "
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
EmbeddingDim = Annotated[int | None, _recipe(min=2, max=4096, metavar="N", help="Length of the embedding.", show_default="256")]
Mirror = Annotated[
    bool | None,
    _recipe(
        "--mirror/--no-mirror",
        help="Count a mirror image as the same picture (not for letters).",
        show_default="mirror",
    ),
]
Seed = Annotated[int, _recipe(min=0, metavar="N", help="Seed of every random draw.")]
