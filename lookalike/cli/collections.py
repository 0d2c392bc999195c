"""`lookalike collections`: list, create, show, re-embed, roll back, delete; export and import are in `backup`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import backup
from lookalike.cli.connection import connect
from lookalike.cli.fitting import put
from lookalike.cli.pages import Commands
from lookalike.cli.terminal import confirm, console, count_text, emit_json, help_of, note, table, time_text, visible
from lookalike.errors import NotFound

if TYPE_CHECKING:
    from rich.table import Table

    from lookalike.client import Client, Collection, HistogramSettings, Job, OtherGeneration, Space

app = Commands(help="Make, show, export and remove collections.", no_args_is_help=True)
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
            visible(one.description),
        )  # fmt: skip
    if found:
        put(console(), rows, listing=True)
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
    """Show one collection: its model, its spaces, how many images it holds, and how far a re-embedding is."""
    with connect(context) as client:
        found = client.get_collection(name)
        job = _job_of(client, found.other) if not as_json else None
    _show(found, as_json=as_json, job=job)


@app.command("reembed")
def reembed(
    context: typer.Context,
    name: Name,
    model: Annotated[str, typer.Option(help="Model to embed with, in its current version.", show_default="its own")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Switch although some pictures are gone; these images leave the collection.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Switch although fewer neighbours have the same label than before."),
    ] = False,
    grace: Annotated[
        float, typer.Option(help="Hours for which one can go back after the switch, 0.01 to 720.", min=0.01, max=720)
    ] = 24.0,
    request_id: Annotated[
        str, typer.Option(help="Your id for this request: the same one again gives the same job.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Embed a collection anew with another model, or the newest version of its own, while it goes on to be searched.

    Every picture is read again from where it came from. When all are done the collection is switched in one step, and
    `collections rollback` goes back for as long as --grace says. A job that is cancelled or fails changes nothing. Where images
    have a label, and the share of neighbours with the same one is lower by more than 2 points than before, the job is held
    before the switch: `jobs resume` switches nevertheless, `jobs cancel` drops what was made. With --watch exits with 0 if
    every image was embedded again (6 where one was not, 4 where the job is held).
    """
    from lookalike.cli.progress import exit_code_of, follow, tell

    with connect(context) as client:
        job_id = client.reembed_collection(
            name, model=model, allow_missing=allow_missing, force=force, grace_s=grace * 3600, request_id=request_id
        )
        job = follow(client, job_id) if watch else client.get_job(job_id)
        if as_json:
            emit_json(job)
        elif watch:
            tell(client, job)
        else:
            typer.echo(job_id)
            note(f"job {job_id} has begun; `lookalike jobs watch {job_id}` follows it")
    if watch:
        raise typer.Exit(exit_code_of(job))


@app.command("rollback")
def rollback(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Go back to what was searched before the last re-embedding. Nothing written since is missing from it."""
    with connect(context) as client:
        found = client.rollback_collection(name)
    _show(found, as_json=as_json)


@app.command("drop-previous")
def drop_previous(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop now what was searched before the last re-embedding, and would be dropped at the end of its grace."""
    with connect(context) as client:
        confirm(f"Drop what collection {name} was before its last re-embedding? There is no way back then.", yes=yes)
        found = client.drop_previous_generation(name)
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


def _job_of(client: Client, other: OtherGeneration | None) -> Job | None:
    """The job that fills a generation, if it is known still."""
    from lookalike.client import GenerationState

    if other is None or other.state is not GenerationState.FILLING:
        return None
    try:
        return client.get_job(other.job_id)
    except NotFound:
        return None


def _show(found: Collection, *, as_json: bool, job: Job | None = None) -> None:
    if as_json:
        emit_json(found)
        return
    out = console()
    out.print(f"[bold]{found.name}[/bold]  {count_text(found.image_count, 'image')}", markup=True)
    if found.description:
        out.print("\n".join(map(visible, found.description.splitlines())))
    out.print(f"model {found.model}, histogram of {histogram_text(found.histogram)}, made {time_text(found.created_at)}")
    if found.exact:
        out.print("searched exactly: every search compares with all images, and --ef changes nothing", soft_wrap=True)
    put(out, _spaces_table(found.spaces))
    if found.other is not None:
        out.print(_other_text(found.other, job), markup=False, soft_wrap=True)
        put(out, _spaces_table(found.other.spaces))


def _spaces_table(spaces: Sequence[Space]) -> Table:
    rows = table("space", "dimension", "metric", "fingerprint", numbers=("dimension",))
    for space in spaces:
        rows.add_row(space.name, str(space.dimension), space.metric.value, space.fingerprint)
    return rows


def _other_text(other: OtherGeneration, job: Job | None) -> str:
    """What the other generation is there for, and how far it is or how long it stays."""
    if other.drop_at is not None:
        return f"before: generation {other.generation}, model {other.model}, kept until {time_text(other.drop_at)}"
    text = f"being re-embedded: generation {other.generation}, model {other.model}, job {other.job_id}"
    if job is None:
        return text
    return f"{text} ({job.standing}, {job.counts.done + job.worked:,} of {count_text(job.counts.submitted, 'image')})"
