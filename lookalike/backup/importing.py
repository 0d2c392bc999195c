"""Writes an export into a collection, and continues an import that was interrupted. The command line calls it.

An import keeps no notes: images that the collection holds as the export has them are not sent again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lookalike.artifacts import Artifacts
from lookalike.backup.exporting import quoted
from lookalike.backup.layout import DESCRIPTION, Export, check_shard, read_export, read_shard
from lookalike.client import Client, Image
from lookalike.errors import AlreadyExists, FailedPrecondition, NotFound
from lookalike.metadata import same_metadata


@dataclass(frozen=True, slots=True)
class Imported:
    """The collection of an import, and the number of images that were sent, and that were unchanged there already."""

    collection: str
    sent: int
    unchanged: int


def import_collection(client: Client, files: Artifacts, name: str = "", *, done: Callable[[int], None]) -> Imported:
    """Write every image of the export into collection `name` ("": that of the export), which is created where there is none;
    `done` is as for exports.

    Every shard is checked before anything is written. Raises `NotFound` ("export"), `FailedPrecondition` EXPORT_INCOMPLETE,
    EXPORT_DAMAGED (naming the file) or FINGERPRINT_MISMATCH (the collection exists and has other spaces).
    """
    export = _checked(files)
    name = name or export.name
    _ensure(client, name, export)
    sent = unchanged = 0
    batches = (images for shard in export.shards for images in read_shard(files, shard, export.spaces))
    for images, last in _with_last(batches):
        # The last batch is sent in any case, since `last` says to the server that no more come.
        missing = images if last else _missing(client, name, images)
        if missing:
            client.import_images(name, missing, export.spaces, last=last)
        sent, unchanged = sent + len(missing), unchanged + len(images) - len(missing)
        done(len(images))
    return Imported(name, sent, unchanged)


def _checked(files: Artifacts) -> Export:
    export = read_export(files)
    if export is None:
        raise NotFound("export", DESCRIPTION, hint="there is none at this place")
    if not export.complete:
        problem = f"the export of collection {export.name!r} is not complete; run `lookalike collections export` again"
        raise FailedPrecondition(problem, reason="EXPORT_INCOMPLETE")
    for shard in export.shards:
        check_shard(files, shard, export.spaces)
    return export


def _ensure(client: Client, name: str, export: Export) -> None:
    try:
        client.create_collection(name, description=export.description, restored_spaces=export.spaces, defaults=export.defaults)
        return
    except AlreadyExists:
        found = client.get_collection(name)
    there, given = (
        ", ".join(f"{space.name} {space.fingerprint}" for space in spaces) for spaces in (found.spaces, export.spaces)
    )
    if there != given:
        raise FailedPrecondition(
            f"collection {name!r} has the spaces {there}, the export {given}; import it under another name",
            reason="FINGERPRINT_MISMATCH",
        )


def _missing(client: Client, name: str, images: Sequence[Image]) -> Sequence[Image]:
    """The members of `images` (in order of id) that the collection does not hold unchanged."""
    between = f"id >= {quoted(images[0].id)} AND id <= {quoted(images[-1].id)}"
    # Where many other images lie between them, sending them is quicker than looking for them.
    found = itertools.islice(client.list_images(name, filter=between, page_size=1000), 2 * len(images))
    there = {image.id: image for image in found}
    return [image for image in images if not _same(image, there.get(image.id))]


def _same(image: Image, there: Image | None) -> bool:
    if there is None:
        return False
    return (image.sha256, image.uri) == (there.sha256, there.uri) and same_metadata(image.metadata, there.metadata)


def _with_last(batches: Iterator[list[Image]]) -> Iterator[tuple[list[Image], bool]]:
    """Each batch, and whether it is the last."""
    before: list[Image] | None = None
    for batch in batches:
        if before is not None:
            yield before, False
        before = batch
    if before is not None:
        yield before, True
