"""Writes a collection to an export, and continues an export that was interrupted. The command line calls it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from lookalike.artifacts import Artifacts
from lookalike.backup.layout import Export, Shard, read_export, rows_at_once, shard_writer, write_export
from lookalike.client import Client, Collection, Consistency, Image
from lookalike.errors import FailedPrecondition

SHARD_IMAGES = 10_000
"""Bounds the images that are written again after an interruption: a file of 20 MB with vectors of 256 and 256 values."""


def export_collection(
    client: Client, name: str, files: Artifacts, *, shard_images: int = SHARD_IMAGES, done: Callable[[int], None]
) -> Export:
    """Write every image of collection `name`, in order of id; `done` is called with the number of images of each write.

    The export continues where an earlier run ended. It may miss or hold images that are written or deleted meanwhile. Raises
    `FailedPrecondition` EXPORT_COMPLETE for an export that is complete, which is left as it is and may be older than the
    collection, and EXPORT_DIFFERS where the files are of another collection, or the collection has been re-embedded since.
    """
    export = _begin(files, client.get_collection(name))
    if export.complete:
        raise FailedPrecondition(
            f"a complete export of collection {name!r}, with {export.images:,} images, is here already, and nothing was "
            "written; export the collection of today to an empty place",
            reason="EXPORT_COMPLETE",
        )
    done(export.images)
    after = f"id > {quoted(export.shards[-1].last_id)}" if export.shards else ""
    images = client.list_images(name, filter=after, page_size=1000, view="full", consistency=Consistency.STRONG)
    for first in images:
        shard = _write_shard(client, export, files, itertools.chain([first], itertools.islice(images, shard_images - 1)), done)
        export = replace(export, shards=(*export.shards, shard))
        write_export(files, export)
    export = replace(export, complete=True)
    write_export(files, export)
    return export


def quoted(text: str) -> str:
    """`text` as a value of the filter language."""
    for character in '\\"*':
        text = text.replace(character, f"\\{character}")
    return f'"{text}"'


def _begin(files: Artifacts, collection: Collection) -> Export:
    there = read_export(files)
    if there is None:
        export = _describe(collection)
        write_export(files, export)
        return export
    _check_same(there, collection)
    for name in files.names():
        if name.startswith(".") and name.endswith(".part"):
            files.delete(name)  # A killed run has left it.
    return there


def _describe(collection: Collection) -> Export:
    """Raises `FailedPrecondition` for a space that an import could not make again."""
    for space in collection.spaces:
        if not space.known:
            raise FailedPrecondition(
                f"space {space.name!r} has a metric or kind that this version of lookalike does not know; use a newer one"
            )
    made_at = collection.create_time.isoformat() if collection.create_time else ""
    return Export(collection.name, collection.description, collection.spaces, made_at, collection.defaults)


def _check_same(export: Export, collection: Collection) -> None:
    now = _describe(collection)
    if (export.name, export.made_at, export.spaces) != (now.name, now.made_at, now.spaces):
        raise FailedPrecondition(
            f"the files are an export of another collection or of other spaces: of {export.name!r}, created {export.made_at}, "
            f"not of {now.name!r} as it is now, created {now.made_at}; export to an empty place",
            reason="EXPORT_DIFFERS",
        )


def _write_shard(
    client: Client, export: Export, files: Artifacts, images: Iterator[Image], done: Callable[[int], None]
) -> Shard:
    name = f"images-{len(export.shards):05d}.parquet"
    count, last_id, at_once = 0, "", rows_at_once(export.spaces)
    with shard_writer(files, name, export.spaces) as writer:
        while some := list(itertools.islice(images, at_once)):
            writer.write(some)
            count, last_id = count + len(some), some[-1].id
            done(len(some))
        # Checked after the last read: vectors of a generation that began in between must not be kept.
        _check_same(export, client.get_collection(export.name))
    return Shard(name, count, last_id)
