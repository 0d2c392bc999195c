"""Whole lists and archives as streams, and what lies under a folder or prefix. Used by the plan, and by `members`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lookalike.errors import InvalidArgument
from lookalike.items import SOURCE_UNREADABLE, Item, broken_item, file_uri, open_file
from lookalike.listing.folders import files_under, is_hidden, list_folder, list_keys
from lookalike.sources.buckets import Buckets
from lookalike.sources.roots import Roots
from lookalike.sources.urls import Url


@contextmanager
def open_source(roots: Roots, buckets: Buckets, uri: str) -> Iterator[IO[bytes]]:
    """The file or object behind `uri`, as a stream that can seek.

    Raises as `check_listable` and `Buckets.open` do, `NotFound` ("source"), `FailedPrecondition` SOURCE_UNREADABLE.
    """
    check_listable(roots, uri)
    place = roots.resolve(uri)
    if isinstance(place, Url):
        with buckets.open(place) as stream:
            yield stream
    else:
        with open_file(place, follow_links=False) as stream:
            yield stream


def folder_items(roots: Roots, buckets: Buckets, uri: str, *, labels_from_folders: bool) -> Iterator[Item]:
    """The pictures under a folder or prefix. URIs are named as the caller named the source, links in it not resolved."""
    roots.resolve(uri)
    place = check_listable(roots, uri)
    if isinstance(place, Path):
        return list_folder(place, labels_from_folders=labels_from_folders)
    return list_keys(f"s3://{place.host}", place.key, buckets.keys(place), labels_from_folders=labels_from_folders)


def uri_prefix(roots: Roots, uri: str) -> str:
    """What the URIs of all items begin with that `folder_items` gives for a folder or prefix, and no others do."""
    place = check_listable(roots, uri)
    if isinstance(place, Path):
        return file_uri(os.path.normpath(place.absolute())).rstrip("/") + "/"
    folder = place.key.rstrip("/")
    return f"s3://{place.host}/{folder}/" if folder else f"s3://{place.host}/"


def uris_under(roots: Roots, buckets: Buckets, uri: str, wanted: Callable[[str], bool]) -> Iterator[str | Item]:
    """`uri` itself where it names a file; else the URIs of the wanted files under it, in order, and a broken item for each
    folder that cannot be read."""
    roots.resolve(uri)
    place = check_listable(roots, uri)
    if isinstance(place, Url):
        if wanted(place.key):
            yield str(place)
            return
        for key in buckets.keys(place):
            if wanted(key) and not is_hidden(key[len(place.key) :]):
                yield f"s3://{place.host}/{key}"
    elif not place.is_dir():
        yield file_uri(str(place))
    else:
        for path, problem in files_under(place, wanted):
            found = file_uri(str(path))
            yield broken_item(0, problem, uri=found, reason=SOURCE_UNREADABLE) if problem else found


def check_listable(roots: Roots, uri: str) -> Path | Url:
    """As `Roots.check`, and raises `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED for what lies on the web."""
    place = roots.check(uri)
    if isinstance(place, Url) and place.scheme != "s3":
        raise InvalidArgument(
            "uri",
            f"{uri[:80]!r} is on the web; folders, manifests and archives are read from files and s3://, "
            "pictures that a manifest lists also from the web",
            reason="SOURCE_SCHEME_UNSUPPORTED",
        )
    return place
