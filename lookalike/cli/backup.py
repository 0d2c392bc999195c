"""`lookalike collections export` and `import`: from a collection to Parquet files, and back."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import connect
from lookalike.cli.terminal import count_text, note
from lookalike.errors import FailedPrecondition, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from lookalike.artifacts import Artifacts

Place = Annotated[str, typer.Argument(metavar="FOLDER|URL", help="A folder, or a URL such as s3://bucket/backups/shoes.")]


def export(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    place: Place,
    shard_images: Annotated[
        int, typer.Option("--shard-images", min=1, help="Images per file; a stopped export repeats one file at most.")
    ] = 10_000,
) -> None:
    """Export a collection, vectors included, to Parquet files: as a backup, or for another system.

    If it is stopped, the same command continues it. A complete export is never overwritten. Pictures are not exported; uploaded
    originals are in the artifacts.
    """
    from lookalike.backup.exporting import export_collection
    from lookalike.cli.progress import bar

    _check_pyarrow()
    files = _files(place)
    with connect(context) as client, bar() as progress, _naming(place):
        task = progress.add_task("exporting", total=client.get_collection(name).image_count)
        done = functools.partial(progress.advance, task)
        exported = export_collection(client, name, files, shard_images=shard_images, done=done)
    note(f"exported {count_text(exported.images, 'image')} of collection {name} in {count_text(len(exported.shards), 'file')}")


def import_(
    context: typer.Context,
    place: Place,
    name: Annotated[
        str, typer.Option("--name", help="Collection to import into.", show_default="the name of the exported one")
    ] = "",
) -> None:
    """Import an export into a collection, which is created if it does not exist. Nothing is embedded again.

    Images with the same ids are replaced. If it is stopped, the same command continues it.
    """
    from lookalike.backup.importing import import_collection
    from lookalike.cli.progress import bar

    _check_pyarrow()
    files = _files(place)
    with connect(context) as client, bar() as progress, _naming(place):
        task = progress.add_task("importing", total=None)
        imported = import_collection(client, files, name, done=functools.partial(progress.advance, task))
    note(
        f"imported {count_text(imported.sent, 'image')} into collection {imported.collection}"
        + (f"; {imported.unchanged:,} were already there" if imported.unchanged else "")
    )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Errors name the place of the export, which is not the system's artifacts."""
    try:
        yield
    except Unavailable as error:
        if error.metadata.get("dependency") != "artifacts":
            raise
        raise Unavailable(place, error.message.partition(": ")[2], reason=error.reason) from error


def _files(place: str) -> Artifacts:
    from lookalike.artifacts import Artifacts

    if not place:  # A shell makes that of a variable that is not set. As a path it would be the current folder.
        raise InvalidArgument("FOLDER|URL", "is empty; name a folder or a URL")
    try:
        return Artifacts(place if "://" in place else Path(place).expanduser().absolute().as_uri())
    except InvalidArgument as error:
        raise InvalidArgument("FOLDER|URL", f"{place} {error.problem}") from error


def _check_pyarrow() -> None:
    """Raise `FailedPrecondition` without pyarrow, which only exports and imports need."""
    if importlib.util.find_spec("pyarrow") is None:
        problem = "exports need pyarrow; install it with: pip install 'lookalike[export]'"
        raise FailedPrecondition(problem, reason="PYARROW_MISSING")
