"""`lookalike collections`: list, create, show, update, reembed, rollback, drop-previous, delete; `backup` has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import backup
from lookalike.cli.connection import AsJson, RequestId, Yes, connect
from lookalike.cli.fitting import put
from lookalike.cli.pages import Commands
from lookalike.cli.space_options import (
    Bins,
    Color,
    Given,
    Grid,
    Model,
    Spaces,
    defaults_text,
    kind_text,
    spaces_text,
    weights_of,
)
from lookalike.cli.terminal import confirm, console, count_text, emit_json, help_of, note, table, time_text, visible
from lookalike.errors import NotFound

if TYPE_CHECKING:
    from rich.table import Table

    from lookalike.client import Client, Collection, Job, OtherGeneration, Space

app = Commands(help="List, create, show, update, re-embed, export, import and delete collections.", no_args_is_help=True)
app.command("export", help=help_of(backup.export))(backup.export)
app.command("import", help=help_of(backup.import_))(backup.import_)

Name = Annotated[str, typer.Argument(help="Name of the collection: lower-case letters, digits, single underscores.")]


@app.command("list")
def list_collections(context: typer.Context, as_json: AsJson = False) -> None:
    """List all collections by name."""
    with connect(context) as client:
        found = client.list_collections()
    if as_json:
        emit_json(found)
        return
    rows = table("name", "images", "spaces", "created", "description", numbers=("images",))
    for one in found:
        rows.add_row(
            one.name, f"{one.image_count:,}", spaces_text(one.spaces), time_text(one.create_time), visible(one.description),
        )  # fmt: skip
    if found:
        put(console(), rows, listing=True)
    else:
        note("no collections yet; `lookalike collections create NAME` creates one")


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    description: Annotated[str, typer.Option(help="Description for people.")] = "",
    space: Spaces = None,
    model: Model = "",
    bins: Bins = 256,
    grid: Grid = 1,
    color: Color = False,
    as_json: AsJson = False,
) -> None:
    """Create an empty collection. Its spaces cannot be changed later, but for the versions of their models.

    Without --space it has two: a histogram, and siamese, which a model fills.
    """
    specs = Given(space or (), model, bins, grid, color).specs
    with connect(context) as client:
        made = client.create_collection(name, description=description, spaces=specs)
    _show(made, as_json=as_json)


@app.command("show")
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a collection: its spaces, the number of its images, and the progress of a re-embedding."""
    with connect(context) as client:
        found = client.get_collection(name)
        job = _job_of(client, found.other) if not as_json else None
    _show(found, as_json=as_json, job=job)


@app.command("update")
def update(
    context: typer.Context,
    name: Name,
    description: Annotated[str | None, typer.Option(help='Description for people; "" removes it.', show_default=False)] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", "-s", metavar="SPACE", help='Space of searches that name none (repeatable); "" removes them.'),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="SPACE=NUMBER", help='Weight of a space where several are fused (repeatable); "" removes them.'),
    ] = None,
    ef: Annotated[
        int | None, typer.Option(help="Breadth of searches that name none; 0 leaves it to them.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the description of a collection, or what its searches do where they say nothing else.

    What is not given stays as it is. `lookalike tune` finds a breadth, and keeps it here.
    """
    with connect(context) as client:
        found = client.update_collection(
            name,
            description=description,
            spaces=None if space is None else [one for one in space if one],
            weights=None if weight is None else weights_of([one for one in weight if one]),
            ef=ef,
        )
    _show(found, as_json=as_json)


@app.command("reembed")
def reembed(
    context: typer.Context,
    name: Name,
    space: Annotated[
        str, typer.Option(help="Space to make anew; the others keep their vectors.", show_default="all that are not the newest")
    ] = "",
    model: Annotated[
        str, typer.Option(help="Model to embed with, in its current version.", show_default="the space's own")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Switch even if some pictures are gone; their images leave the collection.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Switch even if fewer neighbours have the same label than before."),
    ] = False,
    grace: Annotated[
        float, typer.Option(help="Hours after the switch in which it can be rolled back.", min=0.01, max=720)
    ] = 24.0,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Embed a collection again, with another model or the newest versions of its own, while searches and writes go on.

    Every picture is read again from its source. When all are embedded, the collection is switched in one step; `collections
    rollback` switches back within --grace hours. A job that fails or is cancelled changes nothing.

    Before the switch the answers of both models are compared. If images have a label, and the share of neighbours with the same
    label is more than 2 points lower than before, the job is held: `jobs resume` switches nevertheless, `jobs cancel` drops the
    new vectors.

    With --watch exits with 0 if every image was embedded again, with 6 if some were not, and with 4 if the job is held.
    """
    from lookalike.cli.progress import exit_code_of, follow, print_job

    with connect(context) as client:
        job_id = client.reembed_collection(
            name,
            space=space,
            model=model,
            allow_missing=allow_missing,
            force=force,
            grace=timedelta(hours=grace),
            request_id=request_id,
        )
        job = follow(client, job_id) if watch else client.get_job(job_id)
        if as_json:
            emit_json(job)
        elif watch:
            print_job(client, job)
        else:
            typer.echo(job_id)
            note(f"job {job_id} has started; `lookalike jobs watch {job_id}` follows it")
    if watch:
        raise typer.Exit(exit_code_of(job))


@app.command("rollback")
def rollback(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Go back to the vectors from before the last re-embedding. Images written since are among them."""
    with connect(context) as client:
        found = client.rollback_collection(name)
    _show(found, as_json=as_json)


@app.command("drop-previous")
def drop_previous(context: typer.Context, name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Drop the vectors from before the last re-embedding now, not at the end of its grace. Rollback is impossible then."""
    with connect(context) as client:
        confirm(f"Drop the vectors of {name} from before its last re-embedding? Rollback is impossible then.", yes=yes)
        found = client.drop_previous_generation(name)
    _show(found, as_json=as_json)


@app.command("delete")
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a collection with all its images. Its running jobs are cancelled."""
    with connect(context) as client:
        found = client.get_collection(name)
        confirm(f"Delete collection {name} with {count_text(found.image_count, 'image')}?", yes=yes)
        client.delete_collection(name)
    note(f"deleted collection {name}")


def _job_of(client: Client, other: OtherGeneration | None) -> Job | None:
    """The job that fills a generation; None where it is no longer known, and for a generation that no job fills."""
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
    out.print(f"created {time_text(found.create_time)}")
    if found.exact:
        out.print("searched exactly: every search compares with all images, and --ef changes nothing", soft_wrap=True)
    put(out, _spaces_table(found.spaces))
    if said := defaults_text(found.defaults):
        out.print(f"searches that say nothing else: {said}", markup=False, soft_wrap=True)
    if found.other is not None:
        out.print(_other_text(found.other, job), markup=False, soft_wrap=True)
        put(out, _spaces_table(found.other.spaces))


def _spaces_table(spaces: Sequence[Space]) -> Table:
    rows = table("space", "made by", "dimension", "metric", "fingerprint", numbers=("dimension",))
    for space in spaces:
        rows.add_row(space.name, kind_text(space), str(space.dimension), space.metric.value, space.fingerprint)
    return rows


def _other_text(other: OtherGeneration, job: Job | None) -> str:
    """The purpose of the other generation, and its progress or the end of its grace."""
    if other.drop_time is not None:
        return f"previous: generation {other.generation}, kept until {time_text(other.drop_time)}"
    text = f"being re-embedded: generation {other.generation}, job {other.job_id}"
    if job is None:
        return text
    return f"{text} ({job.standing}, {job.counts.done + job.worked:,} of {count_text(job.counts.submitted, 'image')})"
