"""`lookalike train`: trains a Siamese tower on the user's own pictures."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.commands import train_options as options
from embedder.commands.keras_import import import_keras
from lookalike.cli.terminal import console, count_text, note
from lookalike.errors import InvalidArgument
from lookalike.names import check_name

if TYPE_CHECKING:
    from embedder.training.gather import Gathered, Request
    from embedder.training.plan import Plan, Wishes
    from embedder.training.session import Outcome

_FASHION = "fashion-mnist"
_SHOWN_SKIPS = 5


def train_command(
    dataset: options.Dataset,
    *,
    pairs: options.AsPairs = False,
    unlabelled: options.Unlabelled = False,
    classes: options.Classes = None,
    data: options.Data = None,
    uri_column: options.UriColumn = "uri",
    label_column: options.LabelColumn = "label",
    validation: options.Validation = None,
    limit: options.Limit = 0,
    loss: options.ChosenLoss = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    optimiser: options.ChosenOptimiser = None,
    learning_rate: options.LearningRate = None,
    schedule: options.ChosenSchedule = None,
    mining: options.ChosenMining = None,
    precision: options.ChosenPrecision = None,
    backbone: options.Backbone = None,
    backbone_weights: options.BackboneWeights = None,
    widths: options.Widths = None,
    input_size: options.InputSize = None,
    channels: options.Channels = None,
    embedding_dim: options.EmbeddingDim = None,
    mirror: options.Mirror = None,
    seed: options.Seed = 1,
    out: options.Out,
    name: options.Name = None,
    half_precision: options.HalfPrecision = False,
    tensorboard: options.TensorBoard = None,
) -> None:
    """Train a Siamese tower and write it as a bundle, with what it was trained and measured on.

    The same command continues a killed run. Pictures that cannot be used are skipped and listed. With KERAS_BACKEND=jax or
    torch another Keras backend trains. `lookalike evaluate` measures the result, and `lookalike models promote` puts it into
    service.
    """
    _check(pairs=pairs, unlabelled=unlabelled, validation=validation, channels=channels)
    name = check_name("--name", name) if name is not None else _name_of(dataset)
    numbers = _numbers(widths)
    import_keras()
    from embedder.training.gather import Request
    from embedder.training.plan import Wishes

    request = Request(
        dataset, "pairs" if pairs else "views" if unlabelled else "labels", data, uri_column, label_column,
        tuple(part.strip() for part in classes.split(",")) if classes else (), limit, validation, seed,
    )  # fmt: skip
    wishes = Wishes(
        loss=loss, epochs=epochs, batch_size=batch_size, optimiser=optimiser, learning_rate=learning_rate, schedule=schedule,
        precision=precision, mining=mining, seed=seed, input_size=input_size, channels=channels, embedding_dim=embedding_dim,
        widths=numbers, backbone=backbone, backbone_weights=backbone_weights, mirror=mirror,
    )  # fmt: skip
    _train(request, wishes, name, out, half_precision=half_precision, tensorboard=tensorboard)


def _check(*, pairs: bool, unlabelled: bool, validation: float | None, channels: int | None) -> None:
    """Refuse options that do not go together, before any slow work."""
    if pairs and unlabelled:
        raise InvalidArgument("--unlabelled", "does not go with --pairs")
    if validation is not None and (pairs or unlabelled):
        raise InvalidArgument("--validation", "needs labels: pairs and unlabelled pictures give no figures")
    if channels == 2:
        raise InvalidArgument("--channels", "must be 1 (grey) or 3 (colour)")


def _train(request: Request, wishes: Wishes, name: str, out: Path, *, half_precision: bool, tensorboard: Path | None) -> None:
    from embedder.commands.train_display import TrainingDisplay
    from embedder.training.gather import gather, look_at
    from embedder.training.plan import make_plan
    from embedder.training.session import Session

    gathered = gather(request)
    listing = gathered.training
    fashion = request.dataset == _FASHION
    plan = make_plan(wishes, request.kind, fashion=fashion, look=look_at(listing), pictures=len(listing))
    _show_plan(gathered, plan)
    command = _command(request, wishes, name) + (" --half-precision" if half_precision else "")
    with TrainingDisplay(len(listing)) as watcher:
        outcome = Session(plan, gathered, name, out, command, watcher, tensorboard, half_precision).run()
    _show_outcome(outcome, out, request.dataset)


def _name_of(dataset: str) -> str:
    """The default name of the model, from that of the dataset."""
    if dataset == _FASHION:
        return "fashion"
    words = re.findall(r"[a-z0-9]+", Path(dataset).stem.lower()) or ["model"]
    name = "_".join(words)[:40].strip("_")
    return name if name[0].isalpha() else f"model_{name}"


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidArgument("--widths", f"{text!r} is not like 64,256,256")
    return tuple(map(int, parts))


def _command(request: Request, wishes: Wishes, name: str) -> str:
    """The command line with all options that decide the result; the places of files do not."""
    words = ["lookalike", "train", request.dataset, "--name", name]
    words += {"pairs": ["--pairs"], "views": ["--unlabelled"], "labels": []}[request.kind]
    words += ["--classes", ",".join(request.classes)] if request.classes else []
    given = {
        "uri-column": request.uri_column if request.uri_column != "uri" else None,
        "label-column": request.label_column if request.label_column != "label" else None,
        "validation": request.held_share,
        "limit": request.limit or None,
        **{key.replace("_", "-"): value for key, value in asdict(wishes).items() if key not in ("mirror", "seed")},
        "seed": wishes.seed,
    }
    for option, value in given.items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [f"--{option}", shown] if value is not None else []
    words += {True: ["--mirror"], False: ["--no-mirror"], None: []}[wishes.mirror]
    return shlex.join(words)


def _show_plan(gathered: Gathered, plan: Plan) -> None:
    listing, tower, training = gathered.training, plan.recipe.tower, plan.recipe.training
    of = f" of {count_text(len(listing.classes), 'class', 'classes')}" if listing.classes else ""
    held = f", {len(gathered.held):,} more held back" if gathered.held is not None else ""
    paired = f", {count_text(len(gathered.pairs), 'pair')}" if gathered.pairs is not None else ""
    note(f"{listing.name}: {count_text(len(listing), 'picture')}{of}{paired}{held}, {len(gathered.skipped):,} skipped")
    colour = "grey" if tower.channels == 1 else "RGB"
    how = "frozen, its head trained" if plan.pretrained else "trained whole"
    length = f", {count_text(training.epochs, 'epoch')} in batches of {training.batch_size}"
    length = "" if tower.head == "pooled" else length
    note(f"{tower.backbone} at {tower.input_size}x{tower.input_size} {colour}, {how}; loss {training.loss}{length}")


def _show_outcome(outcome: Outcome, out: Path, dataset: str) -> None:
    bundle, shown = outcome.bundle, console()

    def say(line: str) -> None:
        shown.print(line, markup=False, soft_wrap=True)

    spent = bundle.provenance["training_seconds"]
    say(f"{bundle.name}@{bundle.fingerprint}: {bundle.tower.embedding_dim} numbers a picture, trained in {spent:,} s")
    if bundle.metrics and bundle.measured_on is not None:
        names = (("p_at_1", "P@1"), ("p_at_5", "P@5"), ("map_at_r", "mAP@R"), ("knn5_accuracy", "5-NN"))
        figures = "  ".join(f"{title} {bundle.metrics[key]:.3f}" for key, title in names if key in bundle.metrics)
        say(f"measured on {bundle.measured_on.name} ({bundle.measured_on.images:,} pictures): {figures}")
    else:
        say("not measured: no pictures with labels were held back")
    if outcome.skipped:
        say(f"skipped: {count_text(len(outcome.skipped), 'entry', 'entries')}, all in {out / 'skipped.csv'}")
        # Those of one kind differ in their names only; one of each says most.
        kinds = Counter(re.sub(r"(file|\w+)://\S+|'[^']*'", "...", skip.reason) for skip in outcome.skipped)
        for kind, count in kinds.most_common(_SHOWN_SKIPS):
            say(f"  {count:>5,}  {kind}")
    say(f"wrote {out}")
    folder, asked = shlex.quote(str(out)), shlex.quote(str(out / outcome.held) if outcome.held else dataset)
    if bundle.metrics:
        say(f"  look closer:       lookalike evaluate {folder} {asked}")
    say(f"  put into service:  lookalike models promote {folder}")
