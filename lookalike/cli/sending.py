"""From a source on this machine (folder, manifest, tar files, picture) to the items of an upload, read one by one.

`lookalike ingest` and `lookalike demo` call it. An item that cannot be read is sent as its problem, so that the job counts it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lookalike.client import UploadItem
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import INCOMPLETE_REASONS, SOURCE_INCOMPLETE, SOURCE_UNREADABLE, Item, broken_item, open_file, path_of
from lookalike.listing import MANIFEST_SUFFIXES, list_archive, list_folder, list_manifest
from lookalike.listing.choosing import EVERYTHING_SEEN, Choice
from lookalike.listing.folders import files_under, picture_item
from lookalike.listing.tars import is_archive, plain_stream
from lookalike.names import MAX_IMAGE_BYTES


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is read: whether the name of a sub-folder is the label, whether a folder's tar files are read and not its
    pictures, and which files are left out."""

    labels_from_folders: bool = False
    archives: bool = False
    choice: Choice = EVERYTHING_SEEN

    def check_chooses(self, source: str) -> None:
        """Raise `InvalidArgument` for a choice from what is neither a folder nor a tar file: it would choose nothing."""
        if self.choice.exclude:
            raise InvalidArgument("--exclude", f"{source} is not read as a folder or as tar files")
        if self.choice.include_hidden:
            raise InvalidArgument("--include-hidden", f"{source} is not read as a folder or as tar files")


AS_IT_IS = Reading()
_Listed = Iterator[tuple[Item, IO[bytes] | None]]
"""Items, those of tar files with the stream that holds their bytes. The bytes are read before the next item is taken."""


def is_manifest(name: str) -> bool:
    """Whether the file lists pictures, by its suffix."""
    return name.lower().endswith(MANIFEST_SUFFIXES)


def source_here(source: str) -> Path:
    """The absolute path of SOURCE on this machine. Raises `InvalidArgument` for a URL of another place, and for an empty text:
    a shell makes that of a variable that is not set, and as a path it would be the current folder."""
    if not source:
        raise InvalidArgument("SOURCE", "is empty; name a folder, a manifest, a tar file or a picture")
    if "://" not in source:
        return Path(source).expanduser().absolute()
    path = local_path(source)
    if path is None:
        raise InvalidArgument("SOURCE", f"{source} is not on this machine; with --in-place the workers read it")
    return path


def list_source(source: Path, reading: Reading = AS_IT_IS) -> Iterator[Item]:
    """The items of a folder, a manifest (CSV, JSONL, Parquet, text), a tar file or a single picture, in a fixed order; with
    `archives`, of the tar files in a folder. Files of a folder or tar file that `choice` leaves out are items with that reason.

    Raises `NotFound` where there is nothing. Raises `InvalidArgument` for a manifest or tar file that cannot be used as a
    whole, for `labels_from_folders` with anything but a folder, for `archives` with anything but tar files, and for a `choice`
    from neither a folder nor tar files.
    """
    return (item for item, _ in _listed(source, reading))


def upload_items(source: Path, reading: Reading = AS_IT_IS) -> Iterator[UploadItem]:
    """The items of `list_source`, with the bytes of all that lie on this machine. Raises as `list_source`."""
    for item, stream in _listed(source, reading):
        yield upload_item(item) if stream is None else _member(item, stream)


def single(path: Path) -> Item:
    """A single picture as the one item of a source."""
    return picture_item(0, path.as_uri(), path.name, {})


def upload_item(item: Item) -> UploadItem:
    """`item`, with its bytes where its URI names a file of this machine; the workers read a URI of any other kind."""
    if item.problem:
        return _failed(item, item.problem, item.problem_reason)
    path = local_path(item.uri)
    if path is None:
        return UploadItem(item.id, item.uri, metadata=item.metadata)
    try:
        with open_file(path) as stream:
            content = stream.read(MAX_IMAGE_BYTES + 1)
    except NotFound:
        return _failed(item, "cannot be read: No such file or directory", "SOURCE_NOT_FOUND")
    except FailedPrecondition as error:
        return _failed(item, error.message, error.reason)
    except OSError as error:
        return _failed(item, f"cannot be read: {error.strerror}", SOURCE_UNREADABLE)
    return _sent(item, content)


def local_path(uri: str) -> Path | None:
    """The file of this machine that `uri` names; None for a URI of another kind."""
    try:
        return path_of(uri)
    except InvalidArgument:
        return None


def _listed(source: Path, reading: Reading) -> _Listed:
    path = source.expanduser().absolute()
    if not path.exists():
        raise NotFound("source", str(source))
    if reading.labels_from_folders and (reading.archives or not path.is_dir()):
        raise InvalidArgument("--labels-from-folders", f"{source} is not read as a folder of pictures")
    if path.is_dir():
        if reading.archives:
            return _shards(path, reading.choice)
        return _alone(list_folder(path, labels_from_folders=reading.labels_from_folders, choice=reading.choice))
    if is_archive(path.name):
        return _members(path, reading.choice)
    if reading.archives:
        raise InvalidArgument("--archives", f"{source} is neither a folder of tar files nor one of them")
    reading.check_chooses(str(source))
    if is_manifest(path.name):
        return _alone(list_manifest(path, path.name, path.parent.as_uri()))
    return _alone(iter((single(path),)))


def _alone(items: Iterator[Item]) -> _Listed:
    return ((item, None) for item in items)


def _shards(folder: Path, choice: Choice) -> _Listed:
    """The pictures of all tar files under `folder`. A tar file that cannot be used is an item with that problem."""
    for found in files_under(folder, is_archive, choice):
        path = Path(found.path)
        if item := found.item(0, path.as_uri()):
            yield item, None
            continue
        try:
            yield from _members(path, choice)
        except (NotFound, InvalidArgument, FailedPrecondition) as error:
            reason = error.reason if error.reason in INCOMPLETE_REASONS else SOURCE_INCOMPLETE
            yield broken_item(0, error.message, uri=path.as_uri(), reason=reason), None


def _members(path: Path, choice: Choice) -> _Listed:
    with open_file(path) as packed:
        stream = plain_stream(packed, path.name)
        for item in list_archive(stream, path.name, path.as_uri(), choice=choice):
            yield item, None if item.problem else stream


def _member(item: Item, stream: IO[bytes]) -> UploadItem:
    if item.size_bytes > MAX_IMAGE_BYTES:
        return _failed(item, f"is over {MAX_IMAGE_BYTES:,} bytes", "IMAGE_TOO_LARGE")
    try:
        stream.seek(item.offset)
        return _sent(item, stream.read(item.size_bytes))
    except (OSError, EOFError, zlib.error) as error:  # The file has changed since it was listed.
        return _failed(item, f"cannot be read: {getattr(error, 'strerror', None) or error}", SOURCE_UNREADABLE)


def _sent(item: Item, content: bytes) -> UploadItem:
    if len(content) > MAX_IMAGE_BYTES:
        return _failed(item, f"is over {MAX_IMAGE_BYTES:,} bytes", "IMAGE_TOO_LARGE")
    if not content:
        return _failed(item, "is empty", "IMAGE_EMPTY")
    return UploadItem(item.id, item.uri, content, item.metadata)


def _failed(item: Item, problem: str, reason: str) -> UploadItem:
    return UploadItem(item.id, item.uri, metadata=item.metadata, problem=problem, problem_reason=reason)
