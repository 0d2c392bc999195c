"""`lookalike collections export` and `import`: a collection as Parquet files and back."""

from __future__ import annotations

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
        int, typer.Option("--shard-images", min=1, help="Images per file; what is done again at most when it is stopped.")
    ] = 10_000,
) -> None:
    """Write a collection, vectors included, to Parquet files: the backup, or a way to another system.

    Stopped in the middle, the same command goes on; a complete export is never written over. Pictures are not in it: uploaded
    originals are in the artifacts.
    """
    from lookalike.backup.exporting import export_collection
    from lookalike.cli.progress import bar

    _check_pyarrow()
    files = _files(place)
    with connect(context) as client, bar() as progress, _naming(place):
        task = progress.add_task("exporting", total=client.get_collection(name).image_count)
        done = export_collection(client, name, files, shard_images=shard_images, told=lambda more: progress.advance(task, more))
    note(f"exported {count_text(done.images, 'image')} of collection {name} in {count_text(len(done.shards), 'file')}")


def import_(
    context: typer.Context,
    place: Place,
    name: Annotated[str, typer.Option("--name", help="Import into this collection instead of its own name.")] = "",
) -> None:
    """Write an export back into a collection, which is made if it does not exist. Nothing is embedded.

    Images with the same ids are replaced. Stopped in the middle, the same command goes on.
    """
    from lookalike.backup.importing import import_collection
    from lookalike.cli.progress import bar

    _check_pyarrow()
    files = _files(place)
    with connect(context) as client, bar() as progress, _naming(place):
        task = progress.add_task("importing", total=None)
        done = import_collection(client, files, name, told=lambda more: progress.advance(task, more))
    note(
        f"imported {count_text(done.sent, 'image')} into collection {done.collection}"
        + (f"; {done.unchanged:,} were there already" if done.unchanged else "")
    )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """To whoever exports, the files are those of a place, not the system's artifacts."""
    try:
        yield
    except Unavailable as error:
        if error.metadata.get("dependency") != "artifacts":
            raise
        raise Unavailable(place, error.message.partition(": ")[2], reason=error.reason) from error


def _files(place: str) -> Artifacts:
    from lookalike.artifacts import Artifacts

    if not place:  # A shell makes that of a variable that is not set. As a path it is the folder one happens to be in.
        raise InvalidArgument("FOLDER|URL", "is empty; name a folder or a URL")
    try:
        return Artifacts(place if "://" in place else Path(place).expanduser().absolute().as_uri())
    except InvalidArgument as error:
        raise InvalidArgument("FOLDER|URL", f"{place} {error.problem}") from error


def _check_pyarrow() -> None:
    """Whoever exports needs pyarrow; the command as such does not."""
    if importlib.util.find_spec("pyarrow") is None:
        problem = "exports need pyarrow; install it with: pip install 'lookalike[export]'"
        raise FailedPrecondition(problem, reason="PYARROW_MISSING")
