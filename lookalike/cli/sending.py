"""From what a person has on this machine (a folder, a manifest, a picture) to the items of an upload, read one by one.

`lookalike ingest` and `lookalike demo` use it. What cannot be read here is sent as a problem, so that the job counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lookalike.client import UploadItem
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import SOURCE_UNREADABLE, open_file, path_of
from lookalike.listing import Item, list_folder, list_manifest
from lookalike.names import MAX_IMAGE_BYTES, id_from_uri

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson")


def is_manifest(source: Path) -> bool:
    """Whether `source` lists pictures rather than being or holding them, told by its suffix."""
    return source.suffix.lower() in MANIFEST_SUFFIXES


def list_source(source: Path, *, labels_from_folders: bool) -> Iterator[Item]:
    """The items of a folder, a CSV or JSONL manifest, or of a single picture, in a fixed order.

    Raises `NotFound` where there is nothing, `InvalidArgument` for a manifest that cannot be used as a whole or for
    `labels_from_folders` with anything but a folder.
    """
    path = source.expanduser().absolute()
    if not path.exists():
        raise NotFound("source", str(source))
    if path.is_dir():
        return list_folder(path, labels_from_folders=labels_from_folders)
    if labels_from_folders:
        raise InvalidArgument("--labels-from-folders", f"{source} is not a folder")
    if is_manifest(path):
        return list_manifest(path, path.name, path.parent.as_uri())
    return iter((single(path),))


def single(path: Path) -> Item:
    """A single picture as the one item of a source."""
    uri = path.as_uri()
    return Item(position=0, id=id_from_uri(uri), uri=uri)


def upload_item(item: Item) -> UploadItem:
    """`item` with its bytes, where its URI names a file of this machine; a URI of any other kind is for the workers."""

    def failed(problem: str, reason: str) -> UploadItem:
        return UploadItem(item.id, item.uri, metadata=item.metadata, problem=problem, problem_reason=reason)

    if item.problem:
        return failed(item.problem, item.problem_reason)
    path = local_path(item.uri)
    if path is None:
        return UploadItem(item.id, item.uri, metadata=item.metadata)
    try:
        with open_file(path) as stream:
            content = stream.read(MAX_IMAGE_BYTES + 1)
    except NotFound:
        return failed("cannot be read: No such file or directory", "SOURCE_NOT_FOUND")
    except FailedPrecondition as error:
        return failed(error.message, error.reason)
    except OSError as error:
        return failed(f"cannot be read: {error.strerror}", SOURCE_UNREADABLE)
    if len(content) > MAX_IMAGE_BYTES:
        return failed(f"is over {MAX_IMAGE_BYTES:,} bytes", "IMAGE_TOO_LARGE")
    if not content:
        return failed("is empty", "IMAGE_EMPTY")
    return UploadItem(item.id, item.uri, content, item.metadata)


def local_path(uri: str) -> Path | None:
    """The file of this machine that `uri` names; None for a URI of another kind."""
    try:
        return path_of(uri)
    except InvalidArgument:
        return None
