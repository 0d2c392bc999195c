"""The options of `lookalike train`: what each is called, means and allows. Standard library and typer only."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class LossName(StrEnum):
    """What `embedder.training.losses.LOSSES` knows; spelled out here, so that --help costs no TensorFlow."""

    COMBINED = "combined"
    NORMALISED_SOFTMAX = "normalised-softmax"
    SUPERVISED_CONTRASTIVE = "supervised-contrastive"
    TRIPLET = "triplet"
    CONTRASTIVE = "contrastive"
    NT_XENT = "nt-xent"


class ScheduleName(StrEnum):
    WARM_UP_HOLD_DECAY = "warm-up-hold-decay"
    COSINE = "cosine"


class OptimiserName(StrEnum):
    MUON = "muon"
    ADAMW = "adamw"


class PrecisionName(StrEnum):
    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    MIXED_FLOAT16 = "mixed_float16"


class MiningName(StrEnum):
    CURRICULUM = "curriculum"
    RANDOM = "random"


_DATA, _RECIPE, _RUN = "What to train on", "How to train", "What comes out"

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="fashion-mnist, a folder with a sub-folder per class, or a .csv or .parquet file of (uri, label).",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Receives the bundle, and a checkpoint after every epoch.", rich_help_panel=_RUN)
]
Name = Annotated[
    str | None, typer.Option(help="The model's name.", show_default="fashion, or the dataset's", rich_help_panel=_RUN)
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Log loss, learning rate and validation P@1 for TensorBoard.", rich_help_panel=_RUN),
]
AsPairs = Annotated[bool, typer.Option("--pairs", help="The file names pairs: (uri_a, uri_b, same).", rich_help_panel=_DATA)]
Unlabelled = Annotated[
    bool,
    typer.Option("--unlabelled", help="Nothing is known of the pictures: two views of one are a pair.", rich_help_panel=_DATA),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Only these classes, by name or number (from 0).", rich_help_panel=_DATA),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where fashion-mnist's files are, or what relative paths in a file start from.",
        rich_help_panel=_DATA,
    ),
]
UriColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of a file that holds the URIs.", rich_help_panel=_DATA)]
LabelColumn = Annotated[
    str, typer.Option(metavar="NAME", help="Column of a file that holds the labels.", rich_help_panel=_DATA)
]
Validation = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.9,
        metavar="SHARE",
        help="Part of each class that is held back and measured on.",
        show_default="0.2; 0 of fashion-mnist, which has test pictures",
        rich_help_panel=_DATA,
    ),
]
Limit = Annotated[int, typer.Option(min=0, metavar="N", help="Use N pictures, drawn at random; 0: all.", rich_help_panel=_DATA)]
ChosenLoss = Annotated[
    LossName | None,
    typer.Option(
        metavar="NAME",
        help=f"What is made small: {', '.join(LossName)}.",
        show_default="combined; contrastive for pairs, nt-xent without labels",
        rich_help_panel=_RECIPE,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Passes over the pictures.", show_default="by their number", rich_help_panel=_RECIPE),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=4, metavar="N", help="Pictures in a step.", show_default="32 to 512, by their number", rich_help_panel=_RECIPE
    ),
]
ChosenOptimiser = Annotated[
    OptimiserName | None,
    typer.Option(
        metavar="NAME",
        help="What moves the weights: muon, adamw.",
        show_default="muon; adamw for the head of a pretrained backbone",
        rich_help_panel=_RECIPE,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(min=0.0, metavar="RATE", help="At its highest.", show_default="the recipe's", rich_help_panel=_RECIPE),
]
ChosenSchedule = Annotated[
    ScheduleName | None,
    typer.Option(
        metavar="NAME",
        help=f"Of the learning rate: {', '.join(ScheduleName)}.",
        show_default="warm-up-hold-decay",
        rich_help_panel=_RECIPE,
    ),
]
ChosenMining = Annotated[
    MiningName | None,
    typer.Option(
        metavar="NAME",
        help="Of the pairs of contrastive and triplet: curriculum (easy ones first, then ever more of the hardest), random.",
        show_default="curriculum",
        rich_help_panel=_RECIPE,
    ),
]
ChosenPrecision = Annotated[
    PrecisionName | None,
    typer.Option(
        metavar="NAME",
        help=f"Of the arithmetic: {', '.join(PrecisionName)}.",
        show_default="float32; mixed_bfloat16 for fashion-mnist",
        rich_help_panel=_RECIPE,
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="conv, which is trained whole; or one that is pretrained and stays as it is, so that only a head is trained: "
        "efficientnet_lite0, keras.applications.NAME.",
        show_default="conv; efficientnet_lite0 for colour pictures of 64 pixels or more",
        rich_help_panel=_RECIPE,
    ),
]
BackboneWeights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Weights of a pretrained backbone.", show_default="those of ImageNet", rich_help_panel=_RECIPE
    ),
]
Widths = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Filters of the stages of conv; each halves the picture.",
        show_default="64,256,256; 32,64,256,256 above 32 pixels",
        rich_help_panel=_RECIPE,
    ),
]
InputSize = Annotated[
    int | None,
    typer.Option(
        min=16,
        max=512,
        metavar="PIXELS",
        help="Side of the tower's input.",
        show_default="by the pictures, or the backbone's own",
        rich_help_panel=_RECIPE,
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(min=1, max=3, metavar="1|3", help="Grey or colour.", show_default="by the pictures", rich_help_panel=_RECIPE),
]
EmbeddingDim = Annotated[
    int | None,
    typer.Option(
        min=2, max=4096, metavar="N", help="Numbers that stand for a picture.", show_default="256", rich_help_panel=_RECIPE
    ),
]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror",
        help="Whether a mirror image shows the same thing (not so of letters).",
        show_default="mirror",
        rich_help_panel=_RECIPE,
    ),
]
HalfPrecision = Annotated[
    bool,
    typer.Option(
        "--half-precision",
        help="Keep the weights as float16: half the size. They are measured as kept.",
        rich_help_panel=_RUN,
    ),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of every random draw.", rich_help_panel=_RECIPE)]
