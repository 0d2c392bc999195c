"""`lookalike images`: list, count, show, delete, update."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import AsJson, AsJsonLines, Filter, Yes, connect
from lookalike.cli.fitting import put
from lookalike.cli.listing import ImageTable
from lookalike.cli.pages import Commands
from lookalike.cli.terminal import (
    MOST_LISTED,
    confirm,
    console,
    count_text,
    emit_json,
    emit_json_line,
    metadata_text,
    note,
    table,
    time_text,
    visible,
)
from lookalike.errors import DeadlineExceeded, InvalidArgument, NotFound
from lookalike.metadata import read_json

if TYPE_CHECKING:
    from lookalike.client import Client

app = Commands(help="List, count, show, delete and update the images of a collection.", no_args_is_help=True)

_MAX_PER_DELETE = 1000
"""Bounds the ids of one call (`DeleteImagesRequest`)."""
_SHOWN_IDS = 10
"""Bounds the ids that a dry run prints."""
_DELETE_TIMEOUT_S = 65.0
"""Bounds a delete, above the 60 s after which the gateway ends any call."""

Collection = Annotated[str, typer.Argument(help="Name of the collection.")]
ExpectedRevision = Annotated[
    int | None, typer.Option(help="Only if the image has this revision, which `images show` prints.", show_default=False)
]


@app.command("list")
def list_images(
    context: typer.Context,
    collection: Collection,
    filter_: Filter = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=MOST_LISTED, help="List at most N; 0 lists all.")] = 50,
    as_json: AsJsonLines = False,
) -> None:
    """List images in order of id."""
    with connect(context) as client:
        # One more than the limit shows whether there are more.
        wanted = limit + 1 if limit else 1000
        found = client.list_images(collection, filter=filter_, page_size=min(wanted, 1000))
        if as_json:
            for image in itertools.islice(found, limit or None):
                emit_json_line(image)
            return
        rows = ImageTable(console(), "indexed")
        shown = 0
        for image in itertools.islice(found, limit or None):
            rows.add(time_text(image.index_time), image_id=image.id, metadata=image.metadata, uri=image.uri)
            shown += 1
        more = next(found, None) is not None
    if shown:
        rows.print()
    note(count_text(shown, "image") + (" shown; --limit 0 lists all" if more else ""))


@app.command("count")
def count(context: typer.Context, collection: Collection, filter_: Filter = "") -> None:
    """Count the images of a collection, or those that match a filter."""
    from lookalike.client import Consistency

    with connect(context) as client:
        typer.echo(client.count_images(collection, filter=filter_, consistency=Consistency.STRONG))


@app.command("show")
def show(
    context: typer.Context,
    collection: Collection,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the image.")],
    vectors: Annotated[bool, typer.Option("--vectors", help="With --json: print its vectors too.")] = False,
    thumbnail: Annotated[
        Path | None, typer.Option(help="Write its thumbnail (JPEG, at most 160 pixels) to this file too.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show an image."""
    with connect(context) as client:
        image = client.get_image(collection, image_id, view="full" if vectors else "basic")
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
        "indexed": time_text(image.index_time),
    }
    for name, value in facts.items():
        rows.add_row(name, value)
    put(console(), rows)


@app.command("delete")
def delete(
    context: typer.Context,
    collection: Collection,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of the images.")] = None,
    filter_: Annotated[str, typer.Option("--filter", "-f", help="Instead of ids: all images that match this filter.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing: say how many images would be deleted, and print up to 10 ids.")
    ] = False,
    expected_revision: ExpectedRevision = None,
    yes: Yes = False,
) -> None:
    """Delete images by id or by filter, in every space. Unknown ids are no error."""
    if bool(ids) == bool(filter_):
        raise InvalidArgument("ID", "give ids, or --filter to delete all images that match it")
    if dry_run:
        with connect(context) as client:
            _print_would_delete(client, collection, ids or [], filter_, expected_revision)
        return
    if filter_:
        with connect(context) as client:
            if not yes and sys.stdin.isatty():
                _print_would_delete(client, collection, [], filter_, expected_revision)
            confirm(f"Delete all images of collection {collection} that match {filter_}?", yes=yes)
            deleted = delete_matching(client, collection, filter_)
        note(f"deleted {count_text(deleted, 'image')}")
        return
    given = ids or []
    confirm(f"Delete {count_text(len(given), 'image')} of collection {collection}?", yes=yes)
    with connect(context) as client:
        deleted = sum(
            client.delete_images(
                collection, given[start : start + _MAX_PER_DELETE], expected_revision=expected_revision
            ).deleted
            for start in range(0, len(given), _MAX_PER_DELETE)
        )
    missing = len(given) - deleted
    note(f"deleted {count_text(deleted, 'image')}" + (f"; {missing:,} not found" if missing else ""))


def _print_would_delete(
    client: Client, collection: str, ids: Sequence[str], filter_text: str, expected_revision: int | None
) -> None:
    parts = [ids[start : start + _MAX_PER_DELETE] for start in range(0, len(ids), _MAX_PER_DELETE)] or [[]]
    found = [
        client.delete_images(collection, part, filter=filter_text, validate_only=True, expected_revision=expected_revision)
        for part in parts
    ]
    samples = [image_id for one in found for image_id in one.sample_ids][:_SHOWN_IDS]
    count = sum(one.deleted for one in found)
    note(f"would delete {count_text(count, 'image')}" + (", among them:" if count > len(samples) else ""))
    for image_id in samples:
        typer.echo(visible(image_id))


def delete_matching(client: Client, collection: str, filter_text: str) -> int:
    """Delete by filter, in as many calls as are needed; the number of images that the last call deleted.

    Images are deleted in order of id. A call that ran out of time and left the first image in place has done nothing.
    """
    from lookalike.client import Consistency

    first: str | None = None
    while True:
        try:
            return client.delete_images(collection, filter=filter_text, timeout_s=_DELETE_TIMEOUT_S).deleted
        except DeadlineExceeded:
            found = client.list_images(collection, filter=filter_text, page_size=1, view="id", consistency=Consistency.STRONG)
            before, first = first, next((image.id for image in found), "")
            if before == first:
                raise
            note("still deleting")


@app.command("update")
def update(
    context: typer.Context,
    collection: Collection,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the image.")],
    facts: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="VALUE is JSON, or text if it is not valid JSON; null removes the key."),
    ] = None,
    json_text: Annotated[str, typer.Option("--json", help="Metadata as a JSON object instead of KEY=VALUE.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Remove all other keys.")] = False,
    expected_revision: ExpectedRevision = None,
) -> None:
    """Change the metadata of an image. It is not embedded again."""
    from lookalike.client import ImageUpdate

    metadata = metadata_of(facts or [], json_text)
    with connect(context) as client:
        done = client.update_images(collection, [ImageUpdate(image_id, metadata, not replace, expected_revision)])
    if done.missing_ids:
        raise NotFound("image", image_id, hint=f"collection {collection!r} does not hold it")
    note(f"updated image {image_id}")


def metadata_of(facts: Sequence[str], json_text: str) -> Mapping[str, object]:
    """The metadata of `KEY=VALUE...` or of a JSON object. Raises `InvalidArgument`."""
    if bool(facts) == bool(json_text):
        raise InvalidArgument("KEY=VALUE", "give facts such as label=Coat year=2019, or --json with an object")
    if json_text:
        metadata = _parsed(json_text)
        if not isinstance(metadata, dict):
            raise InvalidArgument("--json", 'is not a JSON object such as {"label": "Coat"}')
        return metadata
    pairs = [fact.partition("=") for fact in facts]
    for fact, (key, equals, _) in zip(facts, pairs, strict=True):
        if not (key and equals):
            raise InvalidArgument("KEY=VALUE", f"{fact!r} has no key or no equals sign")
    return {key: _parsed(value) for key, _, value in pairs}


def _parsed(text: str) -> object:
    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        return text
    return text if text in ("NaN", "Infinity", "-Infinity") else value  # Python reads these, which are not JSON.
