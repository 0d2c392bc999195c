"""`lookalike ingest --in-place`: the source that the workers read, from the SOURCE of the command line.

Its name decides, since only the workers may see the place; nothing is opened here. A relative path is made absolute.
"""

from __future__ import annotations

from lookalike.cli.sending import is_manifest, local_path, refuse_choice, source_here
from lookalike.client import ArchiveSource, Client, FolderSource, ManifestSource, Source, UploadItem, UploadSource
from lookalike.errors import InvalidArgument
from lookalike.items import MEMBER_SCHEME
from lookalike.listing.choosing import EVERYTHING_SEEN, Choice
from lookalike.listing.tars import is_archive
from lookalike.names import id_from_uri
from lookalike.picture_formats import is_picture

_WEB = ("http://", "https://")


def name_in_place(
    client: Client,
    collection: str,
    source: str,
    *,
    labels_from_folders: bool = False,
    archives: bool = False,
    choice: Choice = EVERYTHING_SEEN,
) -> Source:
    """The source that `source`, a path or URL, names. A single picture is sent as an upload of its URI alone.

    Raises `InvalidArgument` for `labels_from_folders` with anything but a folder or prefix, and for `archives` or a `choice`
    with a manifest or a picture.
    """
    uri = source if "://" in source else str(source_here(source))
    path = local_path(uri)
    name = uri.partition("?")[0].partition("#")[0] if uri.lower().startswith(_WEB) else uri
    if (path is None or not path.is_dir()) and not name.endswith("/"):
        if is_archive(name) and not uri.startswith(MEMBER_SCHEME):
            _refuse(source, labels_from_folders=labels_from_folders)
            return ArchiveSource(uri, choice.exclude, choice.include_hidden)
        if is_manifest(name):
            refuse_choice(choice, source)
            _refuse(source, labels_from_folders=labels_from_folders, archives=archives)
            return ManifestSource(uri)
        if is_picture(name) or uri.lower().startswith((*_WEB, MEMBER_SCHEME)) or (path is not None and path.is_file()):
            refuse_choice(choice, source)
            _refuse(source, labels_from_folders=labels_from_folders, archives=archives)
            named = uri if path is None else path.as_uri()
            return UploadSource(client.upload(collection, [UploadItem(id_from_uri(named), named)]).id)
    if archives:
        _refuse(source, labels_from_folders=labels_from_folders)
        return ArchiveSource(uri, choice.exclude, choice.include_hidden)
    return FolderSource(uri, labels_from_folders, choice.exclude, choice.include_hidden)


def _refuse(source: str, *, labels_from_folders: bool = False, archives: bool = False) -> None:
    if labels_from_folders:
        raise InvalidArgument("--labels-from-folders", f"{source} is not read as a folder of pictures")
    if archives:
        raise InvalidArgument("--archives", f"{source} is neither a folder nor a prefix of tar files")
