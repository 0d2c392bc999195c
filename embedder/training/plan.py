"""Which recipe suits the data: what `lookalike train` does by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from embedder.models.backbones import find_backbone, usual_input
from embedder.models.bundle import InputSpec, TowerConfig
from embedder.training.gather import Kind, Look
from embedder.training.losses import LOSSES, find_loss
from embedder.training.recipes import FASHION, Recipe
from embedder.training.train import TrainingConfig
from lookalike.errors import InvalidArgument

PHOTO_SIDE = 64
"""Coloured pictures of at least this side are photographs to us: a pretrained backbone sees more in them than can be learnt."""
PHOTO_BACKBONE = "efficientnet_lite0"
SMALL_SIDES = (28, 32, 48, 64)
"""Inputs of the backbone `conv`: the least that holds the pictures, or the last."""
WIDTHS = ((32, (64, 256, 256)), (512, (32, 64, 256, 256)))
"""Filters of its stages by input size, at most: a stage more for larger inputs, so that the last map is as small."""
STEPS = 2000
"""How long a run of default length is, unless its pictures are many: what 28x28 pictures of ten classes needed."""
EPOCHS = (10, 100)
NEAR_DUPLICATE_DIM = 384
"""As of the shipped `photo`."""
LOSS_OF = {"labels": "combined", "pairs": "contrastive", "views": "nt-xent"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants other than usual; None: what is usual."""

    loss: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimiser: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    precision: str | None = None
    mining: str | None = None
    seed: int = 1
    input_size: int | None = None
    channels: int | None = None
    embedding_dim: int | None = None
    widths: tuple[int, ...] | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    mirror: bool | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`pretrained` is where the weights of a frozen backbone come from ("": the whole tower is trained from the start).
    `measure_input` says that mean and standard deviation of `recipe.input` are yet to be taken from the training pictures."""

    recipe: Recipe
    pretrained: str = ""
    measure_input: bool = False


def make_plan(wishes: Wishes, kind: Kind, *, fashion: bool, look: Look, pictures: int) -> Plan:
    """The plan for `pictures` that are like `look`, `fashion` for Fashion-MNIST. Raises `InvalidArgument` for what does not go
    together."""
    loss = find_loss(wishes.loss or LOSS_OF[kind])
    _check_loss(loss.name, kind)
    backbone = wishes.backbone or _usual_backbone(wishes, look)
    find_backbone(backbone)
    widths = wishes.widths
    if widths is not None and (backbone != "conv" or len(widths) < 2 or not all(0 < width <= 4096 for width in widths)):
        raise InvalidArgument("widths", "are two or more numbers from 1 to 4,096, for the backbone conv")
    if fashion and backbone == "conv" and wishes.input_size in (None, 28) and wishes.channels in (None, 1):
        plan = Plan(FASHION if widths is None else replace(FASHION, tower=replace(FASHION.tower, widths=widths)))
    elif backbone == "conv":
        plan = _small(wishes, look, pictures)
    else:
        plan = _frozen(wishes, kind, backbone, pictures)
    return replace(plan, recipe=_with_wishes(plan.recipe, wishes, loss.name, kind, plan.pretrained))


def _usual_backbone(wishes: Wishes, look: Look) -> str:
    photographs = look.colour and look.side >= PHOTO_SIDE and wishes.channels != 1 and wishes.input_size is None
    return PHOTO_BACKBONE if photographs else "conv"


def _small(wishes: Wishes, look: Look, pictures: int) -> Plan:
    side = wishes.input_size or next((size for size in SMALL_SIDES if size >= look.side), SMALL_SIDES[-1])
    channels = wishes.channels or (3 if look.colour else 1)
    widths = wishes.widths or next(widths for most, widths in WIDTHS if side <= most)
    tower = replace(FASHION.tower, input_size=side, channels=channels, widths=widths)
    spec = InputSpec(mean=(0.5,) * channels, std=(0.25,) * channels, mirror=True)
    batch = wishes.batch_size or _batch_size(pictures)
    training = replace(FASHION.training, precision="float32", batch_size=batch, epochs=_epochs(pictures, batch))
    return Plan(replace(FASHION, tower=tower, input=spec, training=training), measure_input=True)


def _frozen(wishes: Wishes, kind: Kind, backbone: str, pictures: int) -> Plan:
    if wishes.channels == 1:
        raise InvalidArgument("channels", f"the backbone {backbone} sees colour: 3, not 1; `--backbone conv` sees grey")
    side, spec = usual_input(backbone)
    # The scales of photographs are kept whole for near-duplicates; what labels ask for needs no cells and maxima less.
    head = "pooled" if kind == "views" else "joined"
    dim = NEAR_DUPLICATE_DIM if kind == "views" else FASHION.tower.embedding_dim
    tower = TowerConfig(backbone, head, wishes.input_size or side, 3, (), dim)
    batch = wishes.batch_size or _batch_size(pictures)
    training = TrainingConfig(batch_size=batch, epochs=_epochs(pictures, batch), optimiser="adamw", learning_rate=1e-3)
    recipe = Recipe(tower, replace(spec, mirror=kind != "views"), training, FASHION.kept_dim, FASHION.kept_share)
    return Plan(recipe, pretrained=wishes.backbone_weights or "imagenet")


def _with_wishes(recipe: Recipe, wishes: Wishes, loss: str, kind: Kind, pretrained: str) -> Recipe:
    given: dict[str, Any] = {
        name: getattr(wishes, name)
        for name in ("epochs", "batch_size", "optimiser", "learning_rate", "schedule", "precision", "mining")
        if getattr(wishes, name) is not None
    }
    if recipe.tower.head == "pooled" and given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidArgument(
            next(iter(given)), f"a head for near-duplicates learns by a recipe of its own, in 300 steps; leave {named} out"
        )
    if pretrained and wishes.precision not in (None, "float32"):
        raise InvalidArgument("precision", "a frozen backbone is looked through once, in float32; leave --precision out")
    training = replace(recipe.training, **given, loss=loss, seed=wishes.seed)
    spec = recipe.input if wishes.mirror is None else replace(recipe.input, mirror=wishes.mirror)
    tower, kept = recipe.tower, recipe.kept_dim if kind == "labels" else 0
    if wishes.embedding_dim is not None:
        kept = wishes.embedding_dim // 2 if kept else 0
        tower = replace(tower, embedding_dim=wishes.embedding_dim - kept)
    elif not kept and tower.head == "joined":
        tower = replace(tower, embedding_dim=recipe.tower.embedding_dim + recipe.kept_dim)
    return replace(
        recipe, tower=tower, input=spec, training=training, kept_dim=kept, kept_share=recipe.kept_share if kept else 0.0
    )


def _check_loss(loss: str, kind: Kind) -> None:
    reads = LOSSES[loss].reads
    fits = {"labels": ("labels", "pairs"), "pairs": ("pairs",), "views": ("views",)}
    if reads not in fits[kind]:
        able = ", ".join(name for name, one in LOSSES.items() if one.reads in fits[kind])
        known = {"labels": "pictures with labels", "pairs": "pairs", "views": "pictures without labels"}[kind]
        raise InvalidArgument("loss", f"{loss} does not learn from {known}; these do: {able}")


def _batch_size(pictures: int) -> int:
    """A power of two from 32 to 512, such that an epoch has eight steps or more where it can."""
    return int(min(512, max(32, 1 << max(0, (pictures // 8).bit_length() - 1))))


def _epochs(pictures: int, batch_size: int) -> int:
    return min(EPOCHS[1], max(EPOCHS[0], -(-STEPS * batch_size // max(1, pictures))))
