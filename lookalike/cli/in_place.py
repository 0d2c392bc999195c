"""`lookalike ingest --in-place`: the source that the workers read, from the SOURCE of the command line.

Its name decides, since only the workers may see the place; nothing is opened here. A relative path is made absolute.
"""

from __future__ import annotations

from lookalike.cli.sending import Reading, is_manifest, local_path, source_here
from lookalike.client import ArchiveSource, Client, FolderSource, ManifestSource, Source, UploadItem, UploadSource
from lookalike.errors import InvalidArgument
from lookalike.items import MEMBER_SCHEME
from lookalike.listing.tars import is_archive
from lookalike.names import id_from_uri
from lookalike.picture_formats import is_picture

_WEB = ("http://", "https://")


def name_in_place(client: Client, collection: str, source: str, reading: Reading) -> Source:
    """The source that `source`, a path or URL, names. A single picture is sent as an upload of its URI alone.

    Raises `InvalidArgument` for labels from anything but a folder or prefix, and for archives or a choice with a manifest or a
    picture.
    """
    uri = source if "://" in source else str(source_here(source))
    path = local_path(uri)
    name = uri.partition("?")[0].partition("#")[0] if uri.lower().startswith(_WEB) else uri
    is_folder = name.endswith("/") or (path is not None and path.is_dir())
    is_tar = is_archive(name) and not uri.startswith(MEMBER_SCHEME)
    is_url = uri.lower().startswith((*_WEB, MEMBER_SCHEME))
    is_file = is_manifest(name) or is_picture(name) or is_url or (path is not None and path.is_file())
    if is_file and not is_folder and not is_tar:
        reading.check_chooses(source)
        _refuse_labels(source, reading)
        if reading.archives:
            raise InvalidArgument("--archives", f"{source} is neither a folder nor a prefix of tar files")
        if is_manifest(name):
            return ManifestSource(uri)
        named = uri if path is None else path.as_uri()
        return UploadSource(client.upload(collection, [UploadItem(id_from_uri(named), named)]).id)
    choice = reading.choice
    if reading.archives or (is_tar and not is_folder):
        _refuse_labels(source, reading)
        return ArchiveSource(uri, choice.exclude, choice.include_hidden)
    return FolderSource(uri, reading.labels_from_folders, choice.exclude, choice.include_hidden)


def _refuse_labels(source: str, reading: Reading) -> None:
    if reading.labels_from_folders:
        raise InvalidArgument("--labels-from-folders", f"{source} is not read as a folder of pictures")
