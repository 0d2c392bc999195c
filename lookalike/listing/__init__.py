"""What a source holds, as a stream of items. Used by the indexer on the workers, and by the command line before an upload.

    choosing   which of them are left out, and why
    folders    pictures in a folder, or under a prefix of an object store
    manifests  lists of pictures: CSV, JSONL, plain text (`text`), Parquet (`tables`, the only part that imports pyarrow)
    archives   pictures in a tar file, with what stands beside them (`tars`)

An item that cannot be used is an `Item` with a problem, never an exception; exceptions are for sources that cannot be read at
all. Memory does not grow with the source.
"""

from __future__ import annotations

from lookalike.items import Item
from lookalike.listing.archives import list_archive
from lookalike.listing.choosing import Choice
from lookalike.listing.folders import list_folder
from lookalike.listing.manifests import MANIFEST_SUFFIXES, list_manifest
from lookalike.listing.tars import ARCHIVE_SUFFIXES

__all__ = ["ARCHIVE_SUFFIXES", "MANIFEST_SUFFIXES", "Choice", "Item", "list_archive", "list_folder", "list_manifest"]
