"""`lookalike collections`: list, create, show, delete; export and import are in `backup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import backup
from lookalike.cli.connection import connect
from lookalike.cli.terminal import confirm, console, count_text, emit_json, help_of, note, table, time_text

if TYPE_CHECKING:
    from lookalike.client import Collection, HistogramSettings

app = typer.Typer(help="Make, show, export and remove collections.", no_args_is_help=True)
app.command("export", help=help_of(backup.export))(backup.export)
app.command("import", help=help_of(backup.import_))(backup.import_)

Name = Annotated[str, typer.Argument(help="Name of the collection: lower-case letters, digits, single underscores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Model = Annotated[
    str,
    typer.Option(help="Model for the siamese space.", show_default="the embedder's default: photo, unless it is set otherwise"),
]
Bins = Annotated[int, typer.Option(help="Histogram bins per channel and cell: 8, 16, 32, 64, 128 or 256.")]
Grid = Annotated[int, typer.Option(help="Cut the picture into GRID x GRID cells, each counted apart (1 to 8).")]
Color = Annotated[bool, typer.Option("--color", help="Count red, green and blue apart instead of grey.")]


@app.command("list")
def list_collections(context: typer.Context, as_json: AsJson = False) -> None:
    """List all collections by name."""
    with connect(context) as client:
        found = client.list_collections()
    if as_json:
        emit_json(found)
        return
    rows = table("name", "images", "model", "histogram", "made", "description", numbers=("images",))
    for one in found:
        rows.add_row(
            one.name, f"{one.image_count:,}", one.model, histogram_text(one.histogram), time_text(one.created_at),
            one.description,
        )  # fmt: skip
    if found:
        console().print(rows)
    else:
        note("no collections yet; `lookalike collections create NAME` makes one")


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    description: Annotated[str, typer.Option(help="A line for people.")] = "",
    model: Model = "",
    bins: Bins = 256,
    grid: Grid = 1,
    color: Color = False,
    as_json: AsJson = False,
) -> None:
    """Make an empty collection. Its model and its histogram settings are fixed from then on."""
    from lookalike.client import HistogramSettings

    settings = HistogramSettings(bins=bins, grid=grid, color=color)
    with connect(context) as client:
        made = client.create_collection(name, description=description, model=model, histogram=settings)
    _show(made, as_json=as_json)


@app.command("show")
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one collection: its model, its spaces and how many images it holds."""
    with connect(context) as client:
        found = client.get_collection(name)
    _show(found, as_json=as_json)


@app.command("delete")
def delete(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a collection with all its images. Jobs that still run for it are cancelled."""
    with connect(context) as client:
        found = client.get_collection(name)
        confirm(f"Remove collection {name} with {count_text(found.image_count, 'image')}?", yes=yes)
        client.delete_collection(name)
    note(f"removed collection {name}")


def histogram_text(settings: HistogramSettings) -> str:
    """`256 grey bins`, `16 RGB bins, 4 x 4 cells`."""
    text = f"{settings.bins} {'RGB' if settings.color else 'grey'} bins"
    return text if settings.grid == 1 else f"{text}, {settings.grid} x {settings.grid} cells"


def _show(found: Collection, *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    out = console()
    out.print(f"[bold]{found.name}[/bold]  {count_text(found.image_count, 'image')}", markup=True)
    if found.description:
        out.print(found.description, markup=False)
    out.print(f"model {found.model}, histogram of {histogram_text(found.histogram)}, made {time_text(found.created_at)}")
    rows = table("space", "dimension", "metric", "fingerprint", numbers=("dimension",))
    for space in found.spaces:
        rows.add_row(space.name, str(space.dimension), space.metric.value, space.fingerprint)
    out.print(rows)
