"""Whole lists and archives as streams, and the pictures under a folder or prefix. The plan and `members` call it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lookalike.errors import InvalidArgument
from lookalike.items import Item, file_uri, open_file
from lookalike.listing.choosing import EVERYTHING_SEEN, Choice, Chooser, left_out_item
from lookalike.listing.folders import files_under, list_folder, list_keys
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


def folder_items(
    roots: Roots, buckets: Buckets, uri: str, *, labels_from_folders: bool, choice: Choice = EVERYTHING_SEEN
) -> Iterator[Item]:
    """The pictures under a folder or prefix. URIs are named as the caller named the source, links in it not resolved."""
    roots.resolve(uri)
    place = check_listable(roots, uri)
    if isinstance(place, Path):
        return list_folder(place, labels_from_folders=labels_from_folders, choice=choice)
    bucket, keys = f"s3://{place.host}", buckets.keys(place)
    return list_keys(bucket, place.key, keys, labels_from_folders=labels_from_folders, choice=choice)


def uri_prefix(roots: Roots, uri: str) -> str:
    """The beginning that all URIs of `folder_items` for a folder or prefix have, and no other URIs."""
    place = check_listable(roots, uri)
    if isinstance(place, Path):
        return file_uri(os.path.normpath(place.absolute())).rstrip("/") + "/"
    folder = place.key.rstrip("/")
    return f"s3://{place.host}/{folder}/" if folder else f"s3://{place.host}/"


def uris_under(
    roots: Roots, buckets: Buckets, uri: str, wanted: Callable[[str], bool], choice: Choice = EVERYTHING_SEEN
) -> Iterator[str | Item]:
    """`uri` itself where it names a file; else the URIs of the wanted files under it, in order, and an item for each of them
    that is left out, and for each folder that cannot be read."""
    roots.resolve(uri)
    place = check_listable(roots, uri)
    if isinstance(place, Url):
        if wanted(place.key):
            yield str(place)
            return
        chooser = Chooser(choice)
        for key in filter(wanted, buckets.keys(place)):
            found = f"s3://{place.host}/{key}"
            reason = chooser.reason(key[len(place.key) :])
            yield left_out_item(0, found, reason) if reason else found
    elif not place.is_dir():
        yield file_uri(str(place))
    else:
        for file in files_under(place, wanted, choice):
            found = file_uri(file.path)
            yield file.item(0, found) or found


def check_listable(roots: Roots, uri: str) -> Path | Url:
    """As `Roots.check`; raises `InvalidArgument` SOURCE_SCHEME_UNSUPPORTED for a place on the web too."""
    place = roots.check(uri)
    if isinstance(place, Url) and place.scheme != "s3":
        raise InvalidArgument(
            "uri",
            f"{uri[:80]!r} is on the web; folders, manifests and archives are read from files and s3://, "
            "pictures that a manifest lists also from the web",
            reason="SOURCE_SCHEME_UNSUPPORTED",
        )
    return place
