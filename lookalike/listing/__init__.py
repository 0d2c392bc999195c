"""The content of a source as a stream of items. The indexer calls it on the workers, and the command line before an upload.

    choosing   which files are left out, and why
    folders    pictures in a folder, or under a prefix of an object store
    manifests  lists of pictures: CSV, JSONL, plain text (`text`), Parquet (`tables`, the only part that imports pyarrow)
    archives   pictures in a tar file, with their metadata (`tars`)

An item that cannot be used is an `Item` with a problem, never an exception; only a source that cannot be read at all raises.
Memory does not grow with the source.
"""

from __future__ import annotations

from lookalike.items import Item
from lookalike.listing.archives import list_archive
from lookalike.listing.choosing import Choice
from lookalike.listing.folders import list_folder
from lookalike.listing.manifests import MANIFEST_SUFFIXES, list_manifest
from lookalike.listing.tars import ARCHIVE_SUFFIXES

__all__ = ["ARCHIVE_SUFFIXES", "MANIFEST_SUFFIXES", "Choice", "Item", "list_archive", "list_folder", "list_manifest"]
