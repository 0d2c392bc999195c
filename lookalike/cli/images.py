"""`lookalike images`: list, show, delete."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.connection import connect
from lookalike.cli.listing import ImageTable
from lookalike.cli.terminal import (
    confirm,
    console,
    count_text,
    emit_json,
    emit_json_line,
    metadata_text,
    note,
    table,
    time_text,
)

app = typer.Typer(help="List, show and delete the images of a collection.", no_args_is_help=True)

_MAX_PER_DELETE = 1000
"""Ids that one call takes (`DeleteImagesRequest`)."""

Collection = Annotated[str, typer.Argument(help="Name of the collection.")]


@app.command("list")
def list_images(
    context: typer.Context,
    collection: Collection,
    filter_: Annotated[
        str, typer.Option("--filter", "-f", help="Only images for which this holds, such as 'label = \"Coat\"'.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="List at most so many; 0 lists all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List images in order of id."""
    with connect(context) as client:
        # One more than is shown tells whether there are more.
        wanted = limit + 1 if limit else 1000
        found = client.list_images(collection, filter=filter_, page_size=min(wanted, 1000))
        if as_json:
            for image in itertools.islice(found, limit or None):
                emit_json_line(image)
            return
        rows = ImageTable(console(), "indexed")
        shown = 0
        for image in itertools.islice(found, limit or None):
            rows.add(time_text(image.indexed_at), image_id=image.id, metadata=image.metadata, uri=image.uri)
            shown += 1
        more = next(found, None) is not None
    if shown:
        rows.print()
    note(count_text(shown, "image") + (" shown; --limit 0 lists all" if more else ""))


@app.command("show")
def show(
    context: typer.Context,
    collection: Collection,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the image.")],
    vectors: Annotated[bool, typer.Option("--vectors", help="With --json: also print its vectors.")] = False,
    thumbnail: Annotated[
        Path | None, typer.Option(help="Also write its thumbnail (JPEG, at most 160 pixels) to this file.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show one image."""
    with connect(context) as client:
        image = client.get_image(collection, image_id, include_vectors=vectors)
        if thumbnail is not None:
            thumbnail.write_bytes(client.thumbnail(collection, image_id))
            note(f"wrote {thumbnail}")
    if as_json:
        emit_json(image)
        return
    rows = table("field", "value")
    rows.show_header = False
    facts = {
        "id": image.id,
        "uri": image.uri,
        "metadata": metadata_text(image.metadata) or "-",
        "sha256": image.sha256,
        "revision": str(image.revision),
        "indexed": time_text(image.indexed_at),
    }
    for name, value in facts.items():
        rows.add_row(name, value)
    console().print(rows, markup=False)


@app.command("delete")
def delete(
    context: typer.Context,
    collection: Collection,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the images.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete images in every space. Ids that are not there are no error."""
    confirm(f"Delete {count_text(len(ids), 'image')} from collection {collection}?", yes=yes)
    with connect(context) as client:
        deleted = sum(
            client.delete_images(collection, ids[start : start + _MAX_PER_DELETE]).deleted
            for start in range(0, len(ids), _MAX_PER_DELETE)
        )
    missing = len(ids) - deleted
    note(f"deleted {count_text(deleted, 'image')}" + (f"; {missing:,} not there" if missing else ""))
