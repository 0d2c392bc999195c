"""The options that say which spaces a new collection has, and how spaces are shown. `collections`, `ingest` and `search` take
them.

    --space photo=model:photo --space tones=histogram:bins=16,grid=4,color

`--model`, `--bins`, `--grid` and `--color` are short for the two default spaces with a model or settings of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.errors import InvalidArgument

if TYPE_CHECKING:
    from lookalike.client import CollectionDefaults, HistogramSettings, Space, SpaceSpec

Spaces = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        metavar="NAME=KIND",
        help="A space of the collection, such as photo=model:photo or tones=histogram:bins=16,grid=4,color (repeatable).",
        show_default="histogram=histogram and siamese=model",
    ),
]
Model = Annotated[
    str,
    typer.Option(help="Model for the siamese space.", show_default="photo, unless the embedder is configured otherwise"),
]
Bins = Annotated[int, typer.Option(help="Histogram bins per channel and cell: 8, 16, 32, 64, 128 or 256.")]
Grid = Annotated[int, typer.Option(help="Cut the picture into N x N cells, each with its own histogram; 1 to 8.")]
Color = Annotated[bool, typer.Option("--color", help="Count red, green and blue separately instead of grey.")]
_KINDS = "model, model:NAME, histogram or histogram:bins=16,grid=4,color"


@dataclass(frozen=True, slots=True)
class Given:
    """The options as they were given."""

    spaces: Sequence[str]
    model: str
    bins: int
    grid: int
    color: bool

    @property
    def specs(self) -> list[SpaceSpec]:
        """The spaces that they stand for; none where no option was given. Raises `InvalidArgument`."""
        from lookalike.client import HistogramSettings, ModelSettings
        from lookalike.spaces import HISTOGRAM, SIAMESE, SpaceSpec

        settings = HistogramSettings(bins=self.bins, grid=self.grid, color=self.color)
        short = bool(self.model) or settings != HistogramSettings()
        if self.spaces and short:
            raise InvalidArgument("--space", "stands beside --model, --bins, --grid or --color, which are short for two spaces")
        if short:
            return [SpaceSpec(HISTOGRAM, settings), SpaceSpec(SIAMESE, ModelSettings(self.model))]
        return [spec_of(text) for text in self.spaces]


def spec_of(text: str) -> SpaceSpec:
    """The space that `NAME=KIND` stands for. Raises `InvalidArgument`."""
    from lookalike.client import ModelSettings, SpaceSpec

    name, _, kind = text.partition("=")
    word, _, settings = kind.partition(":")
    if word not in ("model", "histogram"):
        raise InvalidArgument("--space", f"{text!r} names no kind of space; give NAME={_KINDS}")
    try:
        return SpaceSpec(name, ModelSettings(settings) if word == "model" else _histogram_of(settings))
    except InvalidArgument as error:
        raise InvalidArgument("--space", f"{text!r}: {error.field} {error.problem}") from None


def _histogram_of(text: str) -> HistogramSettings:
    """`bins=16,grid=4,color`"""
    from lookalike.client import HistogramSettings

    numbers: dict[str, int] = {}
    color = False
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if part == "color":
            color = True
        elif name in ("bins", "grid") and value.isascii() and value.isdigit():
            numbers[name] = int(value)
        else:
            raise InvalidArgument("histogram", f"has no setting {part!r}; there are bins=NUMBER, grid=NUMBER and color")
    return HistogramSettings(**numbers, color=color)


def weights_of(given: Sequence[str]) -> dict[str, float]:
    """The weights that `SPACE=NUMBER` say. Raises `InvalidArgument`."""
    weights = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name:
            raise InvalidArgument("--weight", f"{text!r} names no space; use SPACE=NUMBER, such as histogram=0.5")
        try:
            weights[name] = float(value)
        except ValueError as error:
            raise InvalidArgument("--weight", f"{text!r} does not end in a number") from error
    return weights


def differs(wanted: Sequence[SpaceSpec], there: Sequence[Space]) -> bool:
    """Whether a collection has other spaces than `wanted`; a spec without the name of a model takes any."""
    from lookalike.client import ModelSettings

    if [spec.name for spec in wanted] != [space.name for space in there]:
        return True
    open_kind = ModelSettings()
    return any(
        type(spec.kind) is not type(space.kind) or spec.kind not in (space.kind, open_kind)
        for spec, space in zip(wanted, there, strict=True)
    )


def defaults_text(defaults: CollectionDefaults) -> str:
    """`spaces histogram and siamese; weights siamese 2; ef 128`; "" where a collection has none."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in defaults.weights.items())
    parts = [
        f"spaces {' and '.join(defaults.spaces)}" if defaults.spaces else "",
        f"weights {weights}" if weights else "",
        f"ef {defaults.ef:,}" if defaults.ef else "",
    ]
    return "; ".join(filter(None, parts))


def kind_text(space: Space) -> str:
    """`model photo`, or `16 RGB bins, 4 x 4 cells`."""
    from lookalike.client import ModelSettings
    from lookalike.spaces import UnknownKind

    if isinstance(space.kind, UnknownKind):
        return "unknown"
    return f"model {space.kind.name}" if isinstance(space.kind, ModelSettings) else histogram_text(space.kind)


def histogram_text(settings: HistogramSettings) -> str:
    """`256 grey bins`, `16 RGB bins, 4 x 4 cells`."""
    text = f"{settings.bins} {'RGB' if settings.color else 'grey'} bins"
    return text if settings.grid == 1 else f"{text}, {settings.grid} x {settings.grid} cells"


def spaces_text(spaces: Iterable[Space]) -> str:
    """`histogram (256 grey bins), siamese (model photo)`."""
    return ", ".join(f"{space.name} ({kind_text(space)})" for space in spaces)
